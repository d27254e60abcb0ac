"""What a perceptual loss adds to the loss by pixel, task by task and network by network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from analysis.figures.drawing import Drawing, NoData, arrange, panels, title
from analysis.figures.style import plain, styled

_TASKS = (
    ("super-resolution", "psnr", "PSNR, dB"),
    ("segmentation", "miou", "mIoU"),
    ("depth", "relative", "mean |error| / depth (less is better)"),
)
_LOSSES = {
    "pixel alone": "pixel alone",
    "amount 0.1": "random vgg19, 0.1",
    "blocks 22444": "random vgg19",
    "amount 10": "random vgg19, 10",
    "pretrained vgg19": "pretrained vgg19",
}
"""Those that all tasks have, with their names in the figure."""
_BESIDE: dict[str, Any] = {"color": "0.4", "linewidth": 0.9, "linestyle": (0, (3, 2))}
_GRIDS = {
    "weights": "initialisation",
    "blocks": "convolutions a stage",
    "kernel": "kernel size",
    "network": "network",
}


def gains(table: pd.DataFrame, grids: pd.DataFrame) -> Drawing:
    """A panel a task, with the losses that all have; then a panel a grid of segmentation.

    table: a row a training, with columns task, loss, seed, steps and the scores. grids: a row a loss, with columns
    grid, loss, gain, gain_sd. Raises NoData.
    """
    if table.empty:
        raise NoData("nothing was trained; `bnonly experiment run perceptual` does it")
    shown = [grid for grid in _GRIDS if (grids.get("grid", pd.Series(dtype=str)) == grid).sum() > 1]
    with styled():
        figure, places = panels(len(_TASKS) + len(shown))
        for axes, (task, score, words) in zip(places, _TASKS, strict=False):
            own = table[table["task"] == task]
            losses = [loss for loss in _LOSSES if (own["loss"] == loss).any()]
            for at, loss in enumerate(losses):
                values = own[own["loss"] == loss][score].astype(float)
                axes.plot([at] * len(values), values, "o", color="#0072b2", markersize=4, alpha=0.6)
                axes.plot([at - 0.2, at + 0.2], [values.mean()] * 2, color="#0072b2", linewidth=1.4)
            if task == "super-resolution" and len(own):
                axes.axhline(float(own["bicubic_psnr"].dropna().mean()), **_BESIDE)
            _ticks(axes, [_LOSSES[loss] for loss in losses], words)
            title(axes, task)
        for axes, grid in zip(places[len(_TASKS) :], shown, strict=True):
            own = grids[grids["grid"] == grid].reset_index(drop=True)
            axes.errorbar(own.index, own["gain"], own["gain_sd"], fmt="o", color="#d55e00", markersize=4, capsize=2)
            axes.axhline(0, **_BESIDE)
            _ticks(axes, [str(loss).removeprefix(f"{grid} ") for loss in own["loss"]], "gain of mIoU")
            title(axes, f"segmentation by {_GRIDS[grid]}")
        arrange(figure, places, below=0.6, left=0.85, legend="none")
    seeds = int(table.groupby(["task", "loss"])["seed"].nunique().max())
    steps = "/".join(str(int(count)) for count in sorted(table["steps"].unique()))
    caption = (
        f"Small networks trained for {steps} steps, {seeds} seed{'s' * (seeds > 1)}. By task: a point a seed, a bar "
        "at the mean; behind random vgg19 what its loss counts beside the pixels', 1 unless said; dashed, bicubic "
        "enlargement. Grids: gain over the loss by pixel alone with the same seed, mean and one sample standard "
        "deviation; a loss without a point diverged."
    )
    return Drawing(figure, caption, table)


def _ticks(axes: Axes, names: Sequence[str], words: str) -> None:
    axes.set_xticks(range(len(names)), [plain(name) for name in names], rotation=30, ha="right", fontsize="small")
    axes.set(ylabel=words, xlim=(-0.5, max(len(names) - 0.5, 0.5)))
