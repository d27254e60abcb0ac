"""What an experiment leaves beside its runs: the figures that it names, their numbers, and the table of its runs."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from bnonly.errors import BnonlyError
from bnonly.files import write_together
from bnonly.progress import console
from experiments.grid import Experiment, Stage, Trial

if TYPE_CHECKING:
    from analysis.neighbours import Kept


def draw(experiment: Experiment, trials: Sequence[Trial], folder: Path, command: str = "") -> bool:
    """FOLDER/runs.csv, and NAME.svg, NAME.png and NAME.csv for each of the experiment's figures; or the files of the
    experiment's own `drawing`.

    Of these trials alone, wherever they are kept; `command` stands in each row of runs.csv. What cannot be drawn is
    said, and why; it stops nothing. Returns whether anything was written.
    """
    try:
        files = _files(experiment, trials, command)
        write_together({folder / place: data for place, data in files.items()})
        if not files:
            console().print("no figures: no run is done", markup=False)
        return bool(files)
    except (BnonlyError, OSError) as error:  # pictures are the least of what a grid leaves
        console().print(f"no figures: {error}", markup=False)
        return False


def _files(experiment: Experiment, trials: Sequence[Trial], command: str) -> dict[str, bytes]:
    if experiment.drawing is None:
        return _figures(experiment, trials, command)
    module, colon, name = experiment.drawing.partition(":")
    if not colon:
        return neighbour_files(experiment.drawing, trials, command)
    return getattr(import_module(module), name)(trials, command)


def neighbour_files(name: str, trials: Sequence[Trial], command: str) -> dict[str, bytes]:
    """What `analysis.neighbours` shows of these trials, by the name of each file; none where nothing is done.

    Of a trial whose stages leave files of their own, those of its own stages alone.
    """
    from analysis.figures import csv, png
    from analysis.neighbours import NEIGHBOURS, Sheet

    odd: list[str] = []
    found = NEIGHBOURS[name].read([_kept(trial, command, odd) for trial in trials])
    for sentence in odd:
        console().print(sentence, markup=False)
    if found is None:
        return {}
    shown = NEIGHBOURS[name].show(found)
    files = {f"{each}.csv": csv(table) for each, table in shown.tables.items()}
    for part in shown.parts:
        if isinstance(part.shown, Sheet):
            files[f"{part.name}.png"] = png(part.shown.figure)
        elif part.shown is not None:
            files |= part.shown.files(part.name)
    return files


def _kept(trial: Trial, command: str, odd: list[str]) -> Kept:
    from analysis.folders import STAGE
    from analysis.neighbours import Kept

    path = trial.folder.path
    there = [file.name for file in path.iterdir()] if path.is_dir() else []
    own = {place.name for stage in trial.stages if (place := _place(trial, stage)) is not None}
    files = (name for name in there if name in own or not STAGE.fullmatch(name))
    return Kept(trial.config, path, frozenset(files), command, odd)


def _place(trial: Trial, stage: Stage) -> Path | None:
    """Where a stage leaves a file that is named by its options, as its module's `place` tells."""
    module, colon, _ = stage.task.partition(":")
    place = getattr(import_module(module), "place", None) if colon else None
    return place(trial.folder, stage.options) if place else None


def _figures(experiment: Experiment, trials: Sequence[Trial], command: str) -> dict[str, bytes]:
    from analysis.figures import DRAWINGS, NoData, csv
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
        files |= {f"{name}.csv": csv(drawing.table), **drawing.files(name)}
    return files
