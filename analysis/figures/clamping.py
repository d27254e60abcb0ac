"""What becomes of trained networks when gammas are set to zero without retraining."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from analysis.figures.drawing import (
    Drawing,
    NoData,
    accuracy_of,
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
    whole = _from_intact(whole)
    counts = whole.groupby("panel")["run"].nunique()
    chosen, left = pick(counts.index, lambda name: counts[name])
    order = (frames.runs["label"] + ", " + frames.runs["setting"]).unique()
    chosen = [name for name in order if name in chosen]  # by depth and width, not by letter
    by = ["panel", "label", "setting", "group", "way", "amount"]
    table = _lost(whole, by).merge(whole.groupby(by, as_index=False)["share"].mean(), on=by)
    whole, stats = whole[whole["panel"].isin(chosen)], table[table["panel"].isin(chosen)]
    colours, farthest = palette(whole["group"].unique()), float(whole["share"].max())
    with styled():
        figure, grid = panels(len(chosen))
        for axes, panel in zip(grid, chosen, strict=True):
            own, rows = stats[stats["panel"] == panel], whole[whole["panel"] == panel]
            for group in sorted(own["group"].unique()):
                for way in _WAYS:
                    part = own[(own["group"] == group) & (own["way"] == way)].sort_values("share")
                    name = f"{plain(group)}, {epochs_of(rows)}: {_WAYS[way][2]}"
                    if len(part):
                        _draw(axes, part, way, colours[group], name)
            percent(axes, accuracy_of(rows))
            axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
            axes.set(xlabel="channels with gamma set to zero", xlim=(-0.02 * farthest, 1.02 * farthest))
            title(axes, panel)
        arrange(figure, grid, stacks=whole["group"].nunique())
    caption = (
        "Accuracy after gammas of the whole network are set to zero, without retraining. Dots: all |gamma| below a "
        "threshold, that of 0.01 named (the table has the others); lines: a share of the channels, from the intact "
        f"network on. {made(whole, stats.loc[stats['way'] != 'random', 'n'])}{_draws(stats)}{left}"
    )
    return Drawing(figure, caption, table.drop(columns="panel"))


def _lost(points: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Accuracy over seeds, and what each of them lost: lost and lost_sd, of the intact network's less this."""
    lost = over_seeds(points.assign(lost=points["intact"] - points["top1"]), by, "lost")
    lost = lost.rename(columns={"mean": "lost", "sd": "lost_sd"}).drop(columns="n")
    return over_seeds(points, by, "top1").merge(lost, on=by, how="left")


def _from_intact(points: pd.DataFrame) -> pd.DataFrame:
    """With a point of each line at which nothing is set to zero yet."""
    lines = points[(points["way"] != "below") & points["intact"].notna()]
    known = lines.loc[lines["share"] == 0, ["run", "way"]].apply(tuple, axis=1)
    start = lines.drop_duplicates(["run", "way"])
    start = start[~start[["run", "way"]].apply(tuple, axis=1).isin(set(known))]
    return pd.concat([points, start.assign(amount=0.0, share=0.0, clamped=0.0, top1=start["intact"])])


def _draws(stats: pd.DataFrame) -> str:
    n = stats.loc[(stats["way"] == "random") & (stats["share"] > 0), "n"]
    if n.empty or n.max() == 1:
        return ""
    count = f"{n.min()}" if n.min() == n.max() else f"{n.min()} to {n.max()}"
    return f" Of random channels: mean and standard deviation over draws and seeds (n = {count})."


def _draw(axes: Axes, part: pd.DataFrame, way: str, colour: str, name: str) -> None:
    dash, marker, _ = _WAYS[way]
    xs, mean, sd = (part[column].to_numpy() for column in ("share", "mean", "sd"))
    axes.plot(
        xs, mean, linestyle=dash or "none", marker=marker or "none", markersize=4.5, color=colour,
        linewidth=1.3, label=name, zorder=3,
    )  # fmt: skip
    if (part["n"] > 1).any() and dash:
        axes.fill_between(xs, mean - sd, mean + sd, color=colour, alpha=0.15, linewidth=0)
    if way == "below":
        for share, accuracy in part.loc[part["amount"] == 0.01, ["share", "mean"]].itertuples(index=False):
            axes.annotate(
                "0.01", (share, accuracy), (0, 6), textcoords="offset points", fontsize="x-small", color=colour,
                ha="center",
            )  # fmt: skip
