"""Where a grid stands, read from its runs' folders. Without torch; nothing is written."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from experiments.grid import FIT, Trial
from experiments.tasks import unanswered

State = Literal["done", "running", "failed", "waiting"]
STATES: tuple[State, ...] = ("done", "running", "failed", "waiting")


@dataclass
class Row:
    """A trial as its folder has it. top1 in 0..1; seconds: what the run took, or will by its epochs so far; left:
    seconds, None if unknown. rate: images a second. answered: of its stages. A network or group that the experiment
    does not ask about, since nothing is fitted, is empty.
    """

    id: str
    network: str
    group: str
    seed: int
    epochs: int
    state: State = "waiting"
    epoch: int | None = None
    top1: float | None = None
    rate: float | None = None
    seconds: float | None = None
    left: float | None = None
    reason: str = ""
    stages: int = 1
    answered: int = 0

    @property
    def name(self) -> str:
        what = [part for part in (self.network, self.group) if part]
        return " ".join([*what, f"seed {self.seed} ({self.id})"])

    def plain(self) -> dict[str, Any]:
        return asdict(self)


def is_done(trial: Trial) -> bool:
    """Whether all its stages are answered. A result that cannot be read is none."""
    return not unanswered(trial.config, trial.plain_stages)


class Board:
    """Every trial of a grid, as of the last look. Only what has grown of a metrics.jsonl is read again.

    grows: more trials may follow from what these find.
    """

    def __init__(self, trials: Sequence[Trial], grows: bool = False):
        self.grows = grows
        self._trials = {trial.id: trial for trial in trials}
        self._metrics = {trial.id: Metrics(trial.folder.path / "metrics.jsonl") for trial in trials}
        self._paces = {trial.id: Pace() for trial in trials if FIT not in trial.stages}
        self.rows: dict[str, Row] = {}
        for trial in trials:
            config, fits = trial.config, FIT in trial.stages
            network = config.network.name if fits or "network.name" in trial.asked else ""
            group = config.group if fits or "group" in trial.asked else ""
            epochs, stages = config.training.epochs, len(trial.stages)
            self.rows[trial.id] = Row(trial.id, network, group, config.seed, epochs, stages=stages)

    def look(self, ids: Iterable[str] | None = None, running: Iterable[str] = ()) -> None:
        """Read these folders again, or all. running: those that whoever asks knows to be."""
        known = set(running)
        for name in self.rows if ids is None else ids:
            self._look(self._trials[name], self.rows[name], name in known)
        means = self._means()
        for row in self.rows.values():
            if row.state != "done" and row.seconds:
                share = row.epoch / row.epochs if row.epoch else row.answered / row.stages
                row.left = row.seconds * (1 - share)
            elif row.state != "done":
                an_epoch = means.get((row.network, row.group))
                row.left = None if an_epoch is None else row.epochs * an_epoch

    def _look(self, trial: Trial, row: Row, running: bool) -> None:
        failure = None
        if not running or FIT not in trial.stages:  # a run under way is known by its epochs
            row.answered = row.stages - len(unanswered(trial.config, trial.plain_stages))
        if running:
            row.state = "running"
        elif row.answered == row.stages:
            row.state = "done"
        elif trial.folder.in_use():
            row.state = "running"
        else:
            failure = trial.folder.failure()
            row.state = "waiting" if failure is None else "failed"
        row.reason = str(failure.get("reason", "")) if failure else ""
        if (pace := self._paces.get(trial.id)) is not None:
            row.seconds = pace.whole(row)
        if row.state == "done" and (result := trial.folder.result()) is not None:
            row.epoch, row.left, row.seconds = row.epochs, None, seconds_of(result)
            row.top1 = _number(result, "test", "top1")
            return
        metrics = self._metrics[trial.id]
        metrics.look()
        if metrics.last is not None:
            row.epoch, row.top1 = metrics.last.get("epoch"), _number(metrics.last, "test", "top1")
            row.rate = _number(metrics.last, "images_per_second")
            row.seconds = row.epochs * metrics.seconds / metrics.epochs if metrics.epochs else None

    def counts(self) -> dict[State, int]:
        return {state: sum(row.state == state for row in self.rows.values()) for state in STATES}

    def left(self, slots: int) -> float | None:
        """Seconds until what runs and waits is done, `slots` trials at once; None where no like run tells."""
        each = [row.left for row in self.rows.values() if row.state in ("running", "waiting")]
        if any(left is None for left in each):
            return None
        known = [left for left in each if left is not None]
        return max(sum(known) / max(1, slots), max(known, default=0.0))

    def _means(self) -> dict[tuple[str, str], float]:
        """Seconds an epoch of a network and group, over whole runs: of those done, else of those under way."""
        found: dict[tuple[str, str], float] = {}
        for state in ("running", "done"):
            took: dict[tuple[str, str], list[float]] = {}
            for row in self.rows.values():
                if row.state == state and row.seconds:
                    took.setdefault((row.network, row.group), []).append(row.seconds / row.epochs)
            found |= {key: sum(values) / len(values) for key, values in took.items()}
        return found


@dataclass
class Pace:
    """Of the stages of a trial that fits nothing, as they were answered under the eyes of one board."""

    _since: float | None = None  # when it was first seen to run, by the clock
    _before: int = 0  # answered by then
    _answered: int = 0  # by the last look
    _whole: float | None = None

    def whole(self, row: Row) -> float | None:
        """Seconds that all its stages take at this pace; None until one was answered while it ran."""
        if self._since is not None and row.answered > self._answered:
            self._whole = (time.monotonic() - self._since) * row.stages / (row.answered - self._before)
        elif row.state == "running" and self._since is None:
            self._since, self._before = time.monotonic(), row.answered
        elif row.state != "running":
            self._since = None
        self._answered = row.answered
        return self._whole


@dataclass
class Metrics:
    """What a run's metrics.jsonl says so far."""

    path: Path
    last: dict[str, Any] | None = None
    epochs: int = 0  # trained
    seconds: float = 0.0  # of them
    _at: int = field(default=0, repr=False)
    _file: int = field(default=0, repr=False)

    def look(self) -> None:
        """Read what was appended since; from the start where the file was replaced. Never raises."""
        try:
            with self.path.open("rb") as file:
                there = self.path.stat()
                if there.st_ino != self._file or there.st_size < self._at:
                    self.last, self.epochs, self.seconds, self._at = None, 0, 0.0, 0
                self._file = there.st_ino
                file.seek(self._at)
                fresh = file.read()
        except OSError:
            return
        whole = fresh[: fresh.rfind(b"\n") + 1]
        self._at += len(whole)
        for line in whole.splitlines():
            try:
                record = json.loads(line)
                epoch, seconds = int(record["epoch"]), float(record["seconds"])
            except (ValueError, KeyError, TypeError, RecursionError):
                continue
            self.last = record
            if epoch:
                self.epochs, self.seconds = self.epochs + 1, self.seconds + seconds


def seconds_of(result: dict[str, Any]) -> float | None:
    """What a finished run took: of a single session from its beginning to its end, else its training alone."""
    sessions = result.get("sessions")
    if isinstance(sessions, list) and len(sessions) == 1:
        try:
            began, ended = (datetime.fromisoformat(text) for text in (sessions[0]["began"], result["finished"]))
            return max(1.0, (ended - began).total_seconds())
        except (KeyError, TypeError, ValueError):
            pass
    return _number(result, "train_seconds")


def _number(values: Any, *path: str) -> float | None:
    for part in path:
        values = values.get(part) if isinstance(values, dict) else None
    return float(values) if isinstance(values, int | float) else None


def clock(seconds: float | None) -> str:
    """h:mm:ss, or a question mark."""
    if seconds is None:
        return "?"
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
