"""What shifted images do to answers: consistency against accuracy, and the right class's probability by shift."""

from __future__ import annotations

import pandas as pd
from matplotlib.ticker import PercentFormatter

from analysis.figures.drawing import Drawing, NoData, arrange, panels, pick, title
from analysis.figures.style import markers, palette, plain, styled
from analysis.published import CONSISTENT
from analysis.settings import shape

FILLS = {"none": "#ffffff", "rect2": "#c7dcef", "tri3": "#6aaed6", "bin5": "#0b559f"}
"""By filter, darker as it is longer."""
_DASHES = {"none": (0, (1.5, 1.2)), "rect2": (0, (4, 1, 1, 1)), "tri3": (0, (5, 1.5)), "bin5": "solid"}
_MOST = 3  # images with curves of their own


def consistency_by_accuracy(table: pd.DataFrame) -> Drawing:
    """A point a run: up is more stable, right is more accurate. Marker and edge by group, filling by filter.

    table: a row a run, with columns network, group, antialias, data, crop, setting, epochs, seed, images, border,
    most, consistency, consistency_se, test_top1. A panel a network, setting and crop. Raises NoData.
    """
    if table.empty:
        raise NoData("no run has been shown shifted images; `bnonly experiment run shift` does it")
    groups = list(dict.fromkeys(table["group"]))
    colours, signs = palette(groups), markers(groups)
    kinds, more = _kinds(table)
    with styled():
        figure, grid = panels(len(kinds))
        for axes, (name, own) in zip(grid, kinds.items(), strict=True):
            network, data = own["network"].iloc[0], own["data"].iloc[0]
            for group, antialias in dict.fromkeys(zip(own["group"], own["antialias"], strict=True)):
                points = own[(own["group"] == group) & (own["antialias"] == antialias)]
                xs, ys = 100 * points["test_top1"], 100 * points["consistency"]
                errors = 100 * points["consistency_se"]
                axes.errorbar(xs, ys, errors, fmt="none", ecolor="0.6", elinewidth=0.8)
                axes.plot(
                    xs, ys, signs[group], color=colours[group], markersize=7, linestyle="",
                    markerfacecolor=FILLS[antialias], label=f"{plain(group)}, {_filter(antialias)}",
                )  # fmt: skip
            if data == "imagenet":
                for known in (known for known in CONSISTENT if known.network == network):
                    axes.plot(
                        known.top1, known.consistency, "*", color="0.35", markerfacecolor=FILLS[known.antialias],
                        markersize=8, linestyle="", label=f"Zhang: all, {_filter(known.antialias)} [{known.tag}]",
                    )  # fmt: skip
            axes.set(xlabel="test accuracy (top-1), %", ylabel="consistency, %")
            axes.margins(0.12)
            title(axes, name)
        arrange(figure, grid, height=3.0, left=0.85)
    asked = [
        f"up to {row['most']} pixels, {row['border']}; {row['images']:,} images" for row in table.to_dict("records")
    ]
    span = "/".join(str(count) for count in sorted(set(table["epochs"].astype(int))))
    caption = (
        f"How often two shifts of an image get the same answer ({' or '.join(dict.fromkeys(asked))}), "
        f"against accuracy, after {span} epochs: a point a run, bars one standard "
        f"error over images. Crop: by how many pixels training shifted its own images.{more}"
    )
    return Drawing(figure, caption, table)


def right_by_shift(curves: pd.DataFrame) -> Drawing:
    """The right class's probability as images move along the diagonal, a panel a group, a line a filter.

    Heavy: mean over images. Light: single images, where a network that answers by chance of the grid shows.
    curves: a row a run, image ("mean" or its number) and offset, with columns run, network, group, antialias, crop,
    setting, seed, image, offset, right. Of several runs alike, as seeds, the first is drawn. Raises NoData.
    """
    if curves.empty:
        raise NoData("no run has been shown every shift of its images")
    kinds, more = _kinds(curves, "group")
    with styled():
        figure, grid = panels(len(kinds))
        for axes, (name, own) in zip(grid, kinds.items(), strict=True):
            for antialias, runs in own.groupby("antialias", sort=False):
                part = runs[runs["run"] == runs["run"].iloc[0]]
                colour = "0.25" if antialias == "none" else FILLS[str(antialias)]
                style = {"color": colour, "linestyle": _DASHES[str(antialias)]}
                for image in [str(number) for number in range(_MOST)]:
                    line = part[part["image"] == image]
                    axes.plot(line["offset"], line["right"], linewidth=0.7, alpha=0.7, **style)
                line = part[part["image"] == "mean"]
                axes.plot(line["offset"], line["right"], linewidth=2.4, label=_filter(str(antialias)), **style)
            axes.set(xlabel="pixels down and to the right", ylabel="probability of the right class", ylim=(0, 1))
            axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
            title(axes, name)
        arrange(figure, grid)
    caption = (
        "The probability of the right class as the image moves along the diagonal: mean over the test images (heavy) "
        f"and the first {_MOST} of them each (light). Seed {curves['seed'].iloc[0]}.{more}"
    )
    return Drawing(figure, caption, curves)


def _kinds(table: pd.DataFrame, *by: str) -> tuple[dict[str, pd.DataFrame], str]:
    """The rows of each panel by its title, and a sentence on those for which there is no room."""
    names = table["network"].map(lambda network: shape(network).label)
    crops = "crop " + table["crop"].astype(str)
    said = pd.concat([names, *(table[column] for column in by), crops, table["setting"]], axis=1)
    titles = said.agg(", ".join, axis=1)
    kinds = {str(name): own for name, own in table.groupby(titles, sort=False)}
    chosen, more = pick(kinds, lambda name: len(kinds[name]))
    return {name: own for name, own in kinds.items() if name in chosen}, more


def _filter(antialias: str) -> str:
    return "no filter" if antialias == "none" else antialias
