"""Residual networks, post-activation, as He et al. (CVPR 2016) and Frankle et al. (ICLR 2021) use them.

Every strided or widening shortcut is a 1x1 convolution and a BatchNorm ("option B"). No convolution has a bias.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn.functional import relu

from bnonly.networks.parts import BatchNorm2d, Conv2d, Linear, twins


class Shortcut(nn.Sequential):
    """1x1 convolution and BatchNorm: what a block adds where its input does not fit its output."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__(Conv2d(inputs, outputs, 1, stride, bias=False), BatchNorm2d(outputs))


def _shortcut(inputs: int, outputs: int, stride: int) -> Shortcut | None:
    return Shortcut(inputs, outputs, stride) if stride != 1 or inputs != outputs else None


class BasicBlock(nn.Module):
    """3x3 - BN - ReLU - 3x3 - BN, plus the shortcut, ReLU. [N, inputs, H, W] -> [N, width, H/stride, W/stride]."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int):
        super().__init__()
        self.conv1 = Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.bn1 = BatchNorm2d(width)
        self.conv2 = Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = BatchNorm2d(width)
        self.downsample = _shortcut(inputs, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        skip = x if self.downsample is None else self.downsample(x)
        x = relu(self.bn1(self.conv1(x)))
        return relu(self.bn2(self.conv2(x)) + skip)


class Bottleneck(nn.Module):
    """1x1 - BN - ReLU - 3x3 (strided) - BN - ReLU - 1x1 to four times the width - BN, plus the shortcut, ReLU."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int):
        super().__init__()
        outputs = width * self.expansion
        self.conv1 = Conv2d(inputs, width, 1, bias=False)
        self.bn1 = BatchNorm2d(width)
        self.conv2 = Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = BatchNorm2d(width)
        self.conv3 = Conv2d(width, outputs, 1, bias=False)
        self.bn3 = BatchNorm2d(outputs)
        self.downsample = _shortcut(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        skip = x if self.downsample is None else self.downsample(x)
        x = relu(self.bn1(self.conv1(x)))
        x = relu(self.bn2(self.conv2(x)))
        return relu(self.bn3(self.conv3(x)) + skip)


class ResNet(nn.Module):
    """Stem, stages of blocks (each after the first halves the resolution), mean over space, linear output.

    blocks: blocks a stage. width: of the first stage, doubled at each next one. The parts' names are torchvision's.
    `roles` declares which parts are the output layer and the shortcuts' convolutions.
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        blocks: tuple[int, ...],
        width: int,
        classes: int,
        stem: Conv2d,
        pool: nn.Module | None = None,
    ):
        super().__init__()
        self.conv1 = stem
        self.bn1 = BatchNorm2d(stem.out_channels)
        self.pool = pool
        widths = [width << stage for stage in range(len(blocks))]
        inputs = [stem.out_channels, *(w * block.expansion for w in widths)]
        self.stages = [f"layer{stage + 1}" for stage in range(len(blocks))]
        for stage, (name, (before, after)) in enumerate(zip(self.stages, pairwise(inputs), strict=True)):
            first, others = block(before, widths[stage], 1 if stage == 0 else 2), blocks[stage] - 1
            rest = twins(block(after, widths[stage], 1), others) if others else []
            self.add_module(name, nn.Sequential(first, *rest))
        self.fc = Linear(inputs[-1], classes)
        shortcuts = [f"{name}.0" for name, part in self.named_modules() if isinstance(part, Shortcut)]
        self.roles = {"output": ["fc"], "shortcut": shortcuts}

    def forward(self, x: Tensor) -> Tensor:
        """Images [N, 3, H, W], normalised -> logits [N, classes]."""
        x = self.begin(x)
        if self.pool is not None:
            x = self.pool(x)
        for name in self.stages:
            x = self.get_submodule(name)(x)
        return self.fc(x.mean((2, 3)))

    def begin(self, x: Tensor) -> Tensor:
        """The stem's convolution, BatchNorm and ReLU."""
        return relu(self.bn1(self.conv1(x)))
