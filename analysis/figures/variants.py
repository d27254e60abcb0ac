"""Accuracy as one thing of a run varies: the group, random:K's K, the initial values, weight decay."""

from __future__ import annotations

import re

from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator, PercentFormatter

from analysis import published
from analysis.figures.drawing import (
    PAPER,
    Drawing,
    NoData,
    accuracy_of,
    arrange,
    beside,
    epochs_of,
    line,
    made,
    over_seeds,
    panels,
    percent,
    pick,
    title,
)
from analysis.figures.style import markers, palette, plain, styled
from analysis.frames import Frames


def accuracy_by_group(frames: Frames) -> Drawing:
    """Test accuracy of each group, best first, a panel a network and setting, beside the paper's."""
    done = frames.done.assign(panel=lambda rows: rows["label"] + ", " + rows["setting"])
    groups = done.groupby("panel")["group"].nunique()
    if not (groups >= 2).any():
        raise NoData("no network was trained with two groups; `bnonly fit --group output` trains another")
    chosen, left = pick(groups[groups >= 2].index, lambda name: groups[name])
    chosen = [name for name in done["panel"].unique() if name in chosen]
    drawn = done[done["panel"].isin(chosen)]
    table = over_seeds(done, ["panel", "network", "label", "setting", "group"], "top1")
    table = table.groupby(["panel", "group"], as_index=False).first()
    stats = table[table["panel"].isin(chosen)]
    colours, shapes = palette(drawn["group"].unique()), markers(drawn["group"].unique())
    with styled():
        most = groups[chosen].max()
        figure, grid = panels(len(chosen))
        for axes, panel in zip(grid, chosen, strict=True):
            own = stats[stats["panel"] == panel].sort_values(["mean", "group"]).reset_index(drop=True)
            rows, hollow = drawn[drawn["panel"] == panel], False
            for place, group, mean, sd in own[["group", "mean", "sd"]].itertuples():
                axes.hlines(place, 0, mean, color=colours[group], linewidth=1, alpha=0.5)
                axes.errorbar(mean, place, xerr=sd, fmt=shapes[group], color=colours[group], capsize=2)
                axes.annotate(f"{mean:.1%}", (mean, place), (7, 4), textcoords="offset points", fontsize="x-small")
                paper = published.cifar10(str(rows["network"].iloc[0]), group)
                if paper and bool(rows["papers_recipe"].all()):
                    axes.plot(
                        paper.percent / 100, place, marker=shapes[group], markerfacecolor="white", linestyle="none",
                        color=colours[group], label=None if hollow else PAPER,
                    )  # fmt: skip
                    hollow = True
            axes.set_yticks(range(len(own)), [plain(group) for group in own["group"]])
            axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
            axes.set(xlabel=f"{accuracy_of(rows)}, {epochs_of(rows)}", xlim=(0, 1.08), ylim=(-0.6, len(own) - 0.4))
            axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
            title(axes, panel)
        arrange(figure, grid, height=0.35 + 0.27 * int(most), left=beside(drawn["group"]), width=2.5)
    hollow = "Hollow: the paper's, 160 epochs, digitised [D]. " if drawn["papers_recipe"].any() else ""
    caption = f"Accuracy by what trained, best first. {hollow}{made(drawn, stats['n'])}{left}"
    return Drawing(figure, caption, table.drop(columns="panel"))


def accuracy_by_random_count(frames: Frames) -> Drawing:
    """Accuracy against K of random:K, with the other groups of that network as levels."""
    done = frames.done.assign(
        panel=lambda rows: rows["label"] + ", " + rows["setting"],
        count=lambda rows: rows["group"].map(_random_count),
    )
    counts = done[done["count"].notna()].groupby("panel")["count"].nunique()
    if not (counts >= 2).any():
        raise NoData(
            "no network was trained with two values of random:K; `bnonly fit --group random:8` trains another"
        )
    chosen, left = pick(counts[counts >= 2].index, lambda name: counts[name])
    drawn = done[done["panel"].isin(chosen)]
    table = over_seeds(done, ["panel", "label", "setting", "group", "count"], "top1")
    stats = table[table["panel"].isin(chosen)]
    colours, levels = palette(drawn["group"].unique()), ("bn", "output", "gamma", "all")
    with styled():
        figure, grid = panels(len(chosen))
        for axes, panel in zip(grid, chosen, strict=True):
            own, rows = stats[stats["panel"] == panel], drawn[drawn["panel"] == panel]
            randoms = own[own["count"].notna()]
            line(axes, randoms, "count", colours.get("random:2", "#009E73"), "v", f"random:K, {epochs_of(rows)}")
            for group in levels:
                for mean in own.loc[own["group"] == group, "mean"]:
                    name = f"{group}, {epochs_of(rows)}"
                    axes.axhline(mean, color=colours[group], linestyle="--", linewidth=1.2, label=name)
            axes.set_xscale("log", base=2)
            axes.xaxis.set_major_locator(FixedLocator(sorted(randoms["count"])))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.set_xlabel("random scalars that train in each channel, K")
            percent(axes, accuracy_of(rows))
            title(axes, panel)
        arrange(figure, grid)
    caption = (
        "Accuracy against the number of random scalars that train in each convolution channel, all else frozen; "
        f"dashed levels: other groups of the same network. {made(drawn, stats['n'])}{left}"
    )
    return Drawing(figure, caption, table.drop(columns="panel"))


def accuracy_by_start(frames: Frames) -> Drawing:
    """Accuracy by initial values of weights, gamma and beta, a panel a network and setting."""
    done = frames.done.assign(panel=lambda rows: rows["label"] + ", " + rows["setting_but_start"])
    done = done.assign(
        start=done["weights"] + done["scale"].map(lambda scale: "" if scale == "fan_in" else f" ({scale})")
        + ", gamma " + done["gamma"] + ", beta " + done["beta"]
    )  # fmt: skip
    starts = done.groupby("panel")["start"].nunique()
    if not (starts >= 2).any():
        raise NoData(
            "no network was trained from two kinds of start; `bnonly fit --network.gamma ones` trains another"
        )
    chosen, left = pick(starts[starts >= 2].index, lambda name: starts[name])
    drawn = done[done["panel"].isin(chosen)]
    table = over_seeds(done, ["panel", "label", "setting_but_start", "start", "group"], "top1")
    stats = table[table["panel"].isin(chosen)]
    colours, shapes = palette(drawn["group"].unique()), markers(drawn["group"].unique())
    with styled():
        figure, grid = panels(len(chosen))
        for axes, panel in zip(grid, chosen, strict=True):
            own, rows = stats[stats["panel"] == panel], drawn[drawn["panel"] == panel]
            order = own.groupby("start")["mean"].mean().sort_values().index.tolist()
            for group in sorted(own["group"].unique()):
                part = own[own["group"] == group]
                places = [order.index(start) for start in part["start"]]
                axes.errorbar(
                    part["mean"], places, xerr=part["sd"], fmt=shapes[group], color=colours[group], capsize=2,
                    label=f"{plain(group)}, {epochs_of(rows)}",
                )  # fmt: skip
            axes.set_yticks(range(len(order)), [plain(start) for start in order])
            axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
            axes.set(xlabel=accuracy_of(rows), xlim=(0, 1), ylim=(-0.6, len(order) - 0.4))
            axes.grid(axis="y", color="0.9")
            title(axes, panel)
        most = int(starts[chosen].max())
        arrange(figure, grid, width=4.5, height=0.35 + 0.27 * most, left=2.6, columns=1)
    caption = f"Accuracy by initial values, best at the top. {made(drawn, stats['n'])}{left}"
    return Drawing(figure, caption, table.drop(columns="panel"))


def accuracy_by_decay(frames: Frames) -> Drawing:
    """Accuracy against weight decay, a panel a setting, a line a network and group."""
    done = frames.done.assign(panel=lambda rows: rows["setting_but_decay"])
    done = done[done["weight_decay"].notna() & done["decay_group"].isin(("all", ""))]
    decays = done.groupby("panel")["weight_decay"].nunique()
    if not (decays >= 2).any():
        raise NoData(
            "no network was trained with two weight decays; `bnonly fit --training.weight_decay 0` trains another"
        )
    chosen, left = pick(decays[decays >= 2].index, lambda name: decays[name])
    several = done.groupby(["panel", "label", "group"])["weight_decay"].transform("nunique") >= 2
    done = done[several]
    drawn = done[done["panel"].isin(chosen)]
    if drawn.empty:
        raise NoData(
            "no network and group was trained with two weight decays; `bnonly fit --training.weight_decay 0` does"
        )
    chosen = [name for name in chosen if (drawn["panel"] == name).any()]
    table = over_seeds(done, ["panel", "family", "depth", "width", "label", "group", "weight_decay"], "top1")
    stats = table[table["panel"].isin(chosen)]
    smallest = min(drawn.loc[drawn["weight_decay"] > 0, "weight_decay"].min(), 1.0)
    colours, networks = palette(drawn["group"].unique()), list(dict.fromkeys(drawn["label"]))
    with styled():
        figure, grid = panels(len(chosen))
        for axes, panel in zip(grid, chosen, strict=True):
            own, rows = stats[stats["panel"] == panel], drawn[drawn["panel"] == panel]
            for (_, _, _, label, group), part in own.groupby(["family", "depth", "width", "label", "group"]):
                marker = "osD^v<>Pph"[networks.index(str(label)) % 10]
                name = f"{plain(str(label))}, {plain(str(group))}, {epochs_of(rows)}"
                line(axes, part, "weight_decay", colours[str(group)], marker, name)
            axes.set_xscale("symlog", linthresh=smallest, linscale=0.5)
            axes.xaxis.set_major_locator(FixedLocator(sorted(own["weight_decay"].unique())))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.set_xlabel("weight decay of what trains")
            percent(axes, accuracy_of(rows))
            title(axes, panel)
        arrange(figure, grid)
    caption = f"Accuracy against weight decay, 0 at the left end. {made(drawn, stats['n'])}{left}"
    return Drawing(figure, caption, table.drop(columns="panel"))


def _random_count(group: str) -> float:
    found = re.fullmatch(r"random:(\d{1,7})", group)
    return float(found[1]) if found else float("nan")
