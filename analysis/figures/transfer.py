"""Features of random networks by layer, and a contact sheet of what they paint."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from PIL.Image import Image

from analysis.figures.drawing import Drawing, NoData, arrange, line, over_seeds, panels, title
from analysis.figures.style import plain, styled

_PANELS = {
    "max": ("activations", "maximum"),
    "entropy": ("activations", "entropy / log n"),
    "gram_max": ("Gram matrix", "maximum"),
    "gram_entropy": ("Gram matrix", "entropy / log n"),
}
_LABELS = 1.6  # inches beside the paintings
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


def sheet(pictures: Mapping[tuple[str, bool], Image]) -> Figure:
    """Paintings, a row a kind of network: features as they are on the left, smoothed by softmax on the right."""
    kinds = list(dict.fromkeys(kind for kind, _ in pictures))
    side, gap = 1.6, 0.08
    figure = plt.figure(figsize=(_LABELS + 2 * (side + gap), 0.3 + len(kinds) * (side + gap)))
    wide, high = figure.get_size_inches()
    for row, kind in enumerate(kinds):
        bottom = high - 0.3 - (row + 1) * (side + gap)
        figure.text(
            0.1 / wide, (bottom + side / 2) / high, plain(kind).replace(", ", "\n"), va="center", fontsize="small"
        )
        for column, smooth in enumerate((False, True)):
            at = ((_LABELS + column * (side + gap)) / wide, bottom / high, side / wide, side / high)
            axes = figure.add_axes(at, label=f"{kind} {smooth}")
            axes.set_axis_off()
            if (picture := pictures.get((kind, smooth))) is not None:
                axes.imshow(picture)
    for column, words in enumerate(("as they are", "softmax")):
        left = _LABELS + column * (side + gap) + side / 2
        figure.text(left / wide, 1 - 0.18 / high, words, ha="center", va="center", fontsize="small")
    return figure
