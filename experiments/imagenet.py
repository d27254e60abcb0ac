"""What does bn alone reach on ImageNet, and what does the output layer add?

    bnonly experiment run imagenet --preset paper --set data.path=IMAGENET --set training.devices=8

The smoke preset makes a few pictures of coloured shapes and runs the same path on them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.grid import By, Experiment

_SIZE = 32  # pixels, of the pictures of the smoke preset


def _made(out: Path) -> Path:
    return out / "imagenet" / "pictures"


def _located(preset: str, out: Path) -> Mapping[str, Any]:
    if preset != "smoke":
        return {}
    return {"data.source": "imagenet", "data.path": _made(out), "data.size": _SIZE, "data.workers": 0}


def _prepare(preset: str, out: Path) -> None:
    if preset == "smoke":
        from experiments.pictures import make_folders

        make_folders(_made(out), size=_SIZE)


EXPERIMENT = Experiment(
    question="What top-1 and top-5 do bn, bn+output and all reach on ImageNet, over depth?",
    axes={
        "seed": By(smoke=[0], cpu=[0], paper=range(3)),
        "network.name": By(
            smoke=["resnet18"],
            cpu=["resnet18"],
            paper=[f"resnet{depth}" for depth in (18, 34, 50, 101, 200)],
        ),
        "group": ["bn", "bn+output", "all"],
    },
    fields={"data.source": "imagenet"},
    presets={"paper": "imagenet", "gpu": "imagenet"},
    located=_located,
    prepare=_prepare,
    figures=("accuracy_by_depth", "learning_curves"),
    expect=(
        "bn alone: 32 % top-5 at the deepest network [V]; with the output layer about 25 points more by the slides "
        "the project began with; all trained: ResNet-50 at 76.1 % top-1 with this recipe [V]."
    ),
)
