"""Networks of several normalisations: accuracy at each one's best learning rate, and how it hangs on the rate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from analysis.figures.drawing import (
    MOST_PANELS,
    Drawing,
    NoData,
    arrange,
    beside,
    decades,
    panels,
    percent,
    pick,
    title,
)
from analysis.figures.style import markers, palette, plain, styled

_WIDTH = 2.6  # inches of a panel


def accuracy_by_rate(sweep: pd.DataFrame, best: pd.DataFrame) -> Drawing:
    """First panel: test accuracy by network and group at the best rate; then, a panel a network, held-out accuracy
    against the rate.

    sweep, best: a row a run, with columns label, of the network, and group, epochs, optimizer, lr, top1, seed.
    Raises NoData.
    """
    if sweep["top1"].notna().sum() == 0:
        raise NoData("no run of the sweep is done; `bnonly experiment run norm_only` makes some")
    networks, groups = list(dict.fromkeys(sweep["label"])), list(dict.fromkeys(sweep["group"]))
    colours, shapes = palette(groups), markers(groups)
    labels = [plain(network) for network in networks]
    chosen, more = pick(networks, lambda network: (sweep["label"] == network).sum(), MOST_PANELS - 1)
    swept = [network for network in networks if network in chosen]
    with styled():
        figure, grid = panels(1 + len(swept))
        first, *others = grid
        for group in groups:
            own = best[best["group"] == group].groupby("label")["top1"].agg(["mean", "std"]).reindex(networks)
            first.errorbar(
                own["mean"], range(len(networks)), xerr=own["std"].fillna(0), fmt=shapes[group],
                color=colours[group], capsize=2, label=group,
            )  # fmt: skip
        first.set_yticks(range(len(networks)), labels)
        first.invert_yaxis()
        first.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        first.set(xlabel="test accuracy (top-1)", xlim=(0, 1))
        title(first, "At the best rate of each")
        for axes, network in zip(others, swept, strict=True):
            _by_rate(axes, sweep[sweep["label"] == network], colours, shapes)
            title(axes, network, _WIDTH)
        arrange(figure, grid, left=max(0.75, beside(labels)), width=_WIDTH)
        for axes in others:  # they have no names beside them
            axes.yaxis.set_label_coords(-0.57 / _WIDTH, 0.5)
    epochs = ", ".join(map(str, sorted(set(sweep["epochs"]))))
    failed = int(sweep["top1"].isna().sum())
    caption = (
        f"{len(sweep)} runs of {epochs} epochs chose each cell's rate on training images held out"
        f"{f' ({failed} failed)' if failed else ''}; the test set was used once for each cell, at that rate, over "
        f"{best['seed'].nunique() if len(best) else 0} seed(s).{more}"
    )
    return Drawing(figure, caption, best)


def _by_rate(axes: Axes, rows: pd.DataFrame, colours: Mapping[str, Any], shapes: Mapping[str, Any]) -> None:
    """A network's sweeps: a line a group and optimizer."""
    own = set(rows["optimizer"])
    for group, colour in colours.items():
        for optimizer in sorted(own, reverse=True):
            line = rows[(rows["group"] == group) & (rows["optimizer"] == optimizer) & rows["top1"].notna()]
            if len(line):
                line = line.sort_values("lr")
                dash = "-" if optimizer == "sgd" else "--"
                axes.plot(line["lr"], line["top1"], dash, color=colour, marker=shapes[group], label=group)
    percent(axes, "held-out accuracy (top-1)")
    of = " of sgd" if "sgd" in own else ""
    dashed = f" (dashed: {plain(', '.join(sorted(own - {'sgd'})))})" if own - {"sgd"} else ""
    decades(axes, rows["lr"], f"learning rate{of}{dashed}")
