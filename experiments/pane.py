"""A grid under way in a terminal: a live table. A `Watch`."""

from __future__ import annotations

from collections import deque

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from bnonly.errors import printable
from experiments.status import Board, Row
from experiments.watch import HEADS, cells, how, outlook

_RECENT = 5  # rows of what ended last


class Pane:
    """The trials under way and those that ended last, a bar over all, and the time left."""

    def __init__(self, title: str, board: Board, out: Console):
        self._board, self._console = board, out
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[facts]}"),
        )
        self._bar = Progress(*columns, console=self._console)
        self._task = self._bar.add_task(title, total=len(board.rows), facts="")
        self._recent: deque[str] = deque(maxlen=_RECENT)  # ids
        self._live = Live(console=self._console, auto_refresh=False, transient=True)

    def __enter__(self) -> Pane:
        self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._live.stop()

    def look(self, slots: int) -> None:
        done = self._board.counts()["done"]
        self._bar.update(self._task, completed=done, facts=outlook(self._board, slots))
        self._live.update(Group(self._table(), self._bar), refresh=True)

    def ended(self, row: Row, said: str = "") -> None:
        if row.id in self._recent:
            self._recent.remove(row.id)
        self._recent.append(row.id)
        if row.reason:
            self.say(f"{row.name}  {how(row)}{said}")

    def say(self, sentence: str) -> None:
        self._console.print(printable(sentence), markup=False)

    def _table(self) -> Table:
        table = Table(box=None, header_style="dim", pad_edge=False)
        for head in HEADS:
            table.add_column(head, justify="left" if head in ("network", "group", "state") else "right", no_wrap=True)
        rows = self._board.rows
        now = [row for row in rows.values() if row.state == "running"]
        room = max(1, self._console.height - _RECENT - 4)
        for row in [*(rows[name] for name in self._recent if rows[name] not in now), *now[:room]]:
            table.add_row(*(Text(cell) for cell in cells(row)))
        return table
