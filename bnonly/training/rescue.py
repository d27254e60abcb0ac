"""SIGINT and SIGTERM: stop after the step, save, exit. And where a step is too slow for a scheduler's patience, save
what the last one left and exit all the same."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

PATIENCE = 5.0  # seconds for the step, or the evaluation, under way at SIGTERM; a scheduler kills after ten or more


class Signals:
    """Asks `stop` (with the signal's name) on SIGINT or SIGTERM; a second Ctrl-C ends the process as usual.

    rescue: called in another thread where SIGTERM has not ended the block after `PATIENCE` seconds, since Python runs
    signal handlers only between two operations and one of torch's may take minutes. None: never.
    """

    def __init__(self, stop: Callable[[str], None], rescue: Callable[[], None] | None):
        self._stop, self._rescue = stop, rescue
        self._before: dict[signal.Signals, Any] = {}
        self._over = threading.Event()

    @contextmanager
    def handled(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield  # whoever started the thread handles signals
            return
        before = {kind: signal.getsignal(kind) for kind in (signal.SIGINT, signal.SIGTERM)}
        # What is ignored stays so: a shell script's job in the background is not meant by the terminal's Ctrl-C.
        self._before = {kind: handler for kind, handler in before.items() if handler is not signal.SIG_IGN}
        ready, wake = os.pipe()
        os.set_blocking(wake, False)
        waker = signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        watch = threading.Thread(target=self._watch, args=(ready,), daemon=True)
        watch.start()
        try:
            self.take()
            yield
        finally:
            self._over.set()
            signal.set_wakeup_fd(waker)
            os.write(wake, bytes(1))  # ends the thread; a closed pipe would not, while a forked process has it open
            watch.join()
            os.close(wake)
            os.close(ready)
            self._give_back()

    def take(self) -> None:
        """Put our handlers in place, also over Lightning's, which would talk to other processes from within one."""
        for kind in self._before:
            signal.signal(kind, self._ask)

    def _give_back(self) -> None:
        for kind, handler in self._before.items():
            signal.signal(kind, handler)

    def _ask(self, number: int, frame: Any) -> None:
        self._stop("Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name)
        if number == signal.SIGINT:  # a scheduler may well say SIGTERM twice, and a rescue bounds the wait
            self._give_back()

    def _watch(self, ready: int) -> None:
        while number := os.read(ready, 1)[0]:
            if number == signal.SIGTERM and self._rescue is not None and not self._over.wait(PATIENCE):
                self._rescue()


def leave(sentence: str, status: int) -> None:
    """Say why and end the process here and now, from any thread."""
    show_cursor = "\033[?25h\n" if sys.stderr.isatty() else ""  # a terminal's bar may have hidden it
    print(f"{show_cursor}bnonly: {sentence}", file=sys.stderr, flush=True)
    os._exit(status)
