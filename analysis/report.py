"""The report: every figure there is data for, what is missing, the runs, and how each number was made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import matplotlib.pyplot as plt

from analysis import summary
from analysis.figures import DRAWINGS, Drawing, NoData, csv, pdf, svg
from analysis.frames import Frames
from analysis.page import Section, page

TITLE = "bnonly: report of runs"
_HEADINGS = {
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
_REM_PER_INCH = 7.0
FILES = frozenset(
    [f"{name}.{kind}" for name in DRAWINGS for kind in ("svg", "pdf", "csv")]
    + [f"{name}.csv" for name in ("runs", "by_group", "curves", "missing", "failures", "made_with", "paper")]
)
"""Every name that the files beside a report may have."""


@dataclass(frozen=True)
class Report:
    """A page, and the figures and tables that go beside it, by file name."""

    page: str
    files: dict[str, bytes]


def report(frames: Frames, made: str, *, files: bool = True) -> Report:
    """The report of these tables; equal tables give equal bytes.

    made: when, for the footer. files: whether to render figures once more as PDF, and write tables as CSV.
    """
    tables = {
        "runs": frames.table,
        "by_group": summary.by_group(frames),
        "curves": summary.curves(frames),
        "missing": frames.missing,
        "failures": summary.failures(frames),
        "made_with": summary.made_with(frames),
        "paper": summary.paper(),
    }
    drawn = {name: _drawn(draw, frames) for name, draw in DRAWINGS.items()}
    lacking = {name: str(each) for name, each in drawn.items() if isinstance(each, NoData)}
    out: dict[str, bytes] = {}
    pictures: list[Section] = []
    for name, each in drawn.items():
        if isinstance(each, NoData):
            pictures.append(Section(_HEADINGS[name], absent=[_sentence(str(each))]))
            continue
        width = round(each.figure.get_figwidth() * _REM_PER_INCH, 1)
        if files:
            out[f"{name}.pdf"] = pdf(each.figure)
            out[f"{name}.csv"] = csv(each.table)
        picture = svg(each.figure, f"{_HEADINGS[name]}. {each.caption}")
        if files:
            out[f"{name}.svg"] = _standing_alone(picture)
        pictures.append(Section(_HEADINGS[name], figure=picture, caption=each.caption, width=width))
    sections = [
        summary.opening(frames),
        summary.missing(frames, {_HEADINGS[name]: why for name, why in lacking.items()}),
        *pictures,
        summary.runs(frames),
        summary.failed(frames),
        summary.provenance(frames),
    ]
    if files:
        out |= {f"{name}.csv": csv(table) for name, table in tables.items() if len(table)}
    lead = summary.lead(frames)
    return Report(page(TITLE, lead, sections, summary.footer(frames, made), contents=True), dict(sorted(out.items())))


def _drawn(draw: Callable[[Frames], Drawing], frames: Frames) -> Drawing | NoData:
    try:
        return draw(frames)
    except NoData as nothing:
        plt.close("all")
        return nothing


def _sentence(text: str) -> str:
    return f"Missing: {text}."


def _standing_alone(picture: str) -> bytes:
    return f'<?xml version="1.0" encoding="utf-8"?>\n{picture}'.encode()
