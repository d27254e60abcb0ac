"""What single choices of a recipe do, over runs in which all of them were drawn at random."""

from __future__ import annotations

import pandas as pd
from matplotlib.ticker import PercentFormatter

from analysis.figures.drawing import Drawing, NoData, arrange, beside, panels
from analysis.figures.style import plain, styled

_PANELS = {"top1": "held-out accuracy (top-1)", "gamma_below_0.01": "share of |gamma| < 0.01"}


def effects(table: pd.DataFrame) -> Drawing:
    """Means by value of each choice with their standard errors, accuracy beside sparsity; a line is the mean of all.

    table: a row a value, with columns choice, value, runs, epochs, and top1_mean, top1_standard_error,
    gamma_below_0.01_mean, gamma_below_0.01_standard_error. Raises NoData.
    """
    if table.empty:
        raise NoData("no run of the search is done; `bnonly experiment run recipe` makes some")
    names = [f"{_short(str(c))}: {plain(str(v))}" for c, v in zip(table["choice"], table["value"], strict=True)]
    places, place, before = [], 0.0, None
    for choice in table["choice"]:
        place += 1.0 if choice == before else 1.6
        places.append(place)
        before = choice
    first = table[table["choice"] == table["choice"].iloc[0]]
    with styled():
        figure, grid = panels(len(_PANELS))
        for axes, (name, label) in zip(grid, _PANELS.items(), strict=True):
            mean, error = table[f"{name}_mean"], table[f"{name}_standard_error"].fillna(0)
            done = first["runs"] - first["failed"]
            whole = (first[f"{name}_mean"] * done).sum() / done.sum()
            axes.axvline(whole, color="0.7", linewidth=0.8, zorder=0)
            axes.errorbar(mean, places, xerr=error, fmt="o", markersize=4, elinewidth=1, color="#0072b2")
            axes.set_yticks(places, names, fontsize="x-small")
            axes.invert_yaxis()
            axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
            axes.set(xlabel=label)
        arrange(figure, grid, height=0.17 * places[-1] + 0.3, left=0.85 * beside(names), width=2.4, legend="none")
    runs, failed = first["runs"].sum(), first["failed"].sum()
    without = f" (but {failed} that failed)" if failed else ""
    epochs = int(table["epochs"].iloc[0])
    caption = (
        f"Means and standard errors over {runs} runs{without} of {epochs} epochs, in each of which all choices were "
        "drawn at random; the line is the mean of all. Judged on training images held out."
    )
    return Drawing(figure, caption, table)


def _short(choice: str) -> str:
    """training.optimizer, training.lr -> optimizer, lr"""
    return ", ".join(name.partition(".")[2] for name in choice.split(", "))
