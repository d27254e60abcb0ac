"""Runs of the same seeds, computed in several ways: accuracy, and the share of small gammas."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from analysis.figures.drawing import Drawing, NoData, arrange, panels, title
from analysis.figures.style import plain, styled

_LOOKS = {"paper": ("#555555", "o"), "fused": ("#0072b2", "s"), "fast": ("#d55e00", "D")}
_BELOW = "gamma_below_"


def differences(table: pd.DataFrame) -> Drawing:
    """A column a quantity, in it a point a seed and a bar at the mean for every mode; a panel a network and quantity.

    table: a row a run, with columns network, mode, seed, epochs, top1, train_loss and gamma_below_THRESHOLD. Raises
    NoData.
    """
    if table.empty:
        raise NoData("no run is done; `bnonly experiment run fidelity` trains some")
    thresholds = [str(name) for name in table if str(name).startswith(_BELOW)]
    networks = list(dict.fromkeys(table["network"]))
    with styled():
        figure, grid = panels(2 * len(networks))
        for number, network in enumerate(networks):
            own = table[table["network"] == network]
            accuracy, sparsity = grid[2 * number : 2 * number + 2]
            modes = [mode for mode in _LOOKS if (own["mode"] == mode).any()]
            for place, mode in enumerate(modes):
                colour, marker = _LOOKS[mode]
                part = own[own["mode"] == mode]
                _points(accuracy, place, 100 * part["top1"], colour, marker, mode)
                for at, name in enumerate(thresholds):
                    _points(
                        sparsity, at + 0.2 * (place - (len(modes) - 1) / 2), 100 * part[name], colour, marker, mode
                    )
            accuracy.set_xticks(range(len(modes)), modes)
            accuracy.set(ylabel="test accuracy (top-1), %", xlabel="computed as")
            sparsity.set_xticks(range(len(thresholds)), [name.removeprefix(_BELOW) for name in thresholds])
            sparsity.set(ylabel="share of |gamma| below, %", xlabel="threshold")
            for axes in (accuracy, sparsity):
                axes.margins(x=0.15)
                title(axes, f"{plain(network)}, {int(own['epochs'].iloc[0])} epochs")
        arrange(figure, grid)
    caption = (
        "Runs of the same seeds by the paper's arithmetic, by the fused engine in float32 (fused), and by it in "
        "bfloat16 (fast): a point a seed, a bar at the mean."
    )
    return Drawing(figure, caption, table)


def _points(axes: Axes, place: float, values: pd.Series, colour: str, marker: str, label: str) -> None:
    xs = [place] * len(values)
    axes.plot(xs, values, marker, color=colour, markersize=5, alpha=0.8, linestyle="", label=label)
    axes.plot([place - 0.09, place + 0.09], [values.mean()] * 2, color=colour, linewidth=1.4)
