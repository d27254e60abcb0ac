"""Figures as one would print them: axes with units, a colour-blind safe palette, one subject each."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import matplotlib
import numpy as np
import pandas as pd

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter

# Okabe and Ito's colours; a group keeps its colour in every figure.
COLOURS = {
    "all": "#0072B2",
    "bn": "#D55E00",
    "bn+output": "#CC79A7",
    "output": "#E69F00",
    "random:2": "#009E73",
    "gamma": "#56B4E9",
    "beta": "#000000",
    "shortcut": "#999999",
}

_STYLE = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "bnonly",
}


def learning_curves(curves: pd.DataFrame) -> Figure:
    """Test accuracy over epochs, a line a group; with several seeds the mean and one standard deviation."""
    with _styled():
        figure, axes = plt.subplots(figsize=(6.2, 3.6), layout="constrained")
        _draw_curves(axes, curves)
    return figure


def gamma_histograms(by_group: Mapping[str, pd.DataFrame], threshold: float = 0.01) -> Figure:
    """gamma over all channels, a panel a group on one scale; the share within the threshold stands above it."""
    with _styled():
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
    with _styled():
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
    with _styled():
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


def accuracy_by_bytes(table: pd.DataFrame) -> Figure:
    """Accuracy over the bytes of a file, a colour a network, a marker a way of storing it.

    table: a row a file, with columns depth, epochs, form ("folded", "full" or "whole"), dtype, codec, step, clamp,
    bytes, top1. Clamped files are fainter; the steps of rans, nothing clamped, are joined by a line.
    """
    ways = {
        "seed, rans by step": ("D", "codec == 'rans'"),
        "seed, a and b without zeros": ("v", "form == 'folded' and codec == 'mask'"),
        "seed, a and b": ("o", "form == 'folded' and codec == 'raw'"),
        "seed, gamma, beta and statistics": ("P", "form == 'full'"),
        "whole, as it is": ("s", "form == 'whole' and codec == 'raw'"),
        "whole, through xz": ("x", "form == 'whole' and codec == 'xz'"),
    }
    depths = sorted(table["depth"].unique())
    colours = dict(zip(depths, sns.color_palette("colorblind", len(depths)).as_hex(), strict=True))
    with _styled():
        figure, axes = plt.subplots(figsize=(8.6, 4.4), layout="constrained")
        for depth, own in table.groupby("depth"):
            rans = own.query("codec == 'rans' and clamp == 0").sort_values("bytes")
            axes.plot(rans["bytes"], rans["top1"], color=colours[depth], linewidth=0.8)
            for marker, which in ways.values():
                part = own.query(which)
                clamped = (part["clamp"].fillna(0) > 0).to_numpy()
                for points, alpha in ((part[clamped], 0.25), (part[~clamped], 0.9)):
                    axes.scatter(
                        points["bytes"], points["top1"], s=30, marker=marker, color=colours[depth], alpha=alpha
                    )
        whole = table.query("form == 'whole' and codec == 'raw'")
        for x, y, dtype in zip(whole["bytes"].tolist(), whole["top1"].tolist(), whole["dtype"].tolist(), strict=True):
            axes.annotate(dtype, (x, y), xytext=(0, 6), textcoords="offset points", ha="center", size="x-small")
        axes.set_xscale("log")
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.set(xlabel="bytes of the file", ylabel="test accuracy (top-1)")
        epochs = table.groupby("depth")["epochs"].first()
        networks = [
            Line2D([], [], color=colours[depth], linewidth=3, label=f"ResNet-{depth}, epochs: {epochs[depth]}")
            for depth in depths
        ]
        markers = [
            Line2D([], [], color="#555555", marker=marker, linestyle="", label=name)
            for name, (marker, _) in ways.items()
        ]
        faint = Line2D([], [], color="#555555", marker="D", linestyle="", alpha=0.25, label="small gammas clamped")
        axes.legend(handles=[*networks, *markers, faint], frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
        axes.set_title("Few epochs, not the paper's 160; group bn, one seed", fontsize="medium", loc="left")
    return figure


def svg(figure: Figure, title: str) -> str:
    """The figure as an inline <svg> that scales with the page; `title` is read to those who cannot see it."""
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    plt.close(figure)
    body = text.getvalue()[text.getvalue().index("<svg") :]
    body = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", body, count=1)
    body = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", body, count=1)
    return body.replace("<svg", f'<svg role="img" aria-label="{title}"', 1)


def _draw_curves(axes: Axes, curves: pd.DataFrame) -> None:
    test = curves.query("split == 'test'")
    # Best first, so that the legend stands in the order of the lines.
    best = {str(group): float(part["top1"].to_numpy().max()) for group, part in test.groupby("group")}
    groups = sorted(best, key=lambda group: -best[group])
    sns.lineplot(
        test, x="epoch", y="top1", hue="group", hue_order=groups, errorbar="sd", palette=_palette(groups), ax=axes
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


def _palette(groups: list[str]) -> dict[str, str]:
    spare = iter(sns.color_palette("colorblind", 10).as_hex())
    return {group: COLOURS.get(group) or next(spare) for group in groups}


def _styled() -> AbstractContextManager[None]:
    settings: Any = {**sns.axes_style("ticks"), **sns.plotting_context("notebook", 0.85), **_STYLE}
    return plt.rc_context(settings)
