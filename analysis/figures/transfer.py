"""Features of random networks by layer, and a contact sheet of what they paint."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from PIL.Image import Image

from analysis.figures.drawing import Drawing, NoData, arrange, line, over_seeds, panels, title
from analysis.figures.style import DPI, plain, styled

_PANELS = {
    "max": ("activations", "maximum"),
    "entropy": ("activations", "entropy / log n"),
    "gram_max": ("Gram matrix", "maximum"),
    "gram_entropy": ("Gram matrix", "entropy / log n"),
}
_LABELS, _HEAD, _GAP = 1.6, 0.3, 0.08  # inches: beside the paintings, above them, and between two
_MARKERS = "osD^vP*X<>ph"


def by_layer(table: pd.DataFrame) -> Drawing:
    """Four statistics over the stages of the networks, a line a network, features as they are.

    table: a row a network, seed, smoothing and stage, with columns kind, smooth, depth, seed, max, entropy, gram_max
    and gram_entropy. Raises NoData.
    """
    own = table[~table["smooth"].astype(bool)]
    if own.empty:
        raise NoData("no features were looked at; `bnonly experiment run style` does it")
    kinds = list(dict.fromkeys(own["kind"]))
    colours = sns.color_palette("husl", len(kinds)).as_hex()
    with styled():
        figure, grid = panels(len(_PANELS))
        for axes, (column, (what, words)) in zip(grid, _PANELS.items(), strict=True):
            stats = over_seeds(own, ["kind", "depth"], column)
            for place, kind in enumerate(kinds):
                marker = _MARKERS[place % len(_MARKERS)]
                line(axes, stats[stats["kind"] == kind], "depth", colours[place], marker, plain(kind))
            axes.set_xticks(sorted(own["depth"].unique()))
            axes.set(xlabel="stage", ylabel=words)
            if "max" in column:
                axes.set_yscale("log")
            else:
                axes.set_ylim(0, 1.03)
            title(axes, what)
        arrange(figure, grid, left=0.85)
    seeds = own["seed"].nunique()
    caption = (
        f"Features at the end of every stage of random networks, mean over two photographs and {seeds} "
        f"seed{'s' * (seeds > 1)}; bands are one sample standard deviation. settled: BatchNorm has the pictures' "
        "statistics, else it does nothing. Entropies are of magnitudes as shares of their sum: 1 where all are equal."
    )
    return Drawing(figure, caption, over_seeds(own, ["kind", "depth"], "entropy"))


def sheet(pictures: Mapping[tuple[str, bool], Image], photographs: Mapping[str, Image]) -> Figure:
    """Paintings, a row a kind of network: features as they are on the left, smoothed by softmax on the right; above
    them the photographs that they began with, under their names.
    """
    kinds = list(dict.fromkeys(kind for kind, _ in pictures))
    painted = [(kind, [pictures.get((kind, smooth)) for smooth in (False, True)]) for kind in kinds]
    blocks = [(("as they are", "softmax"), painted)]
    if photographs:
        blocks = [(tuple(photographs), [("photographs", list(photographs.values()))]), *blocks]
    side = min(
        1.6, max(1.0, max(picture.width for picture in pictures.values()) / DPI)
    )  # a small one is not blown up
    rows = sum(len(own) for _, own in blocks)
    wide, high = _LABELS + 2 * (side + _GAP), len(blocks) * _HEAD + rows * (side + _GAP)
    figure, top = plt.figure(figsize=(wide, high)), high
    for heads, own in blocks:
        for column, words in enumerate(heads):
            left = _LABELS + column * (side + _GAP) + side / 2
            figure.text(left / wide, (top - 0.6 * _HEAD) / high, words, ha="center", va="center", fontsize="small")
        top -= _HEAD
        for name, shown in own:
            top -= side + _GAP
            words = plain(name).replace(", ", "\n")
            figure.text(0.1 / wide, (top + side / 2) / high, words, va="center", fontsize="small")
            for column, picture in enumerate(shown):
                at = ((_LABELS + column * (side + _GAP)) / wide, top / high, side / wide, side / high)
                axes = figure.add_axes(at, label=f"{name} {column}")
                axes.set_axis_off()
                if picture is not None:
                    axes.imshow(picture)
    return figure
