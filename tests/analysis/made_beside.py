"""Files of the neighbours in run folders, with made-up numbers: nothing is trained, no torch imported."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from bnonly.config import RunConfig
from tests.analysis.made import ENVIRONMENT, config, write_run

SCORES = {
    "super-resolution": {"psnr": 25.0, "ssim": 0.8, "bicubic_psnr": 24.0, "bicubic_ssim": 0.7},
    "segmentation": {"miou": 0.5, "right": 0.75},
    "depth": {"relative": 0.2, "rmse": 1.5},
}


def write_shift(path: Path, run: RunConfig, consistency: float, *, look: bool = True) -> None:
    """shift.json of shifts up to 1 pixel, and similarity.json of 3 x 3 places, into a finished run's folder."""
    mean = {"mean": consistency, "se": 0.01}
    grid = [[0.1, 0.2, 0.3], [0.4, 0.5, 0.6], [0.7, 0.8, 0.9]]
    facts: dict[str, Any] = {"version": 1, "run": run.id, "environment": ENVIRONMENT, "images": 360}
    facts |= {"asked": {"border": "circular", "most": 1, "pairs": 0, "seed": 0, "images": None}, "unmoved": 0.5}
    facts |= {"offsets": [-1, 0, 1], "right": grid, "by_shift": grid, "examples": [grid, grid]}
    facts |= dict.fromkeys(("consistency", "distinct", "top1", "spread"), mean)
    (path / "shift.json").write_text(json.dumps(facts))
    layer = {"anchors": ["top left", "centre"], "maps": [grid, grid], "mean": [0.5, 0.6], "sd": [0.1, None]}
    layer |= {"rows": 0.9, "columns": 0.7, "unconverged": 0}
    study = {"version": 1, "run": run.id, "objects": 10, "side": 16, "patch": 8, "stride": 4}
    if look:
        (path / "similarity.json").write_text(json.dumps(study | {"layers": {"logits": layer}}))


def write_norm_only(out: Path) -> list[RunConfig]:
    """Two networks, two groups, two rates on images held out, the first of which is best, and each one's final."""
    runs = []
    for network in ("cifar_resnet8_ln", "cifar_resnet8"):
        for group in ("norm", "all"):
            for rate, held, top1 in ((0.1, 300, 0.4), (0.3, 300, 0.3), (0.1, 0, 0.45)):
                training = {"lr": rate, "schedule": "cosine"}
                run = config(out, network, group, experiment="norm_only", training=training, data={"holdout": held})
                write_run(run, top1=top1, gammas=False)
                runs.append(run)
    return runs


def write_perceptual(out: Path, *, steps: int = 3, losses: tuple[dict[str, Any], ...] | None = None) -> Path:
    """A trial that trained every task by pixel alone and with a random VGG-19's loss beside it."""
    run, losses = (
        config(out, "cifar_resnet14", "bn", experiment="perceptual"),
        losses or ({}, {"blocks": [2, 2, 4, 4, 4]}),
    )
    for task, scores in SCORES.items():
        for loss in losses:
            asked = {"task": task, "loss": loss, "steps": steps, "size": 16, "images": 8, "batch": 8, "amount": 1.0}
            facts = {"version": 2, "scores": scores, "diverged": None, "unavailable": None, "train_seconds": 0.1}
            path = stage(out, run, "perceptual", asked, facts)
    return path.parent


def write_style(out: Path, networks: tuple[str, ...] = ("vgg11",), painting: bytes | None = None) -> Path:
    """A trial that looked at these networks and painted with each, as they are and smoothed."""
    run = config(out, "cifar_resnet14", "bn", experiment="style")
    row = {"channels": 4, "positions": 16, "max": 2.0, "entropy": 0.9, "gram_max": 0.3, "gram_entropy": 0.8}
    for network in networks:
        for smooth in (False, True):
            asked = {"network": network, "residual": True, "settled": False, "smooth": smooth, "size": 8, "steps": 2}
            rows = [{"layer": name} | row for name in ("relu1_1", "relu2_1")]
            path = stage(out, run, "style", asked, {"statistics": rows, "losses": [2.0, 1.0], "train_seconds": 0.1})
            path.with_suffix(".png").write_bytes(png(smooth) if painting is None else painting)
    return path.parent


def stage(out: Path, run: RunConfig, kind: str, asked: dict[str, Any], facts: dict[str, Any]) -> Path:
    name = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:10]
    path = out / run.experiment / run.id / f"{kind}-{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = {"version": 1, "run": run.id, "asked": asked, "config": run.plain(), "environment": ENVIRONMENT}
    path.write_text(json.dumps(whole | facts))
    return path


def png(bright: bool, said: str = "") -> bytes:
    """A small picture, and a text that its file carries."""
    file, info = io.BytesIO(), PngInfo()
    info.add_text("Comment", said)
    Image.fromarray(np.full((8, 8, 3), 200 if bright else 50, np.uint8)).save(file, "PNG", pnginfo=info)
    return file.getvalue()
