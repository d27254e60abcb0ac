"""Operations with weights: convolution, linear layer, and a BatchNorm that stands alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, fx, nn

from bnonly.deploy.operation import Operation
from bnonly.deploy.parts import Affine
from bnonly.deploy.window import Windows, pair, sliding

if TYPE_CHECKING:
    from bnonly.deploy.build import Build


class Weighted(Operation):
    """A convolution or linear layer and the BatchNorms behind it: scale * (W x) + shift, by channel.

    steady: float64 [channels, taps], the kernel with which the source's constants act, as one channel of ones.
    """

    def __init__(self, name: str, source: Operation, layer: nn.Conv2d | nn.Linear, windows: Windows | None) -> None:
        super().__init__(name, (source,), layer.weight.shape[0], windows)
        self.layer = layer
        self.scale = torch.ones(self.channels, dtype=torch.float64)
        self.shift = torch.zeros_like(self.scale) if layer.bias is None else double(layer.bias)
        self.steady = torch.zeros(self.channels, 0, dtype=torch.float64)

    def fold(self, scale: Tensor, shift: Tensor) -> None:
        """Put a BatchNorm, float64 [channels] each, behind what is here."""
        self.scale, self.shift = self.scale * scale, self.shift * scale + shift

    def absorb(self, shift: Tensor) -> bool:
        self.shift = self.shift + shift
        return True

    def weight(self, rows: Tensor | slice = slice(None)) -> Tensor:
        """The folded weights of these output channels, float64 [rows, inputs, taps] in C order."""
        effective = getattr(self.layer, "effective_weight", None)  # random:K's scalars put in
        weight = double(effective() if effective else self.layer.weight)[rows]
        taps = self.layer.weight[0].numel() // self.inputs
        return weight.reshape(-1, self.inputs, taps) * self.scale[rows].view(-1, 1, 1)

    @property
    def inputs(self) -> int:
        return self.layer.weight.shape[1]

    @property
    def padded(self) -> bool:
        """Whether some taps fall on zeros beside the image."""
        return False

    def settle(self) -> None:
        (source,) = self.sources
        weight = self.weight()
        moved = (weight[:, ~source.constant] != 0).flatten(1).any(1)
        steady = torch.einsum("j,ojt->ot", source.value, weight)
        if self.padded:
            # Near the border some taps meet zeros: constants in make no constant out, unless each tap's sum is 0.
            self.steady = steady
            moved |= (steady != 0).any(1)
        else:
            self.shift = self.shift + steady.sum(1)
        self.are_constant(~moved, self.shift)

    def demand(self) -> None:
        (source,) = self.sources
        source.live |= (self.weight(self.kept) != 0).any(2).any(0)


class Linear(Weighted):
    """A linear layer. Of a flattened image each channel has several features, which count as its taps."""

    layer: nn.Linear

    def __init__(self, name: str, source: Operation, layer: nn.Linear) -> None:
        super().__init__(name, source, layer, None)

    @property
    def inputs(self) -> int:
        return self.sources[0].channels

    def emit(self, build: Build) -> fx.Node:
        (source,) = self.sources
        kept = self.kept
        weight = self.weight(kept)[:, source.kept].flatten(1)
        layer = nn.Linear(weight.shape[1], len(kept), device="meta")
        layer.weight, layer.bias = nn.Parameter(weight), nn.Parameter(self.shift[kept])
        return build.call(self.name, layer, build.rows(source, source.kept))


class Convolution(Weighted):
    """A dense convolution."""

    layer: nn.Conv2d

    def __init__(self, name: str, source: Operation, layer: nn.Conv2d) -> None:
        super().__init__(name, source, layer, (*(source.windows or ()), *sliding(layer)))

    @property
    def padded(self) -> bool:
        padding = (self.layer.padding,) if isinstance(self.layer.padding, str) else self.layer.padding
        return self.layer.padding_mode == "zeros" and not set(padding) <= {0, "valid"}

    def emit(self, build: Build) -> fx.Node:
        (source,) = self.sources
        kept = self.kept
        weight = self.weight(kept)[:, source.kept]
        if self.padded and (self.steady[kept] != 0).any():
            # One channel of ones for all constants: it meets the same zeros at the same borders.
            weight = torch.cat([weight, self.steady[kept, None]], 1)
            before = build.with_ones(source)
        else:
            before = build.rows(source, source.kept)
        return build.call(self.name, self.like(self.layer, weight, self.shift[kept]), before)

    def like(self, layer: nn.Conv2d, weight: Tensor, bias: Tensor) -> nn.Conv2d:
        """A convolution with `layer`'s geometry and these weights, [outputs, inputs, taps]."""
        stride, dilation = pair(layer.stride), pair(layer.dilation)
        padding = layer.padding if isinstance(layer.padding, str) else pair(layer.padding)
        inputs, groups, mode = weight.shape[1] * layer.groups, layer.groups, layer.padding_mode
        made = nn.Conv2d(
            inputs, len(weight), pair(layer.kernel_size), stride, padding, dilation, groups, padding_mode=mode,
            device="meta",
        )  # fmt: skip
        made.weight = nn.Parameter(weight.unflatten(2, layer.kernel_size))
        made.bias = nn.Parameter(bias)
        return made


class Grouped(Convolution):
    """A convolution in groups, which stays whole: constants that come in are written out as channels again."""

    @property
    def kept(self) -> Tensor:
        return torch.arange(self.channels if self.live.any() else 0)

    def settle(self) -> None:
        pass

    def demand(self) -> None:
        self.sources[0].live[:] = len(self.kept) > 0

    def emit(self, build: Build) -> fx.Node:
        return build.call(self.name, self.like(self.layer, self.weight(), self.shift), build.whole(self.sources[0]))


class Norm(Operation):
    """A BatchNorm that cannot go into a convolution before it: scale * x + shift, by channel."""

    def __init__(self, name: str, source: Operation, scale: Tensor, shift: Tensor) -> None:
        super().__init__(name, (source,), source.channels, source.windows)
        self.scale, self.shift = scale, shift

    def settle(self) -> None:
        (source,) = self.sources
        self.are_constant(source.constant | (self.scale == 0), self.scale * source.value + self.shift)

    def emit(self, build: Build) -> fx.Node:
        module = Affine(self.scale[self.kept], self.shift[self.kept])
        return build.call(self.name, module, build.rows(self.sources[0], self.kept))


def folded_norm(layer: nn.modules.batchnorm._BatchNorm) -> tuple[Tensor, Tensor]:
    """scale and shift of a BatchNorm in eval mode, float64 [channels]: scale * x + shift."""
    assert layer.running_mean is not None and layer.running_var is not None
    scale = torch.rsqrt(double(layer.running_var) + layer.eps)
    scale = scale if layer.weight is None else double(layer.weight) * scale
    shift = -double(layer.running_mean) * scale
    return scale, shift if layer.bias is None else shift + double(layer.bias)


def double(values: Tensor) -> Tensor:
    return values.detach().to("cpu", torch.float64)
