"""What does a grid cost besides its runs? The local engine's wall time times its slots, over the seconds of the fits.

    python -m experiments.overhead [--runs 200] [--slots 2] [--rounds 7]

Runs of one epoch on digits with tracking off, by the driver and the engine of `bnonly experiment run`. First a grid
as a whole, from opening the engine, which imports torch once, to leaving it; then short blocks of runs in processes
that stay and in a process a run, in turns, the engine being warm. Written to experiments/results/speed/overhead.csv.

Expect 1.25 or less for the whole grid.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from bnonly.config import RunConfig
from bnonly.data.cores import usable_cores
from bnonly.errors import TrainingFailed, guarded
from experiments.driver import Driver
from experiments.engines.local import TRIALS, Local
from experiments.grid import Trial
from experiments.status import Board, Row
from experiments.stop import Told
from experiments.tables import made_with, quartiles, write_table

TABLE = Path(__file__).parent / "results" / "speed" / "overhead.csv"
BLOCK = 8  # runs a slot

Figures = tuple[float, float]


class _Unseen:
    """Nobody watches."""

    def __enter__(self) -> _Unseen:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def look(self, slots: int) -> None:
        pass

    def ended(self, row: Row, said: str = "") -> None:
        pass

    def say(self, sentence: str) -> None:
        print(sentence, file=sys.stderr)


def grid(runs: int, slots: int, stay: int) -> Figures:
    """Wall time and the fits' seconds, all together, of so many runs; stay: runs that a process performs.

    Raises TrainingFailed unless every run is done.
    """
    with TemporaryDirectory() as out:
        trials = [Trial(_config(out, seed)) for seed in range(runs)]
        board = Board(trials)
        began = time.perf_counter()
        with Told() as told, Local(slots=slots, gpus=(), trials=stay) as engine:
            driver = Driver(trials, [trial.id for trial in trials], board, engine, _Unseen(), told)
            outcome = driver.run()
        wall = time.perf_counter() - began
    if len(outcome.done) != runs:
        raise TrainingFailed(f"{len(outcome.done)} of {runs} runs are done: {outcome.failed or told.stop}")
    return wall, outcome.seconds


def _config(out: str, seed: int) -> RunConfig:
    training = {"epochs": 1, "device": "cpu", "threads": 1}
    return RunConfig.model_validate({"out": out, "seed": seed, "tracking": "off", "training": training})


def _row(what: str, runs: int, slots: int, found: list[Figures]) -> dict[str, Any]:
    ratios = [wall * slots / seconds for wall, seconds in found]
    low, middle, high = quartiles(ratios)
    return {
        "what": what,
        "runs": runs,
        "slots": slots,
        "wall_seconds_median": f"{median(wall for wall, _ in found):.4g}",
        "fit_seconds_median": f"{median(seconds for _, seconds in found):.4g}",
        "overhead_seconds_a_run_median": f"{median((w * slots - s) / runs for w, s in found):.3g}",
        "ratio_lower_quartile": f"{low:.3f}",
        "ratio_median": f"{middle:.3f}",
        "ratio_upper_quartile": f"{high:.3f}",
        "rounds": len(found),
    }


def rows(runs: int, slots: int, rounds: int) -> list[dict[str, Any]]:
    """The table's rows, without what all of them share."""
    found = [_row("a grid as a whole", runs, slots, [grid(runs, slots, TRIALS)])]
    kinds: dict[str, tuple[int, list[Figures]]] = {
        "processes that stay, warm": (TRIALS, []),
        "a process a run, warm": (1, []),
    }
    for number in range(rounds):
        for stay, block in list(kinds.values())[:: -1 if number % 2 else 1]:
            block.append(grid(BLOCK * slots, slots, stay))
    return found + [_row(what, BLOCK * slots, slots, block) for what, (_, block) in kinds.items() if block]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=200, help="of the whole grid (default: 200)")
    parser.add_argument("--slots", type=int, default=usable_cores(), help="trials at once (default: the cores)")
    parser.add_argument("--rounds", type=int, default=7, help="pairs of blocks (default: 7)")
    parser.add_argument("--table", type=Path, default=TABLE, help="the table to write")
    options = parser.parse_args()
    table = rows(options.runs, options.slots, options.rounds)
    command = (
        f"python -m experiments.overhead --runs {options.runs} --slots {options.slots} --rounds {options.rounds}"
    )
    shared = made_with() | {"threads": 1, "command": command}  # torch, which only the runs imported until here
    write_table([row | shared for row in table], options.table)
    for row in table:
        print(
            f"{row['what']}: {row['ratio_median']} of the fits' seconds ({row['runs']} runs, {row['slots']} at once)"
        )


if __name__ == "__main__":
    sys.exit(guarded(main))
