"""Ctrl-C and SIGTERM to the driver of a grid."""

from __future__ import annotations

import signal
import threading
from typing import Any


class Told:
    """Once entered, the first SIGINT or SIGTERM sets `stop`, by name; another SIGINT is a KeyboardInterrupt."""

    def __init__(self) -> None:
        self.stop: str | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Told:
        if threading.current_thread() is threading.main_thread():  # else whoever started the thread handles signals
            before = {kind: signal.getsignal(kind) for kind in (signal.SIGINT, signal.SIGTERM)}
            self._before = {kind: handler for kind, handler in before.items() if handler is not signal.SIG_IGN}
            for kind in self._before:
                signal.signal(kind, self._hear)
        return self

    def __exit__(self, *exception: object) -> None:
        for kind, handler in self._before.items():
            signal.signal(kind, handler)

    def _hear(self, number: int, frame: Any) -> None:
        again, self.stop = self.stop, "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        if again and number == signal.SIGINT:
            raise KeyboardInterrupt
