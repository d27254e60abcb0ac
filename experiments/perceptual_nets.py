"""The small networks that `perceptual` trains, all weights of them; their initial values come from the seed."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from bnonly.randomness.initialise import initialise
from bnonly.randomness.start import Start


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


class _Residual(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.body = nn.Sequential(
            _conv(width, width), nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class SRResNet(nn.Module):
    """x4 super-resolution (Ledig et al., CVPR 2017), small: residual blocks, two pixel shuffles. A thousandth of what
    they give is added to the picture enlarged bicubically: training begins at that. The last layer sums some 2,600
    features that are not negative, so with a larger part one step of Adam jumps over all that there is to be learned,
    and the features die.
    """

    def __init__(self, width: int = 32, blocks: int = 4):
        super().__init__()
        self.head = nn.Sequential(nn.Conv2d(3, width, 9, 1, 4), nn.ReLU(inplace=True))
        self.body = nn.Sequential(*(_Residual(width) for _ in range(blocks)))
        self.up = nn.Sequential(
            *(
                nn.Sequential(nn.Conv2d(width, 4 * width, 3, 1, 1), nn.PixelShuffle(2), nn.ReLU(inplace=True))
                for _ in range(2)
            )
        )
        self.tail = nn.Conv2d(width, 3, 9, 1, 4)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, H, W] -> [N, 3, 4 H, 4 W], pictures in [0, 1]."""
        y = self.head(x)
        return enlarged(x) + self.tail(self.up(y + self.body(y))) / 1000


def enlarged(x: Tensor) -> Tensor:
    """Four times as many rows and columns, bicubically."""
    return interpolate(x, scale_factor=4, mode="bicubic", align_corners=False)


def reduced(x: Tensor) -> Tensor:
    """A quarter of the rows and columns, bicubically with antialiasing."""
    size = [side // 4 for side in x.shape[-2:]]
    return interpolate(x, size=size, mode="bicubic", antialias=True, align_corners=False)


class Dense(nn.Module):
    """Down three times and up again, with the maps of each size handed across: [N, 3, H, W] -> [N, outputs, H, W]."""

    def __init__(self, outputs: int, width: int = 16):
        super().__init__()
        widths = [width << level for level in range(4)]
        self.first = _conv(3, width)
        self.down = nn.ModuleList(_conv(one, two, 2) for one, two in pairwise(widths))
        self.up = nn.ModuleList(_conv(one + two, one) for one, two in pairwise(widths))
        self.last = nn.Conv2d(width, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        maps = [self.first(x)]
        for layer in self.down:
            maps.append(layer(maps[-1]))
        x = maps.pop()
        for layer in reversed(self.up):
            beside = maps.pop()
            x = layer(torch.cat([beside, interpolate(x, size=beside.shape[-2:], mode="nearest")], 1))
        return self.last(x)


def begun(net: nn.Module, seed: int) -> nn.Module:
    """The network with He's weights of the seed, gamma 1 and beta 0. Build it under torch.device("meta")."""
    net = net.to_empty(device="cpu")
    initialise(net, seed, Start(gamma="ones"))
    return net
