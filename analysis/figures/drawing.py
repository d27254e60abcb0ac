"""What the figures of runs have in common: panels by setting, lines with a band, the paper's points, a caption."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator, PercentFormatter

from analysis.figures.style import plain
from analysis.settings import PAPER_EPOCHS
from bnonly.errors import BadInput

MOST_PANELS = 8
PAPER = "paper, 160 epochs [D]"


class NoData(BadInput):
    """A figure that the runs at hand give nothing for: says what is missing and which command makes it."""


@dataclass(frozen=True)
class Drawing:
    """A figure, what stands below it, and its numbers."""

    figure: Figure
    caption: str
    table: pd.DataFrame = field(default_factory=pd.DataFrame)


def over_seeds(runs: pd.DataFrame, by: Sequence[str], value: str) -> pd.DataFrame:
    """Mean, sample standard deviation (no number for a single seed) and n of a column, a row each of `by`."""
    known = runs[runs[value].notna()]
    stats = known.groupby(list(by), sort=True, dropna=False, observed=True)[value].agg(["mean", "std", "count"])
    return stats.rename(columns={"std": "sd", "count": "n"}).reset_index()


def panels(count: int, width: float = 3.9, height: float = 3.4, columns: int = 2) -> tuple[Figure, list[Axes]]:
    """A figure of so many panels, two in a row; the spare one is taken away. Sizes are in inches, of a panel."""
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    size = (max(width * columns, 4.8), height * rows)
    figure, grid = plt.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False)
    flat = list(grid.flat)
    for spare in flat[count:]:
        spare.remove()
    return figure, flat[:count]


def pick(keys: Iterable[str], weight: Callable[[str], float], most: int = MOST_PANELS) -> tuple[list[str], str]:
    """The weightiest of these, at most so many, sorted; and a sentence on those left out."""
    ranked = sorted(keys, key=lambda key: (-weight(key), key))
    left = len(ranked) - most
    return sorted(ranked[:most]), f" {left} more would be panels like these: see the table." if left > 0 else ""


def line(axes: Axes, stats: pd.DataFrame, x: str, colour: str, marker: str, label: str) -> None:
    """Means joined by a line, with one standard deviation as a band where there are several seeds."""
    stats = stats.sort_values(x)
    xs, mean, sd = stats[x].to_numpy(), stats["mean"].to_numpy(), stats["sd"].to_numpy()
    axes.plot(xs, mean, color=colour, marker=marker, markersize=5, linewidth=1.4, label=label, zorder=3)
    if (stats["n"] > 1).any():
        axes.fill_between(xs, mean - sd, mean + sd, color=colour, alpha=0.2, linewidth=0, zorder=1)
        axes.errorbar(xs, mean, sd, fmt="none", ecolor=colour, elinewidth=0.9, capsize=2, zorder=2)


def papers_line(
    axes: Axes, xs: Sequence[float], percents: Sequence[float], colour: str, marker: str, label: str
) -> None:
    """The paper's points: hollow, dashed, and never like a measurement."""
    ys = [percent / 100 for percent in percents]
    axes.plot(
        xs, ys, color=colour, marker=marker, markersize=5, markerfacecolor="white",
        linestyle=(0, (3, 2)), linewidth=0.9, alpha=0.85, label=label, zorder=2,
    )  # fmt: skip


def legend(axes: Axes, columns: int = 2) -> None:
    """Below the panel, where it hides nothing."""
    axes.legend(
        loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=columns, frameon=False, fontsize="small",
        handlelength=2.2, columnspacing=1.2,
    )  # fmt: skip


def title(axes: Axes, text: str) -> None:
    """What the panel shows, in lines short enough for it."""
    words, lines = plain(text).split(", "), [""]
    for word in words:
        joined = f"{lines[-1]}, {word}" if lines[-1] else word
        lines = [*lines[:-1], joined] if len(joined) <= 42 else [*lines, word]
    axes.set_title(",\n".join(part for part in lines if part), fontsize="medium", loc="left")


def percent(axes: Axes, label: str = "test accuracy (top-1)") -> None:
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
            n = f"n = {low}" if low == high else f"n = {low} to {high}; a single seed has no band"
            sentences.append(f"Mean over seeds, band and bars one sample standard deviation ({n}).")
    devices = sorted({name for name in rows["device_name"] if name}) or ["an unknown device"]
    precisions = sorted({name for name in rows["precision"] if name})
    short_one = "" if set(rows["epochs"]) == {PAPER_EPOCHS} else f", which is not the paper's {PAPER_EPOCHS}"
    short_one = short_one if (rows["source"] == "cifar10").any() else ""
    dtype = f" in {' and '.join(precisions)}" if precisions else ""
    sentences.append(
        f"Trained for {epochs_of(rows)}{short_one},{dtype} on {', '.join(devices)}.".replace(",  in", " in")
    )
    return " ".join(sentences)
