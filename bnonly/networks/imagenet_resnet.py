"""ImageNet ResNets (He et al., CVPR 2016); 200 is the depth the paper adds. Stride sits in the 3x3 convolution."""

from __future__ import annotations

from torch import nn

from bnonly.networks.parts import Conv2d
from bnonly.networks.registry import IMAGENET_STAGES
from bnonly.networks.residual import BasicBlock, Bottleneck, ResNet


def imagenet_resnet(depth: int, classes: int = 1000) -> ResNet:
    """Four stages of width 64 to 512, 7x7 stem of stride 2, 3x3 max-pool of stride 2."""
    expansion, blocks = IMAGENET_STAGES[depth]
    block = BasicBlock if expansion == 1 else Bottleneck
    return ResNet(block, blocks, 64, classes, Conv2d(3, 64, 7, 2, 3, bias=False), nn.MaxPool2d(3, 2, 1))
