"""How operations change the number of pixels, so that a constant image can be made of the size that is due."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn

Size = tuple[int, int]
"""Rows and columns."""


@dataclass(frozen=True)
class Sliding:
    """A window that slides over the rows and columns, as a convolution's or a pool's.

    ceil: a last one that hangs over the edge counts too, if it begins before it. One pixel is always left: torch
    refuses what would leave none, and `EveryMaximum` takes less there.
    """

    kernel: Size
    stride: Size
    padding: Size
    dilation: Size
    ceil: bool = False

    def after(self, size: Size) -> Size:
        rows, columns = map(self._after, size, self.kernel, self.stride, self.padding, self.dilation)
        return rows, columns

    def _after(self, length: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
        room = length + 2 * padding - dilation * (kernel - 1) - 1
        steps = -(-room // stride) if self.ceil else room // stride
        return max(1, steps + (not self.ceil or steps * stride < length + padding))


@dataclass(frozen=True)
class Fixed:
    """Always so many."""

    size: Size

    def after(self, size: Size) -> Size:
        return self.size


Windows = tuple[Sliding | Fixed, ...]
"""One after another, from the images on."""


def sliding(layer: nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d) -> Windows:
    """The layer's window; nothing where it keeps every size."""
    if layer.padding == "same":
        return ()
    padding = (0, 0) if layer.padding == "valid" else layer.padding
    stride = layer.kernel_size if layer.stride is None else layer.stride
    parts = (layer.kernel_size, stride, padding, getattr(layer, "dilation", 1))
    found = Sliding(*map(pair, parts), ceil=bool(getattr(layer, "ceil_mode", False)))
    return () if all(found.after((length, length)) == (length, length) for length in (32, 33)) else (found,)


def subsampling(stride: int) -> Windows:
    """Every `stride`-th row and column, from the first on."""
    return (Sliding((1, 1), (stride, stride), (0, 0), (1, 1)),)


def pair(value: object) -> Size:
    """What torch takes for both directions at once, or for each."""
    if isinstance(value, Iterable):
        rows, columns = value
        return int(rows), int(columns)
    assert isinstance(value, int)
    return value, value
