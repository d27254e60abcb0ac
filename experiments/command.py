"""`bnonly experiment`: what there is, how it stands, and running it. Without torch, which trials alone need."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnonly.config.parser import Parser, user_path
from bnonly.errors import BadInput
from experiments.describe import lines
from experiments.engines import ENGINES
from experiments.grid import EXPERIMENTS, PRESETS, By, Experiment, assignments, experiment, trials

if TYPE_CHECKING:
    from experiments.gridfile import Grid
    from experiments.status import Board

ACTIONS = ("list", "show", "run", "status", "draw")

HOW = """\
  bnonly experiment list                             what is asked, and how many runs that takes
  bnonly experiment show depth                       one of them: its grid, what to expect, what it draws
  bnonly experiment run depth --preset cpu           train what is not done; again: go on
  bnonly experiment status depth                     done, running, failed, waiting, and the time left
  bnonly experiment draw depth --to figures          figures and tables of what is done, in figures/depth
"""


class _Names(tuple[str, ...]):
    """Names to be completed; a wrong one is refused later, with the nearest."""

    def __contains__(self, name: object) -> bool:
        return True


def parser() -> Parser:
    parser = Parser(
        "bnonly experiment",
        "Grids of runs, each the answer to a question.",
        epilog=HOW,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="bnonly experiment list | show NAME | run NAME ... | status NAME ... | draw NAME ... [options]",
    )
    add = parser.add_argument
    add("action", choices=ACTIONS, help="what to do")
    add("names", nargs="*", choices=_Names(EXPERIMENTS), metavar="NAME", help=f"of {', '.join(EXPERIMENTS)}")
    add("--preset", choices=PRESETS, help="size of the grid (run: smoke unless given; else the one run last)")
    add("--engine", choices=tuple(ENGINES), default="local", help="where trials run (default: local)")
    add("--option", action="append", default=[], metavar="NAME=VALUE", help="of the engine; may be repeated")
    add("--out", type=user_path, default=Path("runs"), metavar="DIR", help="folder of all runs (default: runs)")
    add("--set", action="append", default=[], metavar="FIELD=VALUE", help="a field of every run; may be repeated")
    add("--only-failed", action="store_true", help="run those alone that failed before")
    add("--slots", type=int, metavar="N", help="trials at once (default: cores / training.threads; on GPUs one each)")
    add("--per-gpu", type=int, metavar="N", help="trials at once on each GPU (default: 1)")
    add(
        "--to", type=user_path, metavar="DIR", help="draw: DIR/NAME takes the files (default: the folder of all runs)"
    )
    add("--json", action="store_true", help="list, show, status: as JSON")
    return parser


def main(argv: list[str]) -> int:
    options = parser().parse_intermixed_args(argv)
    if options.action == "list":
        return _list(options)
    if not options.names:
        raise BadInput(
            f"which experiment? `bnonly experiment {options.action} NAME`: there are {', '.join(EXPERIMENTS)}"
        )
    if options.action == "show":
        return _show(options)
    if options.action == "status":
        return _status(options)
    if options.action == "draw":
        return _draw(options)
    from experiments.running import run

    return run(grids(options), options)


def grids(options: argparse.Namespace) -> list[Grid]:
    """Those that are named, expanded under --preset and --set. Raises BadInput."""
    from experiments.gridfile import Grid

    preset = options.preset or "smoke"
    return [Grid.of(name, preset, options.out, options.set) for name in dict.fromkeys(options.names)]


def _list(options: argparse.Namespace) -> int:
    rows: list[dict[str, Any]] = []
    for name in options.names or EXPERIMENTS:
        numbers = {preset: _runs(name, preset, options) for preset in PRESETS}
        what = experiment(name)
        rows.append({"name": name, "question": what.question, "runs": numbers, "grows": what.grows})
    if options.json:
        print(json.dumps(rows, indent=2))
        return 0
    print(
        f"{'name':<18}{''.join(f'{preset:>7}' for preset in PRESETS)}  question (runs under each preset, +: at first)"
    )
    for row in rows:
        numbers = "".join(f"{_at_first(row['runs'][preset], row['grows']):>7}" for preset in PRESETS)
        print(f"{row['name']:<18}{numbers}  {row['question']}")
    return 0


def _at_first(runs: int, grows: bool) -> str:
    """A number of runs, marked where others follow from what these find."""
    return f"{runs}{'+' if grows else ''}"


def _show(options: argparse.Namespace) -> int:
    shown = [_facts(name, options) for name in options.names]
    if options.json:
        print(json.dumps(shown, indent=2))
        return 0
    for number, facts in enumerate(shown):
        print(*([""] if number else []), *lines(facts, whole=options.preset is not None), sep="\n")
    return 0


def _facts(name: str, options: argparse.Namespace) -> dict[str, Any]:
    what = experiment(name)
    chosen = [options.preset] if options.preset else list(PRESETS)
    axes = {
        key: {preset: _plain(axis.of(preset)) for preset in chosen} if isinstance(axis, By) else _plain(axis)
        for key, axis in what.axes.items()
    }
    fields = {
        key: value if isinstance(value, bool | int | float) else str(value) for key, value in what.fields.items()
    }
    return {
        "name": name,
        "question": what.question,
        "expect": what.expect,
        "fields": fields | {key: str(value) for key, value in assignments(options.set).items()},
        "axes": axes,
        "runs": {preset: _runs(name, preset, options) for preset in chosen},
        "grows": what.grows,
        "stages": _stages(what, options.preset or "cpu"),
        "figures": list(what.figures),
        "command": f"bnonly experiment run {name} --preset {options.preset or 'cpu'} --out {options.out}",
    }


def _stages(what: Experiment, preset: str) -> list[dict[str, Any]]:
    return [{"task": stage.task, "options": dict(stage.options)} for stage in what.stages_of(preset)]


def _runs(name: str, preset: str, options: argparse.Namespace) -> int:
    """Their number; without --set also of an experiment whose data is still to be named."""
    if options.set:
        return len(trials(name, preset, options.out, options.set))
    return sum(1 for _ in experiment(name).points(preset))


def _plain(values: Sequence[Any]) -> list[Any]:
    return [list(value) if isinstance(value, tuple) else value for value in values]


def _last_run(options: argparse.Namespace) -> list[Grid]:
    """Those that are named, as they were run last, unless told. Raises BadInput."""
    from experiments.gridfile import Grid, last_preset, read

    found = []
    for name in dict.fromkeys(options.names):
        experiment(name)  # refuses an unknown name before any folder is looked for
        folder = options.out / name
        preset = options.preset or last_preset(folder) or "smoke"
        found.append(Grid.of(name, preset, options.out, options.set or read(folder, preset).get("set", ())))
    return found


def _draw(options: argparse.Namespace) -> int:
    from experiments.drawing import draw

    drawn = True
    for grid in _last_run(options):
        folder = (options.to or options.out) / grid.name
        if draw(grid.what, grid.trials, folder, grid.command):
            print(folder)
        else:
            drawn = False
    return 0 if drawn else 1


def _status(options: argparse.Namespace) -> int:
    from experiments.status import Board

    told: list[dict[str, Any]] = []
    for grid in _last_run(options):
        board = Board(grid.trials, grid.what.grows)
        board.look()
        told.append(_standing(grid, board))
        if not options.json:
            _print(grid, board, grid.orphans_named())
    if options.json:
        print(json.dumps(told, indent=2))
    return 0


def _standing(grid: Grid, board: Board) -> dict[str, Any]:
    from experiments.status import STATES

    counts = board.counts()
    return {
        "experiment": grid.name,
        "preset": grid.preset,
        "set": list(grid.given),
        "folder": str(grid.folder),
        **{state: counts[state] for state in STATES},
        "seconds_left": board.left(max(1, counts["running"])),
        "orphans": grid.orphans(),
        "trials": [row.plain() for row in board.rows.values()],
    }


def _print(grid: Grid, board: Board, orphans: str) -> None:
    from experiments.watch import HEADS, cells, outlook

    rows = [cells(row) for row in board.rows.values()]
    widths = [max(len(row[column]) for row in [list(HEADS), *rows]) for column in range(len(HEADS))]
    left = {"network", "group", "state"}
    for row in [list(HEADS), *rows]:
        texts = zip(HEADS, row, widths, strict=True)
        print(
            "  ".join(
                f"{cell:<{width}}" if head in left else f"{cell:>{width}}" for head, cell, width in texts
            ).rstrip()
        )
    for row in board.rows.values():
        if row.state == "failed":
            print(f"failed: {row.name}: {row.reason}")
    running = board.counts()["running"]
    sets = "".join(f" --set {given}" for given in grid.given)
    at_once = f" with {running} at once" if running > 1 else ""
    print(f"{grid.name} --preset {grid.preset}{sets}: {outlook(board, running)}{at_once}")
    if orphans:
        print(orphans)
