"""Accuracy and sparsity of gamma against depth, width and the number of trained parameters, a line a group."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from analysis import published
from analysis.figures.drawing import (
    Drawing,
    NoData,
    accuracy_of,
    arrange,
    decades,
    epochs_of,
    line,
    log_ticks,
    made,
    over_seeds,
    panels,
    papers_line,
    percent,
    pick,
    title,
)
from analysis.figures.style import markers, palette, plain, styled
from analysis.frames import Frames
from analysis.settings import shape, trained_parameters

_FAMILIES = {"cifar_resnet": "", "resnet": "ResNet of ImageNet's kind"}


def accuracy_by_depth(frames: Frames) -> Drawing:
    """Accuracy against depth, width 1, beside the paper's points."""
    return _scaling(frames, "depth", "top1")


def accuracy_by_width(frames: Frames) -> Drawing:
    """Accuracy against the width factor, at the depth that has most widths, beside the paper's points."""
    return _scaling(frames, "width", "top1")


def sparsity_by_depth(frames: Frames) -> Drawing:
    """The share of |gamma| < 0.01 after training, against depth."""
    return _scaling(frames, "depth", "gamma_below_0.01")


def sparsity_by_width(frames: Frames) -> Drawing:
    """The share of |gamma| < 0.01 after training, against the width factor."""
    return _scaling(frames, "width", "gamma_below_0.01")


def accuracy_by_parameters(frames: Frames) -> Drawing:
    """Accuracy against the number of trained parameters, networks of a group joined: by depth, and by width."""
    done = frames.done[frames.done["trained_parameters"] > 0]
    if done.empty:
        raise NoData("no finished run trains anything; `bnonly fit --group bn` makes one")
    by = ["setting", "group", "family", "depth", "width", "label", "trained_parameters"]
    table = over_seeds(done, by, "top1")
    done, elsewhere = _without_decays(done)
    several = _several(done, ["setting", "group"], "trained_parameters")
    counts = several.groupby("setting")["label"].nunique()
    settings, left = pick(counts.index, lambda name: counts[name])
    drawn = several[several["setting"].isin(settings)]
    stats = over_seeds(drawn, by, "top1")
    colours, shapes = palette(drawn["group"].unique()), markers(drawn["group"].unique())
    with styled():
        figure, grid = panels(len(settings))
        for axes, setting in zip(grid, settings, strict=True):
            own, rows = stats[stats["setting"] == setting], drawn[drawn["setting"] == setting]
            ticks = set(own["trained_parameters"])
            for group in _ordered(own):
                part, label = own[own["group"] == group], f"{plain(group)}, {epochs_of(rows)}"
                deep, wide = part[part["width"] == 1], part[part["width"] != 1]
                line(axes, deep if len(deep) else part, "trained_parameters", colours[group], shapes[group], label)
                if len(deep) and len(wide):
                    joined = pd.concat([deep[deep["depth"] == wide["depth"].iloc[0]], wide])
                    line(axes, joined, "trained_parameters", colours[group], shapes[group], "")
                    axes.lines[-1].set_linestyle(":")
            if bool(rows["papers_recipe"].all()):
                ticks |= _papers_parameters(axes, own, colours, shapes)
            decades(axes, ticks, "trained parameters")
            percent(axes, accuracy_of(rows))
            title(axes, setting)
        arrange(figure, grid)
    caption = (
        "Accuracy against the number of parameters that train, a colour and marker a group; networks of one "
        f"width are joined by a line, those of one depth by dots. {_papers_words(drawn)}"
        f"{made(drawn, stats['n'])}{left}{elsewhere}"
    )
    return Drawing(figure, caption, table)


def _scaling(frames: Frames, x: str, value: str) -> Drawing:
    done = frames.done
    known = done[done["depth"].notna() & done[value].notna()]
    if x == "depth":
        known = known[known["width"].fillna(1) == 1].assign(panel=known["family"] + ";" + known["setting"])
    else:
        known = _of_one_depth(known[known["width"].notna()]).assign(
            panel=lambda rows: rows["family"] + ";" + rows["setting"]
        )
    if known.empty or (x == "width" and known["width"].nunique() < 2):
        size = "cifar_resnet32" if x == "depth" else "cifar_wrn14_4"
        raise NoData(f"no finished runs of two {x}s; `bnonly fit --network.name {size} ...` makes one")
    by = ["panel", "setting", "group", "family", "depth", "width", "label"]
    table = over_seeds(known, by, value).drop(columns="panel")
    known, elsewhere = _without_decays(known) if value == "top1" else (known, "")
    known = _several(known, ["panel", "group"], x)
    counts = known["panel"].value_counts()
    chosen, left = pick(counts.index, lambda name: counts[name])
    drawn = known[known["panel"].isin(chosen)]
    stats = over_seeds(drawn, by, value)
    colours, shapes = palette(drawn["group"].unique()), markers(drawn["group"].unique())
    with styled():
        figure, grid = panels(len(chosen))
        for axes, panel in zip(grid, chosen, strict=True):
            own, rows = stats[stats["panel"] == panel], drawn[drawn["panel"] == panel]
            ticks = set(own[x])
            for group in _ordered(own):
                name = f"{plain(group)}, {epochs_of(rows)}"
                line(axes, own[own["group"] == group], x, colours[group], shapes[group], name)
            if value == "top1" and bool(rows["papers_recipe"].all()) and rows["family"].iloc[0] == "cifar_resnet":
                ticks |= _papers(axes, own, x, colours, shapes)
            kind = _FAMILIES.get(str(rows["family"].iloc[0]), str(rows["family"].iloc[0]))
            at_depth = f", depth {rows['depth'].iloc[0]:.0f}" if x == "width" else ""
            log_ticks(axes, ticks, "depth (layers)" if x == "depth" else "width factor")
            percent(axes, accuracy_of(rows) if value == "top1" else "share of |gamma| < 0.01")
            if value != "top1":
                axes.set_ylim(0, min(1.0, max(0.1, 1.25 * (own["mean"] + own["sd"].fillna(0)).max())))
            title(axes, str(rows["setting"].iloc[0]) + at_depth + (f", {kind}" if kind else ""))
        arrange(figure, grid)
    what = {"top1": "Accuracy", "gamma_below_0.01": "Share of channels with |gamma| < 0.01 after training"}[value]
    against = "depth, logarithmic" if x == "depth" else "the width factor, logarithmic"
    paper = _papers_words(drawn) if value == "top1" else ""
    caption = f"{what} against {against}, a line a group. {paper}{made(drawn, stats['n'])}{left}{elsewhere}"
    return Drawing(figure, caption, table)


def _without_decays(rows: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Without runs that differ from others in weight decay alone, which `accuracy_by_decay` draws; and a word on it.

    The recipe's own weight decay stays, or where no run has it the one of most runs.
    """
    alike = rows["decay_group"].isin(("all", ""))
    shown = rows[alike].groupby(["setting_but_decay", "label", "group"])["weight_decay"].transform("nunique") >= 2
    counts = rows["setting"].value_counts()
    kept = {
        but: str(but) if (own == but).any() else min(own, key=lambda name: (-counts[name], name))
        for but, own in rows.groupby("setting_but_decay")["setting"]
    }
    other = shown.reindex(rows.index, fill_value=False) & (rows["setting"] != rows["setting_but_decay"].map(kept))
    left = rows.loc[other, "setting"].nunique()
    words = f" {left} settings that differ" if left > 1 else " A setting that differs"
    return rows[~other], f"{words} in weight decay alone: see the figure of weight decay." if left else ""


def _several(rows: pd.DataFrame, by: list[str], x: str) -> pd.DataFrame:
    """Rows of what has two points or more on the axis; where nothing has, all rows."""
    several = rows.groupby(by)[x].transform("nunique") >= 2
    return rows[several] if several.any() else rows


def _of_one_depth(known: pd.DataFrame) -> pd.DataFrame:
    """Of each family and setting the runs at the depth of which there are most widths."""
    if known.empty:
        return known
    widths = known.groupby(["family", "setting", "depth"])["width"].nunique().reset_index()
    best = widths.sort_values(["width", "depth"], ascending=[False, True]).drop_duplicates(["family", "setting"])
    return known.merge(best[["family", "setting", "depth"]], on=["family", "setting", "depth"])


def _ordered(stats: pd.DataFrame) -> list[str]:
    """Groups, best first, so that a legend stands in the order of the lines."""
    best = stats.groupby("group", observed=True)["mean"].max()
    return sorted(best.index, key=lambda group: (-best[group], group))


def _papers(axes: Axes, own: pd.DataFrame, x: str, colours: dict[str, str], shapes: dict[str, str]) -> set[float]:
    """The paper's points of these groups; where on the axis they are."""
    seen: set[float] = set()
    for group in _ordered(own):
        points = []
        for point in published.CIFAR10:
            form = shape(point.network)
            by_depth = point.network.startswith("cifar_resnet")
            size, alike = (form.depth, True) if x == "depth" else (form.width, form.depth == own["depth"].iloc[0])
            if size and alike and point.group == group and by_depth == (x == "depth"):
                points.append((float(size), point.percent))
        if points:
            xs, percents = zip(*points, strict=True)
            papers_line(axes, xs, percents, colours[group], shapes[group])
            seen |= set(xs)
    return seen


def _papers_parameters(axes: Axes, own: pd.DataFrame, colours: dict[str, str], shapes: dict[str, str]) -> set[float]:
    seen: set[float] = set()
    for group in _ordered(own):
        for prefix in ("cifar_resnet", "cifar_wrn"):
            points = [
                (count, point.percent)
                for point in published.CIFAR10
                if point.group == group and point.network.startswith(prefix)
                if (count := trained_parameters(point.network, group))
            ]
            if points:
                xs, percents = zip(*points, strict=True)
                papers_line(axes, xs, percents, colours[group], shapes[group])
                seen |= set(xs)
    return seen


def _papers_words(drawn: pd.DataFrame) -> str:
    if bool(drawn["papers_recipe"].any()):
        return (
            "Hollow and dashed: the paper's points (Frankle et al., 160 epochs, mean of five runs), digitised from "
            "the figure of arXiv v1 to about half a point [D]. "
        )
    if (drawn["source"] == "cifar10").any():
        return "Without the paper's points, since no run follows its recipe. "
    return ""
