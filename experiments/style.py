"""Can a random network transfer style, and do residual connections stand in the way until softmax smooths them?

    bnonly experiment run style --preset cpu

After Wang, Li and Vasconcelos (CVPR 2021), with random weights alone: plain VGGs, and ResNets with and without the
additions of their blocks, their BatchNorms doing nothing (as torch begins) or settled on the two pictures; features
as they are, or smoothed by one softmax a layer. Of each the maximum and entropy of activations and Gram matrices by
layer, and a painting: sheet.png holds those of the first seed. A trial is a seed; nothing is downloaded.
"""

from __future__ import annotations

from itertools import product
from typing import Any

from experiments.grid import By, Experiment, Stage

Kind = tuple[str, bool, bool]
"""Network, whether residual, whether settled."""

_RESNETS = [("resnet18", residual, settled) for residual, settled in product((True, False), (True, False))]
_DEEP = [("resnet50", residual, settled) for residual, settled in product((True, False), (True, False))]
_VGGS = [("vgg19", True, False), ("vgg19_bn", True, True)]


def stages(kinds: list[Kind], size: int, steps: int) -> tuple[Stage, ...]:
    asked: list[dict[str, Any]] = [
        {"network": network, "residual": residual, "settled": settled, "smooth": smooth, "size": size, "steps": steps}
        for (network, residual, settled), smooth in product(kinds, (False, True))
    ]
    return tuple(Stage("experiments.style_runs:look", options) for options in asked)


EXPERIMENT = Experiment(
    question="Do random networks transfer style, and residual ones only with smoothed features?",
    axes={"seed": By(smoke=[0], cpu=range(3), paper=range(5))},
    stages=By(
        smoke=stages([("vgg11", True, False), ("resnet18", True, True)], 64, 2),
        cpu=stages([*_VGGS, *_RESNETS, *_DEEP], 128, 100),
        paper=stages([*_VGGS, *_RESNETS, *_DEEP], 512, 500),
    ),
    drawing="style",
    figures=(),
    expect=(
        "With additions, maxima rise and entropies fall with depth; without, and in VGGs, not [2nd]. Softmax raises "
        "entropies where activations are small; where they exceed 1 by far it must lower them."
    ),
)
