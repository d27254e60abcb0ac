"""ablation.json: what a network answers when gammas are set to zero, point by point; it goes on where it stopped."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnonly.errors import BadInput
from bnonly.examine.places import output
from bnonly.examine.subject import Opened, Subject, of_run
from bnonly.files import now, read_object, write_atomically
from bnonly.measure.points import SCOPES, THRESHOLDS, WAYS, Point, points
from bnonly.runs import RunFolder

if TYPE_CHECKING:
    from bnonly.measure.accuracy import Score

NAME = "ablation.json"
SCORES = ("top1", "top5", "loss")

_SECONDS_A_SAVE = 30.0


def ablate(
    what: RunFolder | Subject,
    *,
    thresholds: Sequence[float] = THRESHOLDS,
    smallest: Sequence[float] = (),
    largest: Sequence[float] = (),
    random: Sequence[float] = (),
    per_layer: bool = False,
    repeats: int = 3,
    seed: int = 0,
    out: Path | None = None,
    force: bool = False,
    quiet: bool = False,
) -> dict[str, Any]:
    """Score a network with gammas set to zero; what is asked for is as in `measure.points.points`.

    The results are written to ablation.json in the run's folder; those of a file to `out`, if given. What is there
    already of the same network, images and precision stays and is not evaluated again, unless force. Returns
    everything the file then holds. quiet: no bar. Raises BadInput for what cannot be asked for.
    """
    who = of_run(what) if isinstance(what, RunFolder) else what
    wanted = points(thresholds, smallest, largest, random, per_layer=per_layer, repeats=repeats, seed=seed)
    path = output(who, out, NAME)
    old = None if force or path is None else read_object(path)
    if who.run is not None and _holds(who, old, wanted):
        assert old is not None
        return old
    opened = who.open()
    results = _Results(who, opened, old)
    if not results.hold(wanted):
        _evaluate(results, wanted, path, quiet)
    return results.facts()


def _evaluate(results: _Results, wanted: Sequence[Point], path: Path | None, quiet: bool) -> None:
    from bnonly.measure.ablation import ablate as evaluated
    from bnonly.training.build import engaged
    from bnonly.training.environment import exact_kernels

    opened, precision = results.opened, results.who.precision
    engaged(opened.net, results.who.config)
    saved = time.monotonic()
    try:
        with exact_kernels():
            batches = opened.batches.in_order
            for done in evaluated(opened.net, batches, wanted, precision, known=results.known(), quiet=quiet):
                results.add(done.point, done.channels, done.score)
                if path is not None and time.monotonic() - saved > _SECONDS_A_SAVE:
                    write_atomically(path, results.text())
                    saved = time.monotonic()
    finally:  # also of an interrupted sweep
        if path is not None and results.intact is not None:
            write_atomically(path, results.text())


class _Results:
    """The intact scores and a row for each point, begun with what a file holds of the same subject."""

    def __init__(self, who: Subject, opened: Opened, old: Mapping[str, Any] | None):
        from bnonly.measure.gamma import gammas

        self.who, self.opened = who, opened
        self.channels = sum(gamma.numel() for gamma in gammas(opened.net).values())
        if not self.channels:
            raise BadInput(f"the network of {who.path} has no gamma to clamp")
        self.intact: dict[str, Any] | None = None
        self.rows: dict[Point, dict[str, Any]] = {}
        self._before, self._seconds, self._began = 0.0, 0.0, time.monotonic()
        self._head, self._made = who.facts(opened, self._began), now()
        if old is not None and who.answers(dict(old)) and old.get("data_sha256") == opened.data_sha256:
            self.intact, self.rows = _rows(old)
            seconds = old.get("seconds")
            self._before = seconds if isinstance(seconds, (int, float)) else 0.0

    def hold(self, wanted: Sequence[Point]) -> bool:
        return self.intact is not None and all(point in self.rows for point in wanted)

    def known(self) -> dict[Point | None, Score]:
        """As `measure.ablation.ablate` takes it."""
        found: dict[Point | None, dict[str, Any]] = {**self.rows}
        if self.intact is not None:
            found[None] = self.intact
        return {point: _score(row, self.opened.batches.images) for point, row in found.items()}

    def add(self, point: Point | None, channels: int, score: Score) -> None:
        self._seconds, self._made = time.monotonic() - self._began, now()
        values = score.plain()
        if point is None:
            self.intact = values
        else:
            share = {"clamped": channels, "share": channels / self.channels}
            self.rows[point] = asdict(point) | share | values

    def facts(self) -> dict[str, Any]:
        order = sorted(self.rows, key=_place)
        return {
            **self._head,
            "made": self._made,
            "seconds": round(self._before + self._seconds, 1),
            "images": self.opened.batches.images,
            "channels": self.channels,
            "intact": self.intact,
            "points": [self.rows[point] for point in order],
        }

    def text(self) -> bytes:
        return (json.dumps(self.facts(), indent=1, allow_nan=False) + "\n").encode()


def rows(facts: Mapping[str, Any]) -> dict[Point, dict[str, Any]]:
    """The rows of an ablation by point; what is no sound row is left out."""
    return _rows(facts)[1]


def _holds(who: Subject, old: dict[str, Any] | None, wanted: Sequence[Point]) -> bool:
    """Whether a file's content answers the request."""
    if old is None or not who.answers(old):
        return False
    intact, there = _rows(old)
    return intact is not None and all(point in there for point in wanted)


def _rows(facts: Mapping[str, Any]) -> tuple[dict[str, Any] | None, dict[Point, dict[str, Any]]]:
    there, intact = facts.get("points"), facts.get("intact")
    found = {}
    for row in there if isinstance(there, list) else []:
        try:
            point = Point(row["way"], float(row["amount"]), row["scope"], row["seed"])
            sound = _sound(row) and isinstance(row["clamped"], int)
        except (KeyError, TypeError, ValueError):  # BadInput is one
            continue
        if sound:
            found[point] = row
    return (intact if _sound(intact) else None), found


def _sound(row: Any) -> bool:
    if not isinstance(row, dict) or not all(isinstance(row.get(name), (int, float)) for name in ("top1", "top5")):
        return False
    return "loss" in row and isinstance(row["loss"], (int, float, type(None)))


def _score(row: Mapping[str, Any], images: int) -> Score:
    from bnonly.measure.accuracy import Score

    return Score(math.nan if row["loss"] is None else row["loss"], row["top1"], row["top5"], images)


def _place(point: Point) -> tuple[int, int, float, int]:
    return SCOPES.index(point.scope), WAYS.index(point.way), point.amount, point.seed or 0
