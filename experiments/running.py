"""`bnonly experiment run`: grids, one after another, through one engine."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from contextlib import nullcontext, suppress

from bnonly.config.plain import plain
from bnonly.errors import BadInput, BnonlyError, Interrupted, printable
from bnonly.progress import console
from experiments.driver import Driver, Outcome
from experiments.engines import Engine, open_engine
from experiments.grid import Trial
from experiments.gridfile import Grid
from experiments.status import Board, clock
from experiments.stop import Told
from experiments.tasks import task
from experiments.watch import watch

_SHOWN = 10  # failures named at the end


def run(grids: Sequence[Grid], options: argparse.Namespace) -> int:
    """Do what is left of these grids; prints each one's folder. The exit status: 1 where a trial failed.

    Raises BadInput; Interrupted on SIGINT or SIGTERM, when what ran has saved itself.
    """
    grids, boards = list(grids), [Board(grid.trials, grid.what.grows) for grid in grids]
    wanted = [_begin(grid, board, options.only_failed) for grid, board in zip(grids, boards, strict=True)]
    todo = [trial for grid, ids in zip(grids, wanted, strict=True) for trial in grid.trials if trial.id in set(ids)]
    status = 0
    with Told() as told, _opened(options, todo) if todo else nullcontext() as engine:
        for place, ids in enumerate(wanted):
            while engine is not None and ids and not told.stop:
                outcome = _do(grids[place], boards[place], ids, engine, told)
                status = max(status, int(bool(outcome.failed or outcome.left)))
                if options.only_failed or not grids[place].what.grows:
                    break
                known = {trial.id for trial in grids[place].trials}
                grown = grids[place].grown()
                if {trial.id for trial in grown.trials} <= known:
                    break
                grids[place], boards[place] = grown, Board(grown.trials, grows=True)
                ids = [name for name in _begin(grown, boards[place], False) if name not in known]
        if told.stop:
            say = f"stopping ({told.stop}): what runs saves itself; Ctrl-C again kills it"
            console().print(say, markup=False)
    if told.stop:
        raise Interrupted(f"stopped by {told.stop}: give the same command again to go on")
    for grid, board, ids in zip(grids, boards, wanted, strict=True):
        _end(grid, board, bool(ids))
        print(grid.folder)
    return status


def _begin(grid: Grid, board: Board, only_failed: bool) -> list[str]:
    """Write the grid's file, say what is odd, and find what is to be done: ids."""
    err = console()
    for name in {stage.task for trial in grid.trials for stage in trial.stages}:
        task(name)  # refuses an unknown one
    try:
        grid.write()
    except (BnonlyError, OSError) as error:
        err.print(f"{printable(str(error))}; the grid goes on without", markup=False)
    if orphans := grid.orphans_named():
        err.print(orphans, markup=False)
    board.look()
    for trial in grid.trials:
        if board.rows[trial.id].state == "done":
            with suppress(OSError):  # it failed once and was finished by other means
                (trial.folder.path / "failure.json").unlink(missing_ok=True)
    if only_failed:
        return [row.id for row in board.rows.values() if row.state == "failed"]
    return [row.id for row in board.rows.values() if row.state != "done"]


def _opened(options: argparse.Namespace, todo: Sequence[Trial]) -> Engine:
    """The engine, told what trials need: threads and devices of the largest."""
    kinds = {trial.config.training.device for trial in todo}
    if numbered := [kind for kind in kinds if ":" in kind]:
        raise BadInput(
            f"training.device {numbered[0]} is one GPU, and a grid is spread over those there are: use cuda, and "
            "CUDA_VISIBLE_DEVICES to choose among them"
        )
    needs: dict[str, object] = {
        "slots": options.slots,
        "threads": max(trial.config.training.threads or 1 for trial in todo),
        "devices": max(trial.config.training.devices for trial in todo),
        "per_gpu": options.per_gpu,
    }
    if kinds == {"cpu"}:
        needs["gpus"] = ()
    return open_engine(options.engine, **needs, **_options(options.option))


def _options(given: Sequence[str]) -> dict[str, object]:
    found: dict[str, object] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise BadInput(f"--option {text!r} sets nothing: write it as --option NAME=VALUE")
        found[name] = plain(value, f"--option {text!r}")
    return found


def _do(grid: Grid, board: Board, wanted: Sequence[str], engine: Engine, told: Told) -> Outcome:
    began, err = time.monotonic(), console()
    slots = min(engine.slots, grid.what.slots or engine.slots)
    rest = f", {len(wanted)} of them to do" if len(wanted) < len(grid.trials) else ""
    err.print(f"{_title(grid)}: {len(grid.trials)} runs{rest}, {slots} at once", markup=False)
    grid.what.prepare(grid.preset, grid.out)
    with watch(grid.name, board) as seen:
        outcome = Driver(grid.trials, wanted, board, engine, seen, told, slots).run()
    counts = {"done": outcome.done, "failed": outcome.failed, "left": outcome.left}
    said = ", ".join(f"{len(ids)} {what}" for what, ids in counts.items() if ids or what != "left")
    err.print(f"{_title(grid)}: {said} in {clock(time.monotonic() - began)}", markup=False)
    for name, reason in [*outcome.failed.items(), *outcome.left.items()][:_SHOWN]:
        err.print(f"  {board.rows[name].name}: {printable(reason)}", markup=False)
    return outcome


def _end(grid: Grid, board: Board, was_run: bool) -> None:
    """Draw where there is something new to draw, or nothing was drawn, as after a driver that was stopped."""
    counts = board.counts()
    if not was_run:
        also = f", {counts['waiting']} waiting" if counts["waiting"] else ""  # of --only-failed
        console().print(f"{_title(grid)}: nothing to do, {counts['done']} runs are done{also}", markup=False)
    if counts["done"] and (was_run or not any(grid.folder.glob("*.csv"))):
        from experiments.drawing import draw

        draw(grid.what, grid.trials, grid.folder, grid.command)


def _title(grid: Grid) -> str:
    return f"{grid.name} --preset {grid.preset}"
