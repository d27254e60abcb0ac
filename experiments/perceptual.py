"""Does a loss in a random network's features help where every pixel is predicted, and what must that network be like?

    bnonly experiment run perceptual --preset cpu

After Liu et al., Generic Perceptual Loss (CVPR 2021), in small: x4 super-resolution of photographs' patches, and
segmentation and depth of composed scenes, with the loss by pixel alone, and with a perceptual loss of a random VGG-19
(or a pretrained one, where torchvision's file lies in torch's cache) beside it; a tenth of it, and ten times as much,
too, since what is right for the paper's tasks is not known. Of segmentation also the grids of the paper's tables:
initialisation, structure, kernel size, network. A trial is a seed; its stages are single trainings, each with a file
of its own in the trial's folder. Nothing is downloaded.
"""

from __future__ import annotations

from typing import Any

from experiments.grid import By, Experiment, Stage

TASKS = ("super-resolution", "segmentation", "depth")
VGG19 = (2, 2, 4, 4, 4)

WEIGHTS = ("normal:1", "normal:0.1", "normal:0.01", "uniform:1", "uniform:0.1", "uniform:0.01", "xavier", "he_index")
STRUCTURES = ((1, 1, 1, 1, 1), (1, 1, 2, 2, 2), (2, 2, 2, 2, 2), (2, 2, 3, 3, 3), (3, 3, 4, 4, 4))
KERNELS = (1, 5, 7)  # of the shallowest structure, as 7x7 in VGG-19 would cost more than it shows
AMOUNTS = (0.1, 10.0)  # of the perceptual loss of a random VGG-19, beside 1
NETWORKS = ("resnet18", "vgg19_bn", "cifar_resnet14")


def random(width: int, blocks: tuple[int, ...] = VGG19, **options: Any) -> dict[str, Any]:
    """A plain random VGG as a stage names it."""
    return {"blocks": list(blocks), "width": width, **options}


def losses(width: int) -> list[dict[str, Any]]:
    """Of segmentation: every loss of the grids but a random VGG-19's with He's weights, and none."""
    return [
        *(random(width, weights=weights) for weights in WEIGHTS),
        *(random(width, blocks) for blocks in STRUCTURES),
        *(random(width, (1, 1, 1, 1, 1), kernel=kernel) for kernel in KERNELS),
        *({"network": network} for network in NETWORKS),
    ]


def stages(steps: int, size: int, images: int, width: int, grids: bool) -> tuple[Stage, ...]:
    common = {"steps": steps, "size": size, "images": images, "batch": 8}
    asked: list[tuple[str, dict[str, Any], float]] = [
        (task, loss, 1.0) for task in TASKS for loss in ({}, random(width), {"pretrained": "vgg19"})
    ]
    if grids:
        asked += [(task, random(width), amount) for task in TASKS for amount in AMOUNTS]
        asked += [("segmentation", loss, 1.0) for loss in losses(width)]
    return tuple(
        Stage("experiments.perceptual_runs:train", {"task": task, "loss": loss, "amount": amount, **common})
        for task, loss, amount in asked
    )


EXPERIMENT = Experiment(
    question="Does a loss in a random network's features help dense prediction, and in which networks'?",
    axes={"seed": By(smoke=[0], cpu=range(3), paper=range(5))},
    stages=By(
        smoke=stages(3, 16, 8, 4, grids=False),
        cpu=stages(800, 48, 1000, 16, grids=True),
        paper=stages(4000, 64, 4000, 64, grids=True),
    ),
    drawing="perceptual",
    figures=(),
    expect=(
        "Random and pretrained alike, a point or so above the loss by pixel alone; weights of the wrong scale do "
        "harm or diverge; deeper VGGs and larger kernels a little better (Liu et al.; our scenes are far simpler)."
    ),
)
