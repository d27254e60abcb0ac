"""How every figure looks: a colour-blind safe colour and a marker of its own for each group, text that is text."""

from __future__ import annotations

import html
import io
import re
import warnings
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.layout_engine import PlaceHolderLayoutEngine

# Okabe and Ito's colours, then Tol's; a group keeps its colour in every figure.
COLOURS = {
    "all": "#0072B2",
    "bn": "#D55E00",
    "bn+output": "#CC79A7",
    "output": "#E69F00",
    "random:2": "#009E73",
    "gamma": "#56B4E9",
    "beta": "#000000",
    "shortcut": "#999999",
    "bn+output+shortcut": "#882255",
    "output+shortcut": "#AA9A3B",
    "norm": "#332288",
    "none": "#666666",
}
DPI = 130  # of a PNG
_SPARE = ("#44AA99", "#117733", "#AA4499", "#88CCEE", "#999933", "#CC6677")
_MARKERS = {
    "all": "s",
    "bn": "o",
    "bn+output": "D",
    "output": "^",
    "random:2": "v",
    "gamma": "<",
    "beta": ">",
    "shortcut": "P",
    "bn+output+shortcut": "p",
    "output+shortcut": "d",
    "norm": "h",
    "none": "X",
}
_SPARE_MARKERS = ("*", "8", "H", "d", "p", "h")
_DASHES = {
    "all": "",
    "bn": "6 1.5",
    "bn+output": "4 1 1 1",
    "output": "1.5 1",
    "random:2": "3 1",
    "gamma": "6 1 1 1 1 1",
    "beta": "1 2",
    "shortcut": "2 2",
    "bn+output+shortcut": "8 1 3 1",
    "output+shortcut": "4 3",
    "norm": "8 2",
    "none": "1 1",
}
_SPARE_DASHES = ("5 1 2 1", "7 2 1 2", "2 1 1 1", "3 2", "5 3", "1 1 3 1")

STYLE = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "bnonly",
    "pdf.fonttype": 42,
    "figure.max_open_warning": 0,
    "axes.titley": 1.0,  # found by hand, since matplotlib measures all labels to find it
}
_LONGEST = 60


def palette(groups: Iterable[str]) -> dict[str, str]:
    """A colour for each group."""
    groups = list(groups)
    return _given(groups, COLOURS, _SPARE)


def markers(groups: Iterable[str]) -> dict[str, str]:
    """A marker for each group, so that colour is never all that tells two apart."""
    return _given(list(groups), _MARKERS, _SPARE_MARKERS)


def dashes(groups: Iterable[str]) -> dict[str, Any]:
    """A style of line for each group, for figures without markers."""
    given = _given(list(groups), _DASHES, _SPARE_DASHES)
    return {group: (0, tuple(map(float, dash.split())) or None) for group, dash in given.items()}


def _given(groups: list[str], fixed: dict[str, str], spare: tuple[str, ...]) -> dict[str, str]:
    others = sorted(group for group in groups if group not in fixed)
    return {group: fixed[group] if group in fixed else spare[others.index(group) % len(spare)] for group in groups}


def styled() -> AbstractContextManager[None]:
    """Within the block figures have the house's style."""
    settings: Any = {**sns.axes_style("ticks"), **sns.plotting_context("notebook", 0.85), **STYLE}
    return plt.rc_context(settings)


def plain(text: str) -> str:
    """A text from outside for a figure: short, printable, and no formula."""
    text = "".join(c if c.isprintable() else "?" for c in text)
    text = text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
    # A label that begins with _ would be left out of a legend.
    return (" " + text if text.startswith("_") else text).replace("$", r"\$")


def laid_out(figure: Figure) -> None:
    """Fix the figure's layout, which takes longer than drawing it, so that it is found once for all formats."""
    engine = figure.get_layout_engine()
    if engine is not None and not isinstance(engine, PlaceHolderLayoutEngine):
        with _unknown_letters_are_the_readers():
            figure.draw_without_rendering()
        figure.set_layout_engine("none")


def pdf(figure: Figure) -> bytes:
    """The figure as a PDF of one page, with no date in it."""
    file = io.BytesIO()
    laid_out(figure)
    with styled(), _unknown_letters_are_the_readers():
        FigureCanvasPdf(figure).print_pdf(file, metadata={"CreationDate": None})
    return file.getvalue()


def csv(table: pd.DataFrame) -> bytes:
    """A figure's numbers."""
    return table.to_csv(index=False, lineterminator="\n").encode()


def png(figure: Figure) -> bytes:
    """The figure as pixels, 130 an inch."""
    file = io.BytesIO()
    laid_out(figure)
    with styled(), _unknown_letters_are_the_readers():
        figure.savefig(file, format="png", dpi=DPI)
    return file.getvalue()


@contextmanager
def _unknown_letters_are_the_readers() -> Iterator[None]:
    """A label of letters that matplotlib's font has not got is no fault: the reader's browser has them."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")
        yield


def svg(figure: Figure, title: str) -> str:
    """The figure as an inline <svg> that scales with the page; `title` is read to those who cannot see it.

    It names no address but XML's own namespaces, and no id that a second figure of the page may have, too.
    """
    file = io.StringIO()
    laid_out(figure)
    with styled(), _unknown_letters_are_the_readers():
        FigureCanvasSVG(figure).print_svg(file, metadata={"Date": None})
    plt.close(figure)
    body = file.getvalue()[file.getvalue().index("<svg") :]
    body = re.sub(r"\s*<metadata>.*?</metadata>", "", body, count=1, flags=re.DOTALL)
    body = re.sub(r' id="[A-Za-z0-9]+_\d+"', "", body)
    body = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", body, count=1)
    body = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", body, count=1)
    return body.replace("<svg", f'<svg role="img" aria-label="{html.escape(title)}"', 1)
