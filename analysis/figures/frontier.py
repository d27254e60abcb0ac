"""Accuracy against the bytes of a file: seed+BN files beside networks whose weights were trained."""

from __future__ import annotations

from typing import Any

import pandas as pd
import seaborn as sns

from analysis.figures.drawing import Drawing, NoData, arrange, decades, panels, percent
from analysis.figures.style import styled

_RIVALS = {"narrow": "#56b4e9", "whole": "#0072b2", "pruned": "#117733"}
_MARKERS = ("o", "s", "D", "^", "v", "P", "X", "<", ">", "p", "h", "*")


def accuracy_by_file_size(means: pd.DataFrame) -> Drawing:
    """Every file as a point, ours filled and coloured by group, rivals hollow; stairs join the best of each side.

    means: a row a kind of file, with columns side ("ours", "bare" or "rival"), network, group, prune, form, bytes,
    top1, epochs, seeds. Raises NoData.
    """
    if means.empty:
        raise NoData("no file has been scored; `bnonly experiment run bytes` makes some")
    ours, bare, rivals = (means[means["side"] == side] for side in ("ours", "bare", "rival"))
    groups = list(dict.fromkeys(ours["group"]))
    colours = dict(zip(groups, sns.color_palette("flare", max(1, len(groups))).as_hex(), strict=False))
    with styled():
        figure, (axes,) = panels(1)
        for place, group in enumerate(groups):
            own = ours[ours["group"] == group]
            axes.plot(
                own["bytes"], own["top1"], _MARKERS[place % len(_MARKERS)], color=colours[group], markersize=4,
                linestyle="", label=f"seed+BN file: {group}",
            )  # fmt: skip
            less = bare[bare["group"] == group]
            axes.plot(
                less["bytes"], less["top1"], _MARKERS[place % len(_MARKERS)], color=colours[group], markersize=2.5,
                linestyle="", alpha=0.6,
            )  # fmt: skip
        kinds = pd.Series([_kind(row) for row in rivals.to_dict("records")], rivals.index, dtype=object)
        for kind, colour in _RIVALS.items():
            if len(own := rivals[kinds == kind]):
                axes.plot(
                    own["bytes"], own["top1"], "o", color=colour, markerfacecolor="none", markersize=4, linestyle="",
                    label=f"weights trained: {kind}",
                )  # fmt: skip
        stairs = (
            (ours, "#d55e00", "-", "ours"),
            (bare, "#d55e00", ":", "ours, bare"),
            (rivals, "#0072b2", "-", "rivals"),
        )
        for side, colour, line, words in stairs:
            if len(side):
                best = pareto(side)
                axes.step(
                    best["bytes"], best["top1"], line, where="post", color=colour, linewidth=1.2, zorder=0,
                    label=f"best of {words}",
                )  # fmt: skip
        decades(axes, means["bytes"].tolist(), "bytes of the file")
        percent(axes, "test accuracy (top-1)")
        arrange(figure, [axes], width=6.2, height=3.8)
    epochs = "/".join(str(int(count)) for count in sorted(means["epochs"].unique()))
    seeds = int(means["seeds"].min())
    caption = (
        f"Accuracy of files against their bytes, {epochs} epochs each, {seeds} seed{'s' * (seeds > 1)}. Filled: a "
        "seed and what trained; the smaller, without what lets a reader verify it (bare). Hollow: all weights "
        "trained, in float32 to 3 bits, BatchNorm folded."
    )
    return Drawing(figure, caption, means)


def pareto(files: pd.DataFrame) -> pd.DataFrame:
    """The files than which no smaller one is as accurate, smallest first."""
    ordered = files.sort_values(["bytes", "top1"], ascending=[True, False], kind="stable")
    before = ordered["top1"].cummax().shift(fill_value=-1.0)
    return ordered[ordered["top1"] > before]


def _kind(row: dict[Any, Any]) -> str:
    if row["prune"]:
        return "pruned"
    return "narrow" if "_w" in row["network"] else "whole"
