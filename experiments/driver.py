"""The driver of a grid: what is left to do, in which order, what becomes of an attempt that failed. It trains nothing
itself and keeps nothing in mind that the runs' folders do not say, so it may be killed at any time, and several may
work on one grid.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from bnonly.errors import BnonlyError
from bnonly.files import now, write_object
from experiments.engines import Ended, Engine, Job
from experiments.grid import Trial
from experiments.status import Board, is_done
from experiments.stop import Told
from experiments.watch import Watch

RETRIES = 2
# What another attempt would not change: the configuration, the data or the disk has to be put right first.
HOPELESS = ("BadInput", "RunRefused", "GeneratorBroken")
STOPPED = ("Interrupted", "stopped")
_TURN = 1.0  # seconds between two looks


@dataclass
class Outcome:
    """What became of a grid's trials in one go; ids."""

    done: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)  # with their reasons
    left: dict[str, str] = field(default_factory=dict)  # not tried, or stopped: why
    seconds: float = 0.0  # that trials spent in their stages, all of them together


class Driver:
    """Brings trials of a grid to their end through an engine.

    wanted: ids of those to be done. told: whether somebody wants it to stop. slots: trials at once, where the engine
    has more.
    """

    def __init__(
        self,
        trials: Sequence[Trial],
        wanted: Iterable[str],
        board: Board,
        engine: Engine,
        watch: Watch,
        told: Told,
        slots: int | None = None,
    ):
        self._trials = {trial.id: trial for trial in trials}
        self._board, self._engine, self._watch, self._told = board, engine, watch, told
        self._slots = slots or engine.slots
        self._waiting = deque(wanted)
        self._flying: set[str] = set()
        self._elsewhere: list[str] = []  # another process is at them
        self._attempts: Counter[str] = Counter()
        self._stops: Counter[str] = Counter()  # since the last epoch that came of it
        self._epochs: dict[str, int | None] = {}  # by which a run stood at its last stop
        self._unwritable = False
        self.outcome = Outcome()

    def run(self) -> Outcome:
        """Until all is done or given up, or somebody wants it to stop; the engine then ends what flies."""
        while (self._waiting or self._flying or self._elsewhere) and not self._told.stop:
            if not self._begin() and not (self._flying or self._elsewhere):
                self._give_up()
            if self._flying:
                for ended in self._engine.ended(_TURN):
                    self._take(ended)
            elif self._elsewhere:
                time.sleep(_TURN)
            self._look_elsewhere()
            self._board.look(self._flying, self._flying)
            self._watch.look(self._slots)
        return self.outcome

    def _begin(self) -> bool:
        """Submit what can begin, as far as there are slots; whether there is, or was, anything to do."""
        moved = False
        for _ in range(len(self._waiting)):
            if len(self._flying) >= self._slots:
                return True
            trial = self._trials[self._waiting.popleft()]
            if is_done(trial):
                self._settle(trial)
            elif not all(self._is_done(name) for name in trial.after):
                self._waiting.append(trial.id)
                continue
            elif trial.folder.in_use() and not self._engine.has(_job(trial)):
                self._elsewhere.append(trial.id)
            else:
                self._flying.add(trial.id)
                self._engine.submit(_job(trial))
            moved = True
        return moved

    def _is_done(self, name: str) -> bool:
        """Of a trial that another one comes after; one that is not of this grid has nobody to wait for."""
        return name not in self._trials or is_done(self._trials[name])

    def _take(self, ended: Ended) -> None:
        trial = self._trials[ended.id]
        self._flying.discard(trial.id)
        self.outcome.seconds += ended.seconds
        self._board.look([trial.id])
        if is_done(trial):
            self._settle(trial)
        elif ended.kind == "InUse":
            self._elsewhere.append(trial.id)
        elif ended.kind in STOPPED:
            self._stop(trial, ended.reason or "stopped")
        else:
            self._fail(trial, ended)

    def _stop(self, trial: Trial, reason: str) -> None:
        """As by a time limit: it goes on for as often as that brings it further, and a few times without."""
        row = self._board.rows[trial.id]
        if row.epoch != self._epochs.get(trial.id):
            self._epochs[trial.id] = row.epoch
            self._stops[trial.id] = 0
        self._stops[trial.id] += 1
        if self._stops[trial.id] <= RETRIES:
            self._waiting.append(trial.id)
            self._watch.say(f"{row.name}  {reason.partition(': give')[0]}; it goes on later")
        else:
            self.outcome.left[trial.id] = reason

    def _fail(self, trial: Trial, ended: Ended) -> None:
        reason = ended.reason or "its process ended well and left no result"
        kind = ended.kind or "lost"
        self._attempts[trial.id] += 1
        attempts = self._attempts[trial.id]
        final = kind in HOPELESS or attempts > RETRIES
        facts = {"reason": reason, "kind": kind, "attempts": attempts, "final": final, "log": ended.log}
        self._record(trial, facts)
        if final:
            self.outcome.failed[trial.id] = reason
        else:
            self._waiting.append(trial.id)
        row = self._board.rows[trial.id]
        row.state, row.reason = "failed" if final else "waiting", reason
        tries = f"{attempts} attempt{'s' if attempts > 1 else ''}"
        self._watch.ended(row, f" ({tries})" if final else f" (attempt {attempts} of {RETRIES + 1}, again later)")

    def _record(self, trial: Trial, failure: dict[str, object]) -> None:
        when = now()
        facts = {**failure, "last": when}
        try:
            write_object(trial.folder.path / "failure.json", facts)
        except (BnonlyError, OSError) as error:
            if not self._unwritable:
                self._unwritable = True
                self._watch.say(f"failures cannot be kept ({error}); the grid goes on")

    def _settle(self, trial: Trial) -> None:
        """It is done, by whomever."""
        with suppress(OSError):
            (trial.folder.path / "failure.json").unlink(missing_ok=True)
        self.outcome.done.append(trial.id)
        self._board.look([trial.id])
        self._watch.ended(self._board.rows[trial.id])

    def _look_elsewhere(self) -> None:
        """Trials that another process has: done by now, or free to be taken."""
        for name in list(self._elsewhere):
            trial = self._trials[name]
            if trial.folder.in_use():
                self._board.look([name])
                continue
            self._elsewhere.remove(name)
            if is_done(trial):
                self._settle(trial)
            else:
                self._waiting.appendleft(name)

    def _give_up(self) -> None:
        """What is left waits for trials that failed."""
        for name in self._waiting:
            wanted = [other for other in self._trials[name].after if not self._is_done(other)]
            self.outcome.left[name] = f"it comes after {', '.join(wanted)}, not done"
        self._waiting.clear()


def _job(trial: Trial) -> Job:
    return Job(trial.id, trial.config.plain(), trial.plain_stages)
