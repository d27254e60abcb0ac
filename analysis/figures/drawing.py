"""What the figures of runs have in common: panels by setting, lines with a band, the paper's points, a caption."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator, PercentFormatter

from analysis.figures.style import plain, png, svg
from analysis.settings import PAPER_EPOCHS
from bnonly.errors import BadInput

MOST_PANELS = 6
PAPER = "paper, 160 epochs [D]"


class NoData(BadInput):
    """A figure that the runs at hand give nothing for: says what is missing and which command makes it."""


@dataclass(frozen=True)
class Drawing:
    """A figure, what stands below it, and its numbers."""

    figure: Figure
    caption: str
    table: pd.DataFrame = field(default_factory=pd.DataFrame)

    def files(self, name: str) -> dict[str, bytes]:
        """NAME.png and NAME.svg. The figure is closed then."""
        return {f"{name}.png": png(self.figure), f"{name}.svg": svg(self.figure, self.caption).encode()}


def over_seeds(runs: pd.DataFrame, by: Sequence[str], value: str) -> pd.DataFrame:
    """Mean, sample standard deviation (no number for a single seed) and n of a column, a row each of `by`."""
    known = runs[runs[value].notna()]
    stats = known.groupby(list(by), sort=True, dropna=False, observed=True)[value].agg(["mean", "std", "count"])
    return stats.rename(columns={"std": "sd", "count": "n"}).reset_index()


def panels(count: int) -> tuple[Figure, list[Axes]]:
    """A figure of so many panels; `arrange` places them when they are drawn."""
    figure = plt.figure()
    return figure, [figure.add_axes((0, 0, 1, 1), label=str(place)) for place in range(count)]


def arrange(
    figure: Figure,
    grid: Sequence[Axes],
    *,
    width: float = 3.3,
    height: float = 2.5,
    left: float = 0.75,
    right: float = 0.25,
    columns: int = 2,
    legend: Literal["one", "each", "none"] = "one",
    stacks: int = 9,
    below: float = 0.0,
) -> None:
    """Place the panels in rows, and below them a legend, where it hides nothing. Sizes are in inches.

    width, height: of a panel's axes; left, right, below: beside them, for long labels; columns: panels in a row.
    legend: one for all panels, unless they have little in common, or one each. stacks: columns of one at most.
    Matplotlib's own layouts take longer to find sizes than a figure to be drawn.
    """
    columns = min(columns, len(grid))
    cell = left + width + right
    entries = [_entries(axes) if legend != "none" else {} for axes in grid]
    whole: dict[str, Any] = {}
    for own in entries:
        whole = own | whole
    together = legend == "one" and len(grid) > 1 and len(whole) <= 1.5 * max(map(len, entries))
    entries = [{} for _ in grid] if together else entries
    room = columns * cell - 0.4 if together else cell - 0.3
    stacked = min(stacks, *(_side_by_side(own, room) for own in ([whole] if together else entries)))
    rows = [list(range(start, min(start + columns, len(grid)))) for start in range(0, len(grid), columns)]
    above = [0.22 + 0.19 * max(grid[place].get_title(loc="left").count("\n") + 1 for place in row) for row in rows]
    belows = [0.62 + below + 0.19 * max(math.ceil(len(entries[place]) / stacked) for place in row) for row in rows]
    end = 0.19 * math.ceil(len(whole) / stacked) + 0.05 if together else 0.0
    size = (columns * cell, sum(above) + sum(belows) + height * len(rows) + end)
    figure.set_size_inches(size)
    top = size[1]
    for row, over, under in zip(rows, above, belows, strict=True):
        top -= over + height
        for column, place in enumerate(row):
            axes, at = grid[place], (column * cell + left, top)
            axes.set_position((at[0] / size[0], at[1] / size[1], width / size[0], height / size[1]))
            axes.xaxis.set_label_coords(0.5, -(0.31 + below) / height)
            axes.yaxis.set_label_coords(-(left - 0.18) / width, 0.5)
            if own := entries[place]:
                corner = (-0.6 * left / width, -(0.52 + below) / height)
                axes.legend(own.values(), own, bbox_to_anchor=corner, ncols=stacked, **_LEGEND)
        top -= under
    if together and whole:
        figure.legend(
            whole.values(), whole, bbox_to_anchor=(0.3 / size[0], (end + 0.05) / size[1]), ncols=stacked, **_LEGEND
        )


def beside(names: Iterable[str]) -> float:
    """Inches that these names take beside an axis."""
    return 0.35 + 0.082 * max(map(len, names), default=0)


_LEGEND: Any = {
    "loc": "upper left",
    "frameon": False,
    "fontsize": "small",
    "handlelength": 2.4,
    "columnspacing": 1.2,
    "borderaxespad": 0,
    "labelspacing": 0.3,
    "borderpad": 0,
}


def _entries(axes: Axes) -> dict[str, Any]:
    handles, labels = axes.get_legend_handles_labels()
    return dict(zip(labels, handles, strict=True))


def _side_by_side(entries: Iterable[str], room: float) -> int:
    """Columns of a legend that fit into so many inches."""
    return max(1, int(room / (0.55 + 0.068 * max(map(len, entries), default=1))))


def pick(keys: Iterable[str], weight: Callable[[str], float], most: int = MOST_PANELS) -> tuple[list[str], str]:
    """The weightiest of these, at most so many, sorted; and a sentence on those left out."""
    ranked = sorted(keys, key=lambda key: (-weight(key), key))
    left = len(ranked) - most
    return sorted(ranked[:most]), f" {left} more would be panels like these; the table has them." if left > 0 else ""


def line(axes: Axes, stats: pd.DataFrame, x: str, colour: str, marker: str, label: str) -> None:
    """Means joined by a line, with one standard deviation as a band where there are several seeds."""
    stats = stats.sort_values(x)
    xs, mean, sd = stats[x].to_numpy(), stats["mean"].to_numpy(), stats["sd"].to_numpy()
    axes.plot(xs, mean, color=colour, marker=marker, markersize=5, linewidth=1.4, label=label, zorder=3)
    if (stats["n"] > 1).any():
        axes.fill_between(xs, mean - sd, mean + sd, color=colour, alpha=0.2, linewidth=0, zorder=1)
        axes.errorbar(xs, mean, sd, fmt="none", ecolor=colour, elinewidth=0.9, capsize=2, zorder=2)


def papers_line(axes: Axes, xs: Sequence[float], percents: Sequence[float], colour: str, marker: str) -> None:
    """The paper's points: hollow, dashed, and never like a measurement. One entry of the legend stands for all."""
    ys = [percent / 100 for percent in percents]
    style = {"linestyle": (0, (3, 2)), "linewidth": 0.9, "markersize": 5, "markerfacecolor": "white", "zorder": 2}
    axes.plot(xs, ys, color=colour, marker=marker, alpha=0.85, **style)
    if PAPER not in axes.get_legend_handles_labels()[1]:
        axes.plot([], [], color="0.35", marker="o", label=PAPER, **style)


def title(axes: Axes, text: str, room: float = 3.3) -> None:
    """What the panel shows, in lines short enough for so many inches, broken behind commas where that will do."""
    longest = int(12 * room)
    kept = [word.replace(" ", "\xa0") if len(word) < longest else word for word in plain(text).split(", ")]
    lines = textwrap.wrap(", ".join(kept), longest, break_long_words=False)
    axes.set_title("\n".join(lines).replace("\xa0", " "), fontsize="medium", loc="left")


def accuracy_of(rows: pd.DataFrame) -> str:
    """What the accuracies of these runs are, for an axis."""
    images = {"test": "test", "holdout": "held-out"}
    kinds = {images.get(kind, "test") for kind in rows["evaluated"]} or {"test"}
    return f"{' or '.join(sorted(kinds))} accuracy (top-1)"


def percent(axes: Axes, label: str) -> None:
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set(ylabel=label, ylim=(0, 1))


def log_ticks(axes: Axes, values: Iterable[float], what: str) -> None:
    """A logarithmic axis whose ticks are the values themselves, those too near to the one before left out."""
    axes.set_xscale("log")
    shown: list[float] = []
    for value in sorted(set(values)):
        if not shown or value / shown[-1] > 1.25:
            shown.append(value)
    axes.xaxis.set_major_locator(FixedLocator(shown))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    axes.set_xlabel(what)
    if shown:
        axes.set_xlim(shown[0] / 1.25, max(shown[-1], *values) * 1.25)


def decades(axes: Axes, values: Iterable[float], what: str) -> None:
    """A logarithmic axis with a tick a power of ten."""
    values = list(values)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(10))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    axes.set(xlabel=what, xlim=(min(values) / 1.4, max(values) * 1.4))


def short(value: float) -> str:
    """1,120 -> 1.1K, 13,979,930 -> 14M."""
    for size, letter in ((1e6, "M"), (1e3, "K")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:g}"


def epochs_of(rows: pd.DataFrame) -> str:
    """`10 epochs`, `10 to 160 epochs`: for legends and captions."""
    known = sorted({int(count) for count in rows["epochs"].dropna()})
    if not known:
        return "an unknown number of epochs"
    span = f"{known[0]}" if len(known) == 1 else f"{known[0]} to {known[-1]}"
    return f"{span} epoch{'' if span == '1' else 's'}"


def made(rows: pd.DataFrame, counts: pd.Series | None = None) -> str:
    """How the numbers of a figure were made, for its caption. counts: seeds of each point."""
    sentences = []
    if counts is not None and len(counts):
        low, high = int(counts.min()), int(counts.max())
        if high == 1:
            sentences.append("One seed each, so no band.")
        else:
            n = f"n = {low}" if low == high else f"n = {low} to {high}" + "; a single seed has no band" * (low == 1)
            sentences.append(f"Mean over seeds, band and bars one sample standard deviation ({n}).")
    devices = sorted({name for name in rows["device_name"] if name}) or ["an unknown device"]
    precisions = sorted({name for name in rows["precision"] if name})
    beside_paper = "" if set(rows["epochs"]) == {PAPER_EPOCHS} else f" (the paper: {PAPER_EPOCHS})"
    beside_paper = beside_paper if (rows["source"] == "cifar10").any() else ""
    dtype = f" in {' and '.join(precisions)}" if precisions else ""
    sentences.append(f"Trained for {epochs_of(rows)}{beside_paper}{dtype} on {', '.join(devices)}.")
    return " ".join(sentences)
