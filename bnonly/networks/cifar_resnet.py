"""CIFAR ResNets of depth 6n+2 and their wide kin, as in Frankle et al. (ICLR 2021), section 3 and table 1.

And the same networks with GroupNorm or LayerNorm in BatchNorm's places: names, shapes and plan stay.
"""

from __future__ import annotations

from bnonly.networks.antialias import Antialias
from bnonly.networks.parts import BatchNorm2d, Conv2d, GroupNorm
from bnonly.networks.residual import BasicBlock, ResNet


def cifar_resnet(
    depth: int, factor: int = 1, width: int = 16, classes: int = 10, antialias: Antialias = "none"
) -> ResNet:
    """Three stages of (depth-2)/6 basic blocks, 3x3 stem without pooling.

    The stages' channels are 1, 2 and 4 times factor * width, of which the paper varies the factor.
    """
    channels = width * factor
    stem = Conv2d(3, channels, 3, 1, 1, bias=False)
    return ResNet(BasicBlock, ((depth - 2) // 6,) * 3, channels, classes, stem, antialias=antialias)


GROUPS = 8
"""Of GroupNorm; the first stage's 16 channels are 8 groups of 2."""


def cifar_resnet_gn(depth: int, classes: int = 10, antialias: Antialias = "none") -> ResNet:
    """`cifar_resnet` with GroupNorm (Wu and He, ECCV 2018) of 8 groups in place of BatchNorm."""
    return _group_normalised(cifar_resnet(depth, classes=classes, antialias=antialias), GROUPS)


def cifar_resnet_ln(depth: int, classes: int = 10, antialias: Antialias = "none") -> ResNet:
    """`cifar_resnet` with LayerNorm in place of BatchNorm: mean and variance of one image's channels and positions
    together, gamma and beta by channel, which is GroupNorm of one group."""
    return _group_normalised(cifar_resnet(depth, classes=classes, antialias=antialias), 1)


def _group_normalised(net: ResNet, groups: int) -> ResNet:
    for path, layer in list(net.named_modules()):
        if isinstance(layer, BatchNorm2d):
            net.set_submodule(path, GroupNorm(groups, layer.num_features))
    return net
