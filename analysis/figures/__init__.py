"""Figures as one would print them: axes with units, a colour-blind safe palette, one subject a file.

`DRAWINGS` are those of the report: each makes a figure, its caption and its table of the runs' tables, or raises
NoData, which says what is missing. `FIGURES` are the figures alone.
"""

from __future__ import annotations

from collections.abc import Callable

from matplotlib.figure import Figure

from analysis.figures.clamping import clamp_curves
from analysis.figures.drawing import Drawing, NoData
from analysis.figures.gamma import gamma_histograms, gamma_layers
from analysis.figures.learning import learning_curves
from analysis.figures.relu import relu_zeros
from analysis.figures.scaling import (
    accuracy_by_depth,
    accuracy_by_parameters,
    accuracy_by_width,
    sparsity_by_depth,
    sparsity_by_width,
)
from analysis.figures.sizes import accuracy_by_bytes
from analysis.figures.style import COLOURS, csv, pdf, png, svg
from analysis.figures.variants import (
    accuracy_by_decay,
    accuracy_by_group,
    accuracy_by_random_count,
    accuracy_by_start,
)
from analysis.frames import Frames

DRAWINGS: dict[str, Callable[[Frames], Drawing]] = {
    "accuracy_by_depth": accuracy_by_depth,
    "accuracy_by_width": accuracy_by_width,
    "accuracy_by_parameters": accuracy_by_parameters,
    "accuracy_by_group": accuracy_by_group,
    "learning_curves": learning_curves,
    "gamma_histograms": gamma_histograms,
    "gamma_layers": gamma_layers,
    "sparsity_by_depth": sparsity_by_depth,
    "sparsity_by_width": sparsity_by_width,
    "clamp_curves": clamp_curves,
    "relu_zeros": relu_zeros,
    "accuracy_by_random_count": accuracy_by_random_count,
    "accuracy_by_start": accuracy_by_start,
    "accuracy_by_decay": accuracy_by_decay,
}


def _figure(draw: Callable[[Frames], Drawing]) -> Callable[[Frames], Figure]:
    return lambda frames: draw(frames).figure


FIGURES: dict[str, Callable[[Frames], Figure]] = {name: _figure(draw) for name, draw in DRAWINGS.items()}

__all__ = [
    "COLOURS",
    "DRAWINGS",
    "FIGURES",
    "Drawing",
    "NoData",
    "accuracy_by_bytes",
    "csv",
    "pdf",
    "png",
    "svg",
]
