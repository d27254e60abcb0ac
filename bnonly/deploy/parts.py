"""The small modules that a compacted network is made of, beside convolutions, pools and linear layers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bnonly.deploy.window import Windows


def _fixed(values: Tensor) -> nn.Parameter:
    return nn.Parameter(values, requires_grad=False)


def _along(values: Tensor, x: Tensor) -> Tensor:
    """Values by channel, in the shape in which they meet x [N, channels, ...]."""
    return values.view(1, -1, *[1] * (x.dim() - 2))


class Affine(nn.Module):
    """scale * x + shift, by channel: a BatchNorm that no convolution stands before."""

    def __init__(self, scale: Tensor, shift: Tensor) -> None:
        super().__init__()
        self.scale, self.shift = _fixed(scale), _fixed(shift)

    def forward(self, x: Tensor) -> Tensor:
        return x * _along(self.scale, x) + _along(self.shift, x)


class Shift(nn.Module):
    """x + shift, by channel."""

    def __init__(self, shift: Tensor) -> None:
        super().__init__()
        self.shift = _fixed(shift)

    def forward(self, x: Tensor) -> Tensor:
        return x + _along(self.shift, x)


class Rows(nn.Module):
    """The channels at these places, int64 [K]: [N, channels, ...] -> [N, K, ...]."""

    places: Tensor

    def __init__(self, places: Tensor) -> None:
        super().__init__()
        self.register_buffer("places", places)

    def forward(self, x: Tensor) -> Tensor:
        return x.index_select(1, self.places)


class Extend(nn.Module):
    """Constant channels behind x; then, if `order` is given, channels of the two in that order, int64 [channels]."""

    order: Tensor | None

    def __init__(self, values: Tensor, order: Tensor | None = None) -> None:
        super().__init__()
        self.values = _fixed(values)
        self.register_buffer("order", order)

    @staticmethod
    def between(some: Tensor, more: Tensor, values: Tensor) -> Extend:
        """From channels `some` to `more`, both ascending int64; the missing ones have their `values`, [more]."""
        missing = ~torch.isin(more, some)
        order = torch.empty_like(more)
        order[~missing] = torch.arange(len(some))
        distinct, which = values[missing].unique(return_inverse=True)
        order[missing] = len(some) + which
        return Extend(distinct, order)

    def forward(self, x: Tensor) -> Tensor:
        constant = _along(self.values, x).expand(x.shape[0], -1, *x.shape[2:])
        whole = torch.cat([x, constant], 1)
        return whole if self.order is None else whole.index_select(1, self.order)


class Constant(nn.Module):
    """Images [N, 3, H, W] -> the values, one a channel, at every place of what the windows leave of H and W.

    windows: None for [N, channels].
    """

    def __init__(self, values: Tensor, windows: Windows | None) -> None:
        super().__init__()
        self.values, self.windows = _fixed(values), windows

    def forward(self, images: Tensor) -> Tensor:
        if self.windows is None:
            return self.values.expand(images.shape[0], -1)
        size = (images.shape[2], images.shape[3])
        for window in self.windows:
            size = window.after(size)
        return self.values.view(1, -1, 1, 1).expand(images.shape[0], -1, *size)


class Mean(nn.Module):
    """The mean over space: [N, channels, H, W] -> [N, channels], or [N, channels, 1, 1]."""

    def __init__(self, keepdim: bool) -> None:
        super().__init__()
        self.keepdim = keepdim

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3), keepdim=self.keepdim)
