"""Blur, then subsample: what an anti-aliased network does where a plain one only subsamples.

R. Zhang, "Making Convolutional Networks Shift-Invariant Again" (ICML 2019), written from the paper's description.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d

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
        rows, columns = (self.matrix(length).to(x.dtype) for length in x.shape[2:])
        if x.is_contiguous() or not x.is_contiguous(memory_format=torch.channels_last):
            return rows @ (x @ columns.t())
        many, channels, height, width = x.shape
        x = rows @ x.permute(0, 2, 3, 1).reshape(many, height, width * channels)
        x = columns @ x.reshape(many * len(rows), width, channels)
        return x.reshape(many, len(rows), len(columns), channels).permute(0, 3, 1, 2)

    def matrix(self, length: int) -> Tensor:
        """Filter, border and stride in one direction: [ceil(length / stride), length], float32.

        Its products take several times less than padding and a convolution of channels one by one, and their
        gradients are added up in a fixed order on every device.
        """
        size, device = len(self.taps), self.taps.device
        places = torch.arange(0, length, self.stride, device=device).view(-1, 1)
        places = places + torch.arange(size, device=device) - (size - 1) // 2
        period = max(1, 2 * (length - 1))
        places = places % period
        places = torch.minimum(places, period - places).unsqueeze(-1)
        return (self.taps.view(-1, 1) * (places == torch.arange(length, device=device))).sum(1)


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
