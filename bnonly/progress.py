"""Progress of long work: a bar in a terminal, a line otherwise. Always on standard error."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Item = TypeVar("Item")


def console() -> Console:
    """Standard error as it is now (tests and pipes replace it)."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def track(items: Iterable[Item], total: int, what: str, *, quiet: bool = False) -> Iterator[Item]:
    """The items, with a bar that counts them; quiet, for work too short to speak of, without."""
    out = console()
    if quiet or not out.is_terminal:
        if not quiet:
            out.print(what, markup=False)
        yield from items
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=out, transient=True) as bar:
        yield from bar.track(items, total=total, description=what)
