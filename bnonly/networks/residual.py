"""Residual networks, post-activation, as He et al. (CVPR 2016) and Frankle et al. (ICLR 2021) use them.

Every strided or widening shortcut is a 1x1 convolution and a BatchNorm ("option B"). No convolution has a bias.
Anti-aliased blocks (R. Zhang, ICML 2019) have the same parameters: the convolution that was strided takes every
pixel, and a BlurPool subsamples behind its ReLU, just before the next one, and before the shortcut.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn.functional import relu

from bnonly.networks.antialias import Antialias
from bnonly.networks.blur import BlurPool
from bnonly.networks.parts import BatchNorm2d, Conv2d, Linear, twins


class Shortcut(nn.Sequential):
    """1x1 convolution and BatchNorm: what a block adds where its input does not fit its output."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__(Conv2d(inputs, outputs, 1, stride, bias=False), BatchNorm2d(outputs))


class BlurredShortcut(Shortcut):
    """BlurPool, 1x1 convolution of stride 1 and BatchNorm."""

    def __init__(self, inputs: int, outputs: int, stride: int, antialias: Antialias):
        super().__init__(inputs, outputs, 1)
        self.blur = BlurPool(antialias, stride)

    def forward(self, input: Tensor) -> Tensor:
        return self[1](self[0](self.blur(input)))


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


class BlurredBasicBlock(BasicBlock):
    """A strided BasicBlock, anti-aliased: 3x3 - BN - ReLU - BlurPool - 3x3 - BN."""

    def __init__(self, inputs: int, width: int, stride: int, antialias: Antialias):
        super().__init__(inputs, width, 1)
        self.downsample = BlurredShortcut(inputs, width, stride, antialias)
        self.blur = BlurPool(antialias, stride)

    def forward(self, x: Tensor) -> Tensor:
        skip = self.downsample(x)
        x = self.blur(relu(self.bn1(self.conv1(x))))
        return relu(self.bn2(self.conv2(x)) + skip)


class BlurredBottleneck(Bottleneck):
    """A strided Bottleneck, anti-aliased: 1x1 - BN - ReLU - 3x3 - BN - ReLU - BlurPool - 1x1 - BN."""

    def __init__(self, inputs: int, width: int, stride: int, antialias: Antialias):
        super().__init__(inputs, width, 1)
        self.downsample = BlurredShortcut(inputs, width * self.expansion, stride, antialias)
        self.blur = BlurPool(antialias, stride)

    def forward(self, x: Tensor) -> Tensor:
        skip = self.downsample(x)
        x = relu(self.bn1(self.conv1(x)))
        x = self.blur(relu(self.bn2(self.conv2(x))))
        return relu(self.bn3(self.conv3(x)) + skip)


def _strided(
    block: type[BasicBlock] | type[Bottleneck], inputs: int, width: int, antialias: Antialias
) -> BasicBlock | Bottleneck:
    """The first block of a stage that halves the resolution."""
    if antialias == "none":
        return block(inputs, width, 2)
    blurred = BlurredBasicBlock if block is BasicBlock else BlurredBottleneck
    return blurred(inputs, width, 2, antialias)


class ResNet(nn.Module):
    """Stem, stages of blocks (each after the first halves the resolution), mean over space, linear output.

    blocks: blocks a stage. width: of the first stage, doubled at each next one. The parts' names are torchvision's.
    antialias: the filter of the strided blocks; `pool` is given as it is.
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
        antialias: Antialias = "none",
    ):
        super().__init__()
        self.conv1 = stem
        self.bn1 = BatchNorm2d(stem.out_channels)
        self.pool = pool
        widths = [width << stage for stage in range(len(blocks))]
        inputs = [stem.out_channels, *(w * block.expansion for w in widths)]
        self.stages = [f"layer{stage + 1}" for stage in range(len(blocks))]
        for stage, (name, (before, after)) in enumerate(zip(self.stages, pairwise(inputs), strict=True)):
            plain, others = stage == 0, blocks[stage] - 1
            first = block(before, widths[stage], 1) if plain else _strided(block, before, widths[stage], antialias)
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
