"""ImageNet ResNets (He et al., CVPR 2016); 200 is the depth the paper adds. Stride sits in the 3x3 convolution."""

from __future__ import annotations

from torch import nn

from bnonly.networks.residual import BasicBlock, Bottleneck, ResNet

BLOCKS = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
    152: (Bottleneck, (3, 8, 36, 3)),
    200: (Bottleneck, (3, 24, 36, 3)),
}


def imagenet_resnet(depth: int, classes: int = 1000) -> ResNet:
    """Four stages of width 64 to 512, 7x7 stem of stride 2, 3x3 max-pool of stride 2."""
    block, blocks = BLOCKS[depth]
    stem = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
    return ResNet(block, blocks, 64, classes, stem, nn.MaxPool2d(3, 2, 1))
