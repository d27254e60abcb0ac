"""A grid under way, as seen on standard error: a live table in a terminal, lines elsewhere. Read from the folders, so
it is the same for every engine.
"""

from __future__ import annotations

import time
from typing import Protocol

from bnonly.errors import printable
from bnonly.progress import console
from experiments.status import Board, Row, clock

_SECONDS_A_LINE = 60.0


class Watch(Protocol):
    """Use as a context manager."""

    def __enter__(self) -> Watch: ...

    def __exit__(self, *exception: object) -> None: ...

    def look(self, slots: int) -> None:
        """About once a second, after the board has looked."""
        ...

    def ended(self, row: Row, said: str = "") -> None:
        """A trial is done, or an attempt at it failed, and what comes of that."""
        ...

    def say(self, sentence: str) -> None: ...


def watch(title: str, board: Board) -> Watch:
    if not (out := console()).is_terminal:
        return Lines(title, board)
    from experiments.pane import Pane

    return Pane(title, board, out)


def outlook(board: Board, slots: int) -> str:
    """The counts and the time left, as a clause."""
    counts = board.counts()
    parts = [f"{counts[state]} {state}" for state in ("done", "running", "failed", "waiting") if counts[state]]
    left = board.left(slots)
    if counts["running"] or counts["waiting"]:
        about = "at least" if board.grows else "about"
        parts.append(f"{about} {clock(left)} left" if left is not None else "time left unknown")
    return ", ".join(parts)


class Lines:
    """A line as each trial ends, and one now and then in between."""

    def __init__(self, title: str, board: Board):
        self._title, self._board, self._console = title, board, console()
        self._said = time.monotonic()

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def look(self, slots: int) -> None:
        if (now := time.monotonic()) - self._said >= _SECONDS_A_LINE:
            self._said = now
            self.say(f"{self._title}: {outlook(self._board, slots)}")

    def ended(self, row: Row, said: str = "") -> None:
        done = self._board.counts()["done"]
        self.say(f"{self._title} {done}/{len(self._board.rows)}  {row.name}  {how(row)}{said}")

    def say(self, sentence: str) -> None:
        self._said = time.monotonic()
        self._console.print(printable(sentence), markup=False)


HEADS = ("network", "group", "seed", "state", "epoch", "top-1", "images/s", "left")


def cells(row: Row) -> list[str]:
    """A row as texts, in the order of HEADS."""
    return [
        row.network,
        row.group,
        str(row.seed),
        row.state,
        _progress(row),
        f"{row.top1:.2%}" if row.top1 is not None else "",
        f"{row.rate:,.0f}" if row.rate else "",
        "" if row.state == "done" or row.left is None else clock(row.left),
    ]


def _progress(row: Row) -> str:
    """Epochs of a run; of a trial that fits nothing the stages that are answered."""
    if row.epoch is not None:
        return f"{row.epoch}/{row.epochs}"
    return f"{row.answered}/{row.stages} stages" if row.stages > 1 and not row.network else ""


def how(row: Row) -> str:
    """How a trial ended, as a clause."""
    if row.reason:
        return f"failed: {row.reason}"
    top1 = f", top-1 {row.top1:.2%}" if row.top1 is not None else ""
    return f"{row.state}{top1}{f', {clock(row.seconds)}' if row.seconds else ''}"
