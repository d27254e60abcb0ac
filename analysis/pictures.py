"""The report's figures as they are shown and stored; a second process may make some of them."""

from __future__ import annotations

import gc
import multiprocessing
import signal
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from analysis.page import Section

if TYPE_CHECKING:
    from analysis.figures import Drawing
    from analysis.frames import Frames

_REM_PER_INCH = 7.0


@dataclass(frozen=True)
class Picture:
    """A figure as an <svg>, what stands below it, its width in inches, and its files by name."""

    svg: str
    caption: str
    width: float
    files: dict[str, bytes]

    def section(self, heading: str) -> Section:
        """The figure on a page, no larger than it reads well."""
        return Section(heading, figure=self.svg, caption=self.caption, width=round(self.width * _REM_PER_INCH, 1))


def pictures(frames: Frames, *, files: bool = True, helper: Executor | None = None) -> dict[str, Picture | str]:
    """Every figure of `analysis.figures.DRAWINGS`, or a sentence that says what is missing for it.

    files: whether as PDF, and its numbers as CSV, too. helper: of `helping`; makes those that it comes to first.
    """
    from analysis.figures import DRAWINGS

    if helper is None:
        return {name: picture(name, frames, files) for name in DRAWINGS}
    made: dict[str, Picture | str] = {}
    theirs: dict[str, Future[Picture | str]] = {}
    try:
        helper.submit(_keep, replace(frames, neighbours={}))
        theirs = {name: helper.submit(_picture_of_kept, name, files) for name in DRAWINGS}
        for name, future in reversed(theirs.items()):
            if future.cancel():
                made[name] = picture(name, frames, files)
        made |= {name: future.result() for name, future in theirs.items() if name not in made}
    except (BrokenExecutor, OSError):  # the other process is gone, or there is no room for one
        pass
    return {name: made.get(name) or picture(name, frames, files) for name in DRAWINGS}


def helping() -> Executor:
    """A second process, which imports at once what figures take; the first may read runs meanwhile."""
    pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=_begin)
    pool.submit(_begin)
    return pool


_kept: list[Frames] = []


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the first process, and that ends this one
    gc.disable()
    import analysis.figures  # noqa: F401


def _keep(frames: Frames) -> None:
    _kept[:] = [frames]


def _picture_of_kept(name: str, files: bool) -> Picture | str:
    return picture(name, _kept[0], files)


def picture(name: str, frames: Frames, files: bool = False) -> Picture | str:
    """One figure, or a sentence that says what is missing for it."""
    from analysis.figures import DRAWINGS, NoData, csv

    try:
        drawing = DRAWINGS[name](frames)
    except NoData as nothing:
        return str(nothing)
    made = rendered(name, HEADINGS[name], drawing, files)
    if files:
        made.files[f"{name}.csv"] = csv(drawing.table)
    return made


def rendered(name: str, heading: str, drawing: Drawing, files: bool = False) -> Picture:
    """A figure as it is shown; files: and as SVG and PDF."""
    from analysis.figures import pdf, svg

    out = {f"{name}.pdf": pdf(drawing.figure)} if files else {}
    width = drawing.figure.get_figwidth()
    shown = svg(drawing.figure, f"{heading}. {drawing.caption}")
    if files:
        out[f"{name}.svg"] = f'<?xml version="1.0" encoding="utf-8"?>\n{shown}'.encode()
    return Picture(shown, drawing.caption, width, out)


HEADINGS = {
    "accuracy_by_depth": "Accuracy against depth",
    "accuracy_by_width": "Accuracy against width",
    "accuracy_by_parameters": "Accuracy against trained parameters",
    "accuracy_by_group": "Accuracy by group",
    "learning_curves": "Learning curves",
    "gamma_histograms": "Gamma by depth",
    "gamma_layers": "Gamma by layer",
    "sparsity_by_depth": "Sparsity of gamma against depth",
    "sparsity_by_width": "Sparsity of gamma against width",
    "clamp_curves": "Clamping gamma to zero",
    "relu_zeros": "Zeros after the ReLUs",
    "accuracy_by_random_count": "Random scalars for each channel",
    "accuracy_by_start": "Initial values",
    "accuracy_by_decay": "Weight decay",
}
