"""ImageNet ResNets (He et al., CVPR 2016); 200 is the depth the paper adds. Stride sits in the 3x3 convolution."""

from __future__ import annotations

from torch import nn

from bnonly.networks.antialias import Antialias
from bnonly.networks.blur import max_blur_pool
from bnonly.networks.parts import Conv2d
from bnonly.networks.registry import IMAGENET_STAGES
from bnonly.networks.residual import BasicBlock, Bottleneck, ResNet


def imagenet_resnet(depth: int, classes: int = 1000, antialias: Antialias = "none") -> ResNet:
    """Four stages of width 64 to 512, 7x7 stem of stride 2, 3x3 max-pool of stride 2.

    Anti-aliased, the pool is the maximum of 2x2 at every place, then the filter (Zhang's code); the stem stays.
    """
    expansion, blocks = IMAGENET_STAGES[depth]
    block = BasicBlock if expansion == 1 else Bottleneck
    stem = Conv2d(3, 64, 7, 2, 3, bias=False)
    pool = nn.MaxPool2d(3, 2, 1) if antialias == "none" else max_blur_pool(antialias)
    return ResNet(block, blocks, 64, classes, stem, pool, antialias)
