"""What came of perceptual losses. Without torch.

perceptual.csv: a row a training, with its loss and its scores. grids.csv: of segmentation, a row a loss: mean and
sample standard deviation of mIoU over seeds, beside the number that the slides this laboratory began with give for
the like of it on Cityscapes: at second hand, another task, no target.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from experiments.grid import Trial
from experiments.perceptual import VGG19
from experiments.perceptual_runs import found
from experiments.tables import own_provenance

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
quote them [2nd]. There normal:1 and uniform:1 have no number."""

_NUMBERS = ("psnr", "ssim", "bicubic_psnr", "bicubic_ssim", "miou", "right", "relative", "rmse")


def files(trials: Sequence[Trial], command: str) -> dict[str, bytes]:
    """The experiment's files by name; none where nothing was trained."""
    from analysis.figures import csv, png, svg
    from analysis.figures.perceptual import gains

    table = pd.DataFrame(row for trial in trials for row in _rows(trial, command))
    if table.empty:
        return {}
    drawing = gains(table, grids(table))
    return {
        "perceptual.csv": csv(table),
        "grids.csv": csv(grids(table)),
        "perceptual.png": png(drawing.figure),
        "perceptual.svg": svg(drawing.figure, drawing.caption).encode(),
    }


def _rows(trial: Trial, command: str) -> list[dict[str, Any]]:
    rows = []
    for stage in trial.stages:
        facts = found(trial.config, trial.folder, stage.options)
        if facts is None or facts["unavailable"] is not None:
            continue
        asked, scores = facts["asked"], facts["scores"] or {}
        rows.append(
            {
                "seed": trial.config.seed,
                "task": asked["task"],
                "loss": label(asked["loss"]),
                "width": asked["loss"].get("width"),
                **{name: asked[name] for name in ("amount", "steps", "size", "images", "batch")},
                **{name: scores.get(name) for name in _NUMBERS},
                "diverged_at": facts["diverged"],
                **own_provenance(trial.config, facts, command),
            }
        )
    return rows


def label(loss: dict[str, Any]) -> str:
    """One loss, one label: what sets it apart from a random VGG-19's of He's weights."""
    if not loss:
        return "pixel alone"
    if "pretrained" in loss:
        return f"pretrained {loss['pretrained']}"
    if "network" in loss:
        return f"network {loss['network']}"
    if "weights" in loss:
        return f"weights {loss['weights']}"
    if "kernel" in loss:
        return f"kernel {loss['kernel']}"
    return f"blocks {''.join(map(str, loss['blocks']))}"


RANDOM = label({"blocks": VGG19})


# Losses that stand in a grid under another name, as one of its values.
_ALSO = (
    ("weights", RANDOM, "weights he"),
    ("blocks", "", ""),
    ("kernel", "blocks 11111", "kernel 3"),
    ("network", RANDOM, "network vgg19"),
)


def grids(table: pd.DataFrame) -> pd.DataFrame:
    """Of segmentation, a row a loss and the grid it stands in; one that stands in several grids has several rows."""
    done = table[table["task"] == "segmentation"]
    by_loss = {str(loss): own for loss, own in done.groupby("loss", sort=False)}
    rows = [_of_grid("none", loss, by_loss[loss]) for loss in ("pixel alone", "pretrained vgg19") if loss in by_loss]
    for grid, also, name in _ALSO:
        rows += [
            _of_grid(grid, name if loss == also else loss, own, loss)
            for loss, own in by_loss.items()
            if loss.startswith(grid) or loss == also
        ]
    return pd.DataFrame(rows)


def _of_grid(grid: str, name: str, own: pd.DataFrame, loss: str = "") -> dict[str, Any]:
    """Means over seeds; loss: by which the published number is known, where the grid calls it otherwise."""
    miou = own["miou"].astype(float)
    return {
        "grid": grid,
        "loss": name,
        "miou": miou.mean(),
        "sd": miou.std(),
        "n": int(miou.count()),
        "diverged": int(own["diverged_at"].notna().sum()),
        "slides_miou_percent": SLIDES.get(loss or name, SLIDES.get(name)),
    }
