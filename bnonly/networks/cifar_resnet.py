"""CIFAR ResNets of depth 6n+2 and their wide kin, as in Frankle et al. (ICLR 2021), section 3 and table 1."""

from __future__ import annotations

from bnonly.networks.parts import Conv2d
from bnonly.networks.residual import BasicBlock, ResNet


def cifar_resnet(depth: int, factor: int = 1, width: int = 16, classes: int = 10) -> ResNet:
    """Three stages of (depth-2)/6 basic blocks, 3x3 stem without pooling.

    The stages' channels are 1, 2 and 4 times factor * width, of which the paper varies the factor.
    """
    channels = width * factor
    stem = Conv2d(3, channels, 3, 1, 1, bias=False)
    return ResNet(BasicBlock, ((depth - 2) // 6,) * 3, channels, classes, stem)
