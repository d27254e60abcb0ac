"""The figures that an experiment names, drawn from its runs' folders. Without torch."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from bnonly.progress import console
from experiments.grid import Experiment


def draw(experiment: Experiment, folder: Path) -> list[Path]:
    """FOLDER/NAME.svg for each of `experiment.figures` that analysis can draw from these runs; says which it cannot.

    This is the grids' one door to the analysis: its figures by name, each a function of all tidy tables.
    """
    try:
        figures = import_module("analysis.figures").FIGURES
        read = import_module("analysis.frames").read
    except (ImportError, AttributeError):
        _say(f"no figure is drawn: analysis has none by name here ({', '.join(experiment.figures)})")
        return []
    drawn: list[Path] = []
    frames = None
    for name in experiment.figures:
        if name not in figures:
            _say(f"figure {name} is not drawn: analysis has none of that name")
            continue
        path = folder / f"{name}.svg"
        try:
            frames = read([folder]) if frames is None else frames
            path.parent.mkdir(parents=True, exist_ok=True)
            figures[name](frames).savefig(path)
        except Exception as error:  # a picture is the least of what a grid leaves
            first = next(iter(str(error).splitlines()), "")
            _say(f"figure {name} is not drawn: {type(error).__name__}{f': {first}' if first else ''}")
        else:
            drawn.append(path)
    return drawn


def _say(sentence: str) -> None:
    console().print(sentence, markup=False)
