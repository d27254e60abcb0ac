"""What becomes of trained networks when gammas are set to zero without retraining."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from analysis.figures.drawing import (
    Drawing,
    NoData,
    arrange,
    epochs_of,
    made,
    over_seeds,
    panels,
    percent,
    pick,
    title,
)
from analysis.figures.style import palette, plain, styled
from analysis.frames import Frames

# Way of choosing: line, marker, words.
_WAYS = {
    "smallest": ("-", "", "smallest |gamma| first"),
    "random": (":", "", "random channels"),
    "largest": ("--", "", "largest |gamma| first"),
    "below": ("", "o", "|gamma| below a threshold"),
}


def clamp_curves(frames: Frames) -> Drawing:
    """Test accuracy against the share of channels whose gamma is set to zero, a panel a network, a line a way."""
    points = frames.of_runs(frames.ablations)
    points = points[points["way"].isin(_WAYS) & points["share"].notna() & points["top1"].notna()]
    whole = points[(points["scope"] == "network") | (points["way"] == "below")]
    if whole.empty:
        raise NoData("no finished run has an ablation.json; `bnonly ablate RUN` makes one")
    whole = whole.assign(panel=whole["label"] + ", " + whole["setting"])
    chosen, left = pick(whole["panel"].unique(), lambda name: whole.loc[whole["panel"] == name, "run"].nunique())
    order = (frames.runs["label"] + ", " + frames.runs["setting"]).unique()
    chosen = [name for name in order if name in chosen]  # by depth and width, not by letter
    whole = whole[whole["panel"].isin(chosen)]
    # Draws of random channels are no seeds: a run is one point, their mean.
    by = ["panel", "label", "setting", "group", "way", "amount"]
    runs = whole.groupby([*by, "run"], as_index=False)[["share", "top1"]].mean()
    stats = over_seeds(runs, by, "top1").merge(runs.groupby(by, as_index=False)["share"].mean(), on=by)
    colours = palette(whole["group"].unique())
    with styled():
        figure, grid = panels(len(chosen))
        for axes, panel in zip(grid, chosen, strict=True):
            own, rows = stats[stats["panel"] == panel], whole[whole["panel"] == panel]
            for group in sorted(own["group"].unique()):
                for way in _WAYS:
                    part = own[(own["group"] == group) & (own["way"] == way)].sort_values("share")
                    name = f"{plain(group)}, {epochs_of(rows)}: {_WAYS[way][2]}"
                    if len(part):
                        _draw(axes, part, way, colours[group], name, len(own["group"].unique()) == 1)
            percent(axes)
            axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
            axes.set(xlabel="channels with gamma set to zero", xlim=(-0.02, 1.02))
            title(axes, panel)
        arrange(figure, grid, legend=1)
    caption = (
        "Test accuracy after gammas of the whole network are set to zero, without retraining. Dots: all "
        "|gamma| below a threshold (their values stand in the table); lines: a share of the channels. "
        f"{made(whole, stats['n'])}{left}"
    )
    return Drawing(figure, caption, stats.drop(columns="panel"))


def _draw(axes: Axes, part: pd.DataFrame, way: str, colour: str, name: str, alone: bool) -> None:
    dash, marker, _ = _WAYS[way]
    axes.plot(
        part["share"], part["mean"], linestyle=dash or "none", marker=marker or "none", markersize=4.5, color=colour,
        linewidth=1.3, label=name, zorder=3,
    )  # fmt: skip
    if (part["n"] > 1).any() and dash:
        low, high = part["mean"] - part["sd"], part["mean"] + part["sd"]
        axes.fill_between(part["share"], low, high, color=colour, alpha=0.15, linewidth=0)
    if way == "below" and alone:
        for amount, share, mean in part[["amount", "share", "mean"]].itertuples(index=False):
            if amount in (0.01, 0.1):
                axes.annotate(f"{amount:g}", (share, mean), (4, 5), textcoords="offset points", fontsize="x-small")
