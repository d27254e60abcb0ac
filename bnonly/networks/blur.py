"""Blur, then subsample: what an anti-aliased network does where a plain one only subsamples.

R. Zhang, "Making Convolutional Networks Shift-Invariant Again" (ICML 2019), written from the paper's description.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, max_pool2d

from bnonly.networks.antialias import TAPS, Antialias


class BlurPool(nn.Module):
    """A fixed filter on every channel by itself, and of its results each `stride`-th. Nothing in it trains.

    filter: "rect2", "tri3" or "bin5"; the outer product of its taps with themselves, of sum 1. Borders are reflected
    (without the border pixel itself), a map of a single row or column repeated. [N, C, H, W] -> [N, C,
    ceil(H / stride), ceil(W / stride)]: the size that a convolution of odd kernel, half of it padding, leaves. A
    filter of even length has its centre half a pixel behind.
    The taps are a buffer outside the state_dict, so that files and counts are those of a plain network.
    """

    taps: Tensor

    def __init__(self, filter: Antialias, stride: int = 2):
        super().__init__()
        self.filter, self.stride = filter, stride
        taps = torch.tensor(TAPS[filter], dtype=torch.float32, device="cpu")  # powers of two: exact in any precision
        self.register_buffer("taps", taps / taps.sum(), persistent=False)

    def extra_repr(self) -> str:
        return f"{self.filter}, stride={self.stride}"

    def forward(self, x: Tensor) -> Tensor:
        channels, size = x.shape[1], len(self.taps)
        before, after = (size - 1) // 2, size // 2
        taps, stride = self.taps.to(x.dtype), self.stride
        x = _reflected(_reflected(x, before, after, 2), before, after, 3)
        # One direction after the other takes fewer operations, and torch's kernels for it are quicker.
        x = conv2d(x, taps.view(1, 1, -1, 1).expand(channels, 1, -1, 1), stride=(stride, 1), groups=channels)
        return conv2d(x, taps.view(1, 1, 1, -1).expand(channels, 1, 1, -1), stride=(1, stride), groups=channels)


class EveryMaximum(nn.MaxPool2d):
    """The maximum of each 2x2 pixels, one beside another; of each two where the map is a single row or column.

    [N, C, H, W] -> [N, C, max(1, H - 1), max(1, W - 1)].
    """

    def __init__(self):
        super().__init__(2, 1)

    def forward(self, input: Tensor) -> Tensor:
        return max_pool2d(input, [min(2, length) for length in input.shape[2:]], 1)


def max_blur_pool(filter: Antialias) -> nn.Sequential:
    """In an anti-aliased network's place of a max-pool of stride 2: the maximum at every place, then the filter."""
    return nn.Sequential(EveryMaximum(), BlurPool(filter))


def _reflected(x: Tensor, before: int, after: int, dim: int) -> Tensor:
    """[N, C, H, W] with so many more rows (dim 2) or columns (dim 3), in steps where the map is smaller.

    Of slices: the gradient of torch's own padding is added up in no fixed order on CUDA.
    """
    while before or after:
        last = x.shape[dim] - 1
        if not last:
            return torch.cat([x] * (1 + before + after), dim)
        low, high = min(before, last), min(after, last)
        parts = [x.narrow(dim, 1, low).flip(dim)] if low else []
        parts += [x, *([x.narrow(dim, last - high, high).flip(dim)] if high else [])]
        x, before, after = torch.cat(parts, dim), before - low, after - high
    return x
