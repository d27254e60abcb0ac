"""Learning curves of runs, a panel a network and setting."""

from __future__ import annotations

from matplotlib.ticker import MaxNLocator

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
from analysis.figures.style import dashes, palette, plain, styled
from analysis.frames import Frames


def learning_curves(frames: Frames) -> Drawing:
    """Test accuracy over epochs; of runs that are not finished only where a group has no other."""
    curves = frames.of_runs(frames.curves, unfinished=True)
    curves = curves[curves["top1"].notna() & curves["state"].isin(("done", "running")) & (curves["network"] != "")]
    # A seed of one network once, though it may have been trained under two names.
    counted = set(frames.done["key"]) | set(frames.runs.loc[frames.runs["state"] == "running", "key"])
    curves = curves[curves["run"].isin(counted)]
    if curves.empty:
        raise NoData("no run has ended an epoch; `bnonly fit --training.epochs 10` trains one")
    curves = curves.assign(panel=curves["label"] + ", " + curves["setting"])
    whole = curves.groupby(["panel", "group"])["state"].transform(lambda states: (states == "done").any())
    unfinished = int(curves.loc[whole & (curves["state"] != "done"), "run"].nunique())
    curves = curves[(curves["state"] == "done") | ~whole]
    sizes = curves.groupby("panel").size()
    chosen, left = pick(curves["panel"].unique(), lambda name: sizes[name])
    order = (frames.runs["label"] + ", " + frames.runs["setting"]).unique()
    chosen = [name for name in order if name in chosen]  # by depth and width, not by letter
    table = over_seeds(curves, ["panel", "label", "setting", "group", "epoch"], "top1")
    curves, stats = curves[curves["panel"].isin(chosen)], table[table["panel"].isin(chosen)]
    colours, lines = palette(curves["group"].unique()), dashes(curves["group"].unique())
    with styled():
        figure, grid = panels(len(chosen))
        for axes, panel in zip(grid, chosen, strict=True):
            own, rows = stats[stats["panel"] == panel], curves[curves["panel"] == panel]
            last = own.loc[own.groupby("group")["epoch"].idxmax()].set_index("group")["mean"]
            groups = sorted(last.index, key=lambda group: (-last[group], group))
            for group in groups:
                part, mine = own[own["group"] == group].sort_values("epoch"), rows[rows["group"] == group]
                so_far = "" if (mine["state"] == "done").all() else f"epoch {mine['epoch'].max():.0f} so far of "
                label = f"{plain(group)}, {so_far}{epochs_of(mine)}"
                xs, mean, sd = (part[name].to_numpy() for name in ("epoch", "mean", "sd"))
                axes.plot(xs, mean, color=colours[group], linestyle=lines[group], label=label)
                if (part["n"] > 1).any():
                    axes.fill_between(xs, mean - sd, mean + sd, color=colours[group], alpha=0.2, linewidth=0)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            percent(axes, accuracy_of(rows))
            axes.set(xlabel="epoch", xlim=(0, None))
            title(axes, panel)
        arrange(figure, grid)
    waiting = f" Unfinished runs of groups that have finished ones are left out ({unfinished})." if unfinished else ""
    caption = f"Accuracy after every epoch, a panel a network. {made(curves, stats['n'])}{waiting}{left}"
    return Drawing(figure, caption, table.drop(columns="panel"))
