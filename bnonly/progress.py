"""Progress of long work: a bar in a terminal, lines otherwise. Always on standard error. rich is imported when there
is something to say.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

Item = TypeVar("Item")

_SECONDS_A_LINE = 30.0


def console() -> Console:
    """Standard error as it is now (tests and pipes replace it)."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


def track(items: Iterable[Item], total: int, what: str, *, quiet: bool = False) -> Iterator[Item]:
    """The items, with a bar that counts them; quiet, for work too short to speak of, without."""
    out = console()
    if quiet or not out.is_terminal:
        if not quiet:
            out.print(what, markup=False)
        yield from items
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=out, transient=True) as bar:
        yield from bar.track(items, total=total, description=what)


class Transfer:
    """Bytes that come in: how many, how fast, how long still. Made by `transfer`."""

    def __init__(self, what: str, out: Console, bar: Progress | None) -> None:
        self.what, self._out, self._bar = what, out, bar
        self._task = None if bar is None else bar.add_task(what, total=None)
        self.begin(0, None)

    def begin(self, done: int, total: int | None) -> None:
        """A connection that goes on at byte `done` of `total`; what came before does not count for the rate."""
        self._began, self._done, self._total = done, done, total
        self._since = self._said = time.monotonic()
        if self._bar is not None and self._task is not None:
            self._bar.reset(self._task, completed=done, total=total)

    def add(self, count: int) -> None:
        """`count` more bytes are here."""
        self._done += count
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self._done)
        elif (now := time.monotonic()) - self._said >= _SECONDS_A_LINE:
            self._said = now
            self.say(self._line(now - self._since))

    def say(self, text: str) -> None:
        """A line, above the bar where there is one."""
        self._out.print(text, markup=False)

    def _line(self, seconds: float) -> str:
        rate = (self._done - self._began) / seconds
        line = f"{self.what}: {self._done / 1e6:.1f} MB at {rate / 1e6:.2f} MB/s"
        if self._total is None:
            return line
        minutes, rest = divmod(round((self._total - self._done) / rate), 60)
        return f"{line}, {self._total / 1e6:.1f} MB in all, {minutes}:{rest:02} left"


@contextmanager
def transfer(what: str) -> Iterator[Transfer]:
    """A bar of bytes while the block runs; where there is no terminal, a line every 30 seconds."""
    out = console()
    if not out.is_terminal:
        yield Transfer(what, out, None)
        return
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    name = TextColumn("{task.description}", markup=False)
    columns = (name, BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=out, transient=True) as bar:
        yield Transfer(what, out, bar)
