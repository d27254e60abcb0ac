"""The figures of one experiment's own page: a few groups, one network."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from analysis.figures.style import COLOURS, palette, styled


def learning_curves(curves: pd.DataFrame) -> Figure:
    """Test accuracy over epochs, a line a group; with several seeds the mean and one standard deviation."""
    with styled():
        figure, axes = plt.subplots(figsize=(6.2, 3.6), layout="constrained")
        _draw_curves(axes, curves)
    return figure


def gamma_histograms(by_group: Mapping[str, pd.DataFrame], threshold: float = 0.01) -> Figure:
    """gamma over all channels, a panel a group on one scale; the share within the threshold stands above it."""
    with styled():
        figure, panels = plt.subplots(
            1,
            len(by_group),
            figsize=(2.6 * len(by_group), 2.7),
            layout="constrained",
            sharex=True,
            sharey=True,
            squeeze=False,
        )
        _draw_histograms(list(panels[0]), by_group, threshold)
    return figure


def accuracy_and_gamma(curves: pd.DataFrame, by_group: Mapping[str, pd.DataFrame], threshold: float = 0.01) -> Figure:
    """`learning_curves` above `gamma_histograms`, as one picture."""
    with styled():
        figure = plt.figure(figsize=(2.6 * len(by_group), 6.2), layout="constrained")
        grid = figure.add_gridspec(2, len(by_group), height_ratios=(1.4, 1))
        _draw_curves(figure.add_subplot(grid[0, :]), curves)
        panels: list[Axes] = []
        for column in range(len(by_group)):
            first = panels[0] if panels else None
            panels.append(figure.add_subplot(grid[1, column], sharex=first, sharey=first))
        _draw_histograms(panels, by_group, threshold)
    return figure


def clamp_curve(table: pd.DataFrame) -> Figure:
    """Accuracy after every |gamma| below a threshold is set to zero, beside the share of channels that are."""
    with styled():
        figure, axes = plt.subplots(figsize=(6.2, 3.2), layout="constrained")
        axes.plot(table["threshold"], table["top1"], "o-", color=COLOURS["bn"], label="test accuracy")
        axes.plot(
            table["threshold"],
            table["clamped_share"],
            "s--",
            color="#555555",
            label="share of channels clamped",
        )
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        # Linear up to the smallest threshold, since 0, nothing clamped, is a point of the curve.
        axes.set_xscale("symlog", linthresh=table["threshold"][table["threshold"] > 0].min())
        axes.set(xlabel="threshold on |gamma|", ylabel="", ylim=(0, 1), xlim=(0, 1.25 * table["threshold"].max()))
        axes.legend(frameon=False)
    return figure


def _draw_curves(axes: Axes, curves: pd.DataFrame) -> None:
    test = curves.query("split == 'test'")
    # Best first, so that the legend stands in the order of the lines.
    best = {str(group): float(part["top1"].to_numpy().max()) for group, part in test.groupby("group")}
    groups = sorted(best, key=lambda group: -best[group])
    sns.lineplot(
        test, x="epoch", y="top1", hue="group", hue_order=groups, errorbar="sd", palette=palette(groups), ax=axes
    )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set(xlabel="epoch", ylabel="test accuracy (top-1)", xlim=(0, None), ylim=(0, 1))
    axes.legend(title="trained group", frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))


def _draw_histograms(panels: list[Axes], by_group: Mapping[str, pd.DataFrame], threshold: float) -> None:
    largest = max(float(np.abs(table["gamma"].to_numpy()).max()) for table in by_group.values())
    for axes, (name, table) in zip(panels, by_group.items(), strict=True):
        share = (table["gamma"].abs() < threshold).mean()
        colour = COLOURS.get(name.partition(",")[0], "#555555")
        sns.histplot(
            table, x="gamma", bins=60, binrange=(-largest, largest), ax=axes,
            color=colour, edgecolor="none", stat="proportion",
        )  # fmt: skip
        axes.axvline(0, color="0.7", linewidth=0.8, zorder=0)
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.set(
            xlabel="gamma",
            ylabel="share of channels" if axes is panels[0] else "",
            title=f"{name}\n|gamma| < {threshold:g}: {share:.1%}",
        )
