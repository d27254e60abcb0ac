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
from experiments.tables import provenance

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
                **provenance(trial.config, facts, command),
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


def grids(table: pd.DataFrame) -> pd.DataFrame:
    """Of segmentation, a row a loss and the grid it stands in; one that stands in several grids has several rows."""
    done = table[table["task"] == "segmentation"]
    stats = done.groupby("loss", sort=False)["miou"].agg(["mean", "std", "count"])
    rows = []
    for grid, also in (("weights", RANDOM), ("blocks", None), ("kernel", "blocks 11111"), ("network", RANDOM)):
        for loss, row in stats.iterrows():
            if not (str(loss).startswith(grid) or loss == also):
                continue
            name = f"{grid} {'he' if grid == 'weights' else 'vgg19' if grid == 'network' else 3}"
            name = name if loss == also else str(loss)
            rows.append(
                {
                    "grid": grid,
                    "loss": name,
                    "miou": row["mean"],
                    "sd": row["std"],
                    "n": int(row["count"]),
                    "diverged": int(done[done["loss"] == loss]["diverged_at"].notna().sum()),
                    "slides_miou_percent": SLIDES.get(str(loss) if loss == also else name),
                }
            )
    for loss in ("pixel alone", "pretrained vgg19"):
        if loss in stats.index:
            row = stats.loc[loss]
            rows.append(
                {
                    "grid": "none",
                    "loss": loss,
                    "miou": row["mean"],
                    "sd": row["std"],
                    "n": int(row["count"]),
                    "diverged": 0,
                    "slides_miou_percent": SLIDES.get(loss),
                }
            )
    return pd.DataFrame(rows)
