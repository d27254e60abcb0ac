"""Losses in a random network's features, beside the loss by pixel. From the perceptual-DIGEST.json files that the
experiment `perceptual` leaves in its trials' folders, one a training.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

import pandas as pd

from analysis.folders import of_kind
from analysis.neighbours.kept import File, Kept, Made, fields
from analysis.neighbours.shown import Neighbour, Part, Shown, largest, made_on, moments

SLIDES = {
    "pixel alone": 69.60,
    **{
        f"weights {name}": miou for name, miou in (("normal:0.1", 45.6), ("normal:0.01", 68.5), ("uniform:0.1", 51.7))
    },
    **{f"weights {name}": miou for name, miou in (("uniform:0.01", 69.2), ("xavier", 69.8))},
    "blocks 11111": 70.88,
    "blocks 11222": 70.18,
    "blocks 22222": 70.64,
    "blocks 22333": 70.68,
    "blocks 22444": 71.25,
    "blocks 33444": 70.89,
    "kernel 1": 70.71,
    "kernel 3": 70.88,
    "kernel 5": 70.93,
    "kernel 7": 71.16,
    "network resnet18": 70.16,
    "pretrained vgg19": 71.19,
}
"""mIoU in percent of PSPNet-ResNet18 on Cityscapes with a random network's loss: Liu et al. (CVPR 2021) as the slides
this laboratory began with quote them [2nd]; another task than ours, no target. There normal:1 and uniform:1 have no
number."""

_NUMBERS = ("psnr", "ssim", "bicubic_psnr", "bicubic_ssim", "miou", "right", "relative", "rmse")
_ASKED = ("steps", "size", "images", "batch")
_SCORES = {
    "super-resolution": {"psnr": ("PSNR, dB", ".2f", 1), "ssim": ("SSIM", ".3f", 1)},
    "segmentation": {"miou": ("mIoU, %", ".1f", 100), "right": ("pixels right, %", ".1f", 100)},
    "depth": {"relative": ("|error| / depth", ".3f", 1), "rmse": ("rmse", ".3f", 1)},
}
_TASKS = tuple(_SCORES)
_PIXEL, RANDOM, _PRETRAINED = "pixel alone", "blocks 22444", "pretrained vgg19"


class Loss(File):
    """What a loss is; nothing at all: by pixel alone."""

    pretrained: str | None = None
    network: str | None = None
    weights: str | None = None
    kernel: int | None = None
    blocks: tuple[int, ...] = ()
    width: int | None = None


class _Asked(File):
    task: Literal["super-resolution", "segmentation", "depth"]
    loss: Loss
    amount: float
    steps: int
    size: int
    images: int
    batch: int


class Training(Made):
    """Of perceptual-DIGEST.json. unavailable: why it could not be; diverged: at which step the loss overflowed."""

    version: Literal[2]
    run: str
    asked: _Asked
    scores: dict[str, float] | None
    diverged: int | None
    unavailable: str | None


def label(loss: Loss, amount: float = 1.0) -> str:
    """One loss, one label: what sets it apart from a random VGG-19's of He's weights, as much as the pixels'."""
    if amount != 1.0:
        return f"amount {amount:g}"
    if loss.pretrained is not None:
        return f"pretrained {loss.pretrained}"
    if loss.network is not None:
        return f"network {loss.network}"
    if loss.weights is not None:
        return f"weights {loss.weights}"
    if loss.kernel is not None:
        return f"kernel {loss.kernel}"
    return f"blocks {''.join(map(str, loss.blocks))}" if loss.blocks else _PIXEL


def read(trials: Sequence[Kept]) -> pd.DataFrame | None:
    """A row a training, with its loss and its scores."""
    rows = []
    for trial in trials:
        own = (trial.load(name, Training) for name in of_kind("perceptual", trial.files))
        done = (facts for facts in own if facts and facts.run == trial.config.id and facts.unavailable is None)
        rows += [_row(trial, facts) for facts in sorted(done, key=_order)]
    return pd.DataFrame(rows) if rows else None


def _order(facts: Training) -> tuple[Any, ...]:
    """Task by task, the three losses that all have first, then grid by grid, scales falling."""
    name, asked = label(facts.asked.loss, facts.asked.amount), facts.asked
    firsts, grids = (_PIXEL, RANDOM, _PRETRAINED), [grid for grid, *_ in _ALSO]
    grid, _, value = name.partition(" ")
    kind, _, scale = value.partition(":")
    place = firsts.index(name) if name in firsts else 3 + (grids.index(grid) if grid in grids else 9)
    size = float(scale) if re.fullmatch(r"\d+(\.\d+)?", scale) else 0.0
    return (_TASKS.index(asked.task), place, kind, -size, *(getattr(asked, field) for field in _ASKED))


def _row(trial: Kept, facts: Training) -> dict[str, Any]:
    asked, scores = facts.asked, facts.scores or {}
    return {
        "seed": trial.config.seed,
        "task": asked.task,
        "loss": label(asked.loss, asked.amount),
        "amount": asked.amount,
        "width": asked.loss.width,
        **fields(asked, _ASKED),
        **{name: scores.get(name) for name in _NUMBERS},
        "diverged_at": facts.diverged,
        **trial.own_provenance(facts),
    }


# Losses that stand in a grid under another name, as one of its values.
_ALSO = (
    ("amount", RANDOM, "amount 1"),
    ("weights", RANDOM, "weights he"),
    ("blocks", "", ""),
    ("kernel", "blocks 11111", "kernel 3"),
    ("network", RANDOM, "network vgg19"),
)


def grids(table: pd.DataFrame) -> pd.DataFrame:
    """Of segmentation, a row a loss and the grid it stands in; one that stands in several grids has several rows."""
    done = table[table["task"] == "segmentation"]
    pixel = done[done["loss"] == _PIXEL].groupby("seed")["miou"].first()
    done = done.assign(gain=done["miou"].astype(float) - done["seed"].map(pixel).astype(float))
    by_loss = {str(loss): own for loss, own in done.groupby("loss", sort=False)}
    rows = [_of_grid("none", loss, by_loss[loss]) for loss in (_PIXEL, _PRETRAINED) if loss in by_loss]
    for grid, also, name in _ALSO:
        rows += [
            _of_grid(grid, name if loss == also else loss, own, loss)
            for loss, own in by_loss.items()
            if loss.startswith(grid) or loss == also
        ]
    return pd.DataFrame(rows)


def _of_grid(grid: str, name: str, own: pd.DataFrame, loss: str = "") -> dict[str, Any]:
    """Means over seeds. gain: over the loss by pixel alone with the same seed, that is on the same scenes in the same
    order. loss: by which the published number is known, where the grid calls it otherwise.
    """
    miou = own["miou"].astype(float)
    return {
        "grid": grid,
        "loss": name,
        "miou": miou.mean(),
        "sd": miou.std(),
        "gain": own["gain"].mean(),
        "gain_sd": own["gain"].std(),
        "n": int(miou.count()),
        "diverged": int(own["diverged_at"].notna().sum()),
        "slides_miou_percent": SLIDES.get(loss or name, SLIDES.get(name)),
    }


def show(table: pd.DataFrame) -> Shown:
    from analysis.figures.perceptual import gains

    alike, others = largest(table, _ASKED)
    of_grids = grids(alike)
    parts = [Part("Gains over the loss by pixel", "perceptual", gains(alike, of_grids))]
    parts += [
        Part(f"{task[0].upper()}{task[1:]}, by loss", table=_of_task(own, task))
        for task in _TASKS
        if len(own := alike[alike["task"] == task])
    ]
    text = [
        "Small networks for dense prediction, trained with the loss by pixel alone and with one in the features of a "
        "frozen network beside it (after Liu et al., CVPR 2021). The other random networks are named by what sets "
        "them apart from a random VGG-19 with He's weights. Mean ± one sample standard deviation over n seeds.",
        made_on(alike),
        *([others] if others else []),
    ]
    return Shown(parts, {"perceptual": table, "grids": of_grids}, text)


def _of_task(table: pd.DataFrame, task: str) -> pd.DataFrame:
    """A row a loss: its scores, in words."""
    rows = []
    if task == "super-resolution":
        rows.append({"loss": "none: bicubic enlargement"} | _scores(table.head(1), task, "bicubic_") | {"n": ""})
    for loss, own in table.groupby("loss", sort=False):
        name = f"random VGG-19 ({RANDOM})" if loss == RANDOM else loss
        row: dict[str, Any] = {"loss": name} | _scores(own, task) | {"n": str(own["seed"].nunique())}
        if table["diverged_at"].notna().any():
            row["diverged"] = int(own["diverged_at"].notna().sum())
        if task == "segmentation":
            known = SLIDES.get(str(loss))
            row["Liu et al., Cityscapes, mIoU, %"] = "-" if known is None else f"{known:.2f} [2nd]"
        rows.append(row)
    return pd.DataFrame(rows).fillna("")


def _scores(rows: pd.DataFrame, task: str, kind: str = "") -> dict[str, str]:
    return {words: moments(rows[kind + name], form, scale) for name, (words, form, scale) in _SCORES[task].items()}


NEIGHBOUR = Neighbour(
    "perceptual",
    "Perceptual loss in random features",
    ("perceptual", "grids"),
    lambda experiment, files: bool(of_kind("perceptual", files)),
    read,
    show,
)
