"""What an experiment leaves beside its runs: the figures that it names, their numbers, and the table of its runs."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from bnonly.errors import BnonlyError
from bnonly.files import write_together
from bnonly.progress import console
from experiments.grid import Experiment, Trial


def draw(experiment: Experiment, trials: Sequence[Trial], folder: Path, command: str = "") -> bool:
    """FOLDER/runs.csv, and NAME.svg, NAME.png and NAME.csv for each of the experiment's figures; or the files of the
    experiment's own `drawing`.

    Of these trials alone, wherever they are kept; `command` stands in each row of runs.csv. What cannot be drawn is
    said, and why; it stops nothing. Returns whether anything was written.
    """
    try:
        if experiment.drawing is not None:
            module, _, name = experiment.drawing.partition(":")
            files = getattr(import_module(module), name)(trials, command)
        else:
            files = _figures(experiment, trials, command)
        write_together({folder / place: data for place, data in files.items()})
        if not files:
            console().print("no figures: no run is done", markup=False)
        return bool(files)
    except (BnonlyError, OSError) as error:  # pictures are the least of what a grid leaves
        console().print(f"no figures: {error}", markup=False)
        return False


def _figures(experiment: Experiment, trials: Sequence[Trial], command: str) -> dict[str, bytes]:
    from analysis.figures import DRAWINGS, NoData, csv, png, svg
    from analysis.frames import read

    frames = read([trial.folder.path for trial in trials if trial.folder.path.exists()])
    files = {"runs.csv": csv(frames.table.drop(columns=["path", "reason"]).assign(command=command))}
    for name in experiment.figures:
        if name not in DRAWINGS:
            console().print(f"{name} is not drawn: analysis has no figure of that name", markup=False)
            continue
        try:
            drawing = DRAWINGS[name](frames)
        except NoData as nothing:
            console().print(f"{name} is not drawn: {nothing}", markup=False)
            continue
        files[f"{name}.csv"] = csv(drawing.table)
        files[f"{name}.png"] = png(drawing.figure)
        files[f"{name}.svg"] = svg(drawing.figure, drawing.caption).encode()
    return files
