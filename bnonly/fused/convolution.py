"""3x3 convolutions by Winograd's algorithm, whose transformed weights are kept until they change.

Stride 1, padding 1, one group, on a CPU, channels in eights. It takes 36 products where the plain sum takes 144
(tile 4), or 16 for 36 (tile 2); see convolution.cpp. The input's gradient is such a convolution too: of the output's
gradient, by weights flipped and transposed.

Pictures are float32, or bfloat16 where that is asked for: products of bfloat16 values, summed in float32, each result
rounded once. That is what a processor's own bfloat16 arithmetic gives, but with a quarter of the products, and so
faster.

Rounding, beside torch's own float32 and as a root mean square: two to four times as much with tile 4, less with
tile 2. What is infinite comes out as no number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Literal
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from bnonly.errors import BadInput
from bnonly.fused.arena import empty
from bnonly.fused.native import Kernel, address, kernels
from bnonly.trainable import ScalarTrained

MOST_CHANNELS = 512  # of which the transformed weights take 38 MB a direction
LEAST_SIZE = 3  # of a picture: smaller ones leave most of a tile empty

Tile = Literal[2, 4]

_LAST = torch.channels_last
_POINTS: dict[Tile, tuple[float, ...]] = {
    2: (0, 1, -1),
    4: (0, 1, -1, 0.5, -2),
}  # and infinity, as in convolution.cpp
_LANES = 8


@dataclass(frozen=True)
class Prepared:
    """A weight [K, C, 3, 3] as it was when it was prepared, transformed for each direction at first use.

    stored: of pictures and results, float32 or bfloat16; the weight is float32, rounded to what is stored.
    """

    weight: Tensor
    tile: Tile
    stored: torch.dtype

    @cached_property
    def ahead(self) -> Tensor:
        return _transformed(self.weight, self.tile, False)

    @cached_property
    def back(self) -> Tensor:
        return _transformed(self.weight, self.tile, True)

    def put(self, positions: Tensor, values: Tensor) -> None:
        """Change scalars, [K, n] of them at these places of their filters; only what they are in is transformed."""
        with torch.no_grad():
            self.weight.view(len(self.weight), -1).scatter_(1, positions, rounded(values.detach(), self.stored))
        channels = positions // 9
        for turned, name in ((False, "ahead"), (True, "back")):
            if (known := self.__dict__.get(name)) is not None:
                _transform(self.weight, self.tile, turned, known, channels)


@dataclass(frozen=True)
class _Known:
    """A module's prepared weight, and by what it is known that it still is the module's."""

    prepared: Prepared
    place: int
    version: int
    others: object | None  # of a ScalarTrained: what all but its scalars was

    def still(self, weight: Tensor) -> bool:
        if (weight.data_ptr(), weight._version) != (self.place, self.version):
            return False
        # torch's fused optimisers change a weight without counting it up.
        return not weight.requires_grad or torch.equal(self.prepared.weight, rounded(weight, self.prepared.stored))

    def but_for_scalars(self, conv: ScalarTrained) -> bool:
        """Whether nothing but a few scalars of the module's has changed."""
        few = 2 * conv.random_positions.shape[1] <= conv.in_channels
        same = conv.others is self.others and conv.weight.data_ptr() == self.place and conv.is_written()
        return few and same and not conv.weight.requires_grad


_PREPARED: WeakKeyDictionary[nn.Module, _Known] = WeakKeyDictionary()


def suits(conv: nn.Conv2d) -> bool:
    """Whether this module is such a convolution; what trains of it, and whether there is a kernel, is not asked."""
    return (
        tuple(conv.kernel_size) == (3, 3)
        and tuple(conv.stride) == tuple(conv.dilation) == (1, 1)
        and conv.padding in ((1, 1), "same")
        and conv.padding_mode == "zeros"
        and conv.groups == 1
        and conv.bias is None
        and _is_fit(conv.weight)
    )


def prepared_for(conv: nn.Conv2d, x: Tensor, size: Sequence[int] | None = None) -> Prepared | None:
    """The module's weight, prepared for x and kept until it changes; None where torch must do the work.

    That is where the module is another, the machine has no kernel, x is smaller than LEAST_SIZE, or `stored_for(x)`
    is None. size: [H, W], if x is not yet what it will be.
    """
    weight, stored = conv.weight, stored_for(x)
    if (
        stored is None
        or x.numel() == 0
        or min(size or x.shape[2:]) < LEAST_SIZE
        or weight.is_inference()
        or not suits(conv)
        or not available()
    ):
        return None
    known = _PREPARED.get(conv)
    if known is not None and known.prepared.stored != stored:
        known = None
    if known is not None and known.still(weight):
        return known.prepared
    others = conv.others if isinstance(conv, ScalarTrained) else None
    if known is not None and isinstance(conv, ScalarTrained) and known.but_for_scalars(conv):
        prepared = known.prepared
        prepared.put(conv.random_positions, conv.random_values)
    else:
        prepared = prepare(weight, stored=stored)
    _PREPARED[conv] = _Known(prepared, weight.data_ptr(), weight._version, others)
    return prepared


def stored_for(x: Tensor) -> torch.dtype | None:
    """float32, or bfloat16 under autocast to it: what these convolutions store for x. None where they are torch's."""
    if x.device.type != "cpu" or x.dtype not in (torch.float32, torch.bfloat16):
        return None
    if not torch.is_autocast_enabled("cpu"):
        return torch.float32 if x.dtype == torch.float32 else None
    return torch.bfloat16 if torch.get_autocast_dtype("cpu") == torch.bfloat16 else None


@cache
def has_bfloat16() -> bool:
    """Whether torch computes bfloat16 convolutions on this processor by its own means, and not element by element."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def rounded(weight: Tensor, stored: torch.dtype) -> Tensor:
    """float32 values as they are when they have been stored."""
    return weight if stored == weight.dtype else weight.to(stored).float()


def available() -> bool:
    """Whether this machine has the kernel: it is built at first use, by a C++ compiler."""
    return _kernel() is not None


def prepare(weight: Tensor, tile: Tile = 4, stored: torch.dtype = torch.float32) -> Prepared:
    """For `forward` and `input_gradient`. Later changes of the weight are not seen.

    weight: float32 [K, C, 3, 3] on a CPU, K and C multiples of 8 up to MOST_CHANNELS. tile: results computed
    together, tile x tile: 4 is faster, 2 rounds less. stored: of pictures and results, float32 or bfloat16.
    Raises BadInput for another weight.
    """
    if not _is_fit(weight):
        raise BadInput(
            f"a weight {list(weight.shape)} of {weight.dtype} on {weight.device} has no such kernel, which takes "
            f"float32 [K, C, 3, 3] on a CPU, K and C multiples of {_LANES} up to {MOST_CHANNELS}; use torch's conv2d"
        )
    with torch.inference_mode(False):  # or scalars could not be put in after an evaluation
        own = rounded(weight.detach(), stored).clone(memory_format=torch.contiguous_format)
    return Prepared(own, tile, stored)


def forward(
    prepared: Prepared,
    x: Tensor,
    *,
    scale: Tensor | None = None,
    shift: Tensor | None = None,
    relu: bool = False,
    sums: Tensor | None = None,
) -> Tensor:
    """conv2d(z, weight, padding=1), z = scale x + shift, or its ReLU; z = x where no scale is given.

    x: [N, C, H, W], of the type it was prepared for; the result [N, K, H, W] lies channels_last. scale and shift:
    float32 [C], so that a BatchNorm in front needs no pass over memory of its own. sums: float64 [2, K], filled with
    the sums over the result and over its squares by channel, as the BatchNorm behind needs them; their order does not
    depend on the number of threads. Raises BadInput where the machine has no kernel, or for tensors of other kinds.
    """
    rows, channels = prepared.weight.shape[:2]
    _check("x", x, (None, channels, None, None), prepared.stored)
    if (scale is None) != (shift is None) or (relu and scale is None):
        raise BadInput("scale and shift go together, and relu needs both: give all of them, or none")
    for name, value in (("scale", scale), ("shift", shift)):
        if value is not None:
            _check(name, value, (channels,))
    if sums is not None:
        _check("sums", sums, (2, rows), torch.float64)
    return _run(prepared.ahead, x, rows, prepared.tile, scale, shift, relu, sums)


def input_gradient(prepared: Prepared, gradient: Tensor) -> Tensor:
    """The gradient [N, C, H, W] for x, of the gradient [N, K, H, W] for the result; both of the type of x.

    With scale and ReLU in `forward`, it is the one for z. Raises BadInput as `forward` does.
    """
    rows, channels = prepared.weight.shape[:2]
    _check("gradient", gradient, (None, rows, None, None), prepared.stored)
    return _run(prepared.back, gradient, channels, prepared.tile)


def _run(
    transformed: Tensor,
    x: Tensor,
    rows: int,
    tile: Tile,
    scale: Tensor | None = None,
    shift: Tensor | None = None,
    relu: bool = False,
    sums: Tensor | None = None,
) -> Tensor:
    kernel = _needed("convolution", x.dtype)
    count, channels, height, width = x.shape
    x = x.detach().contiguous(memory_format=_LAST)
    scale, shift = (None if value is None else value.detach().contiguous() for value in (scale, shift))
    y = empty((count, rows, height, width), x.dtype, x.device)
    kernel(
        x.data_ptr(), transformed.data_ptr(), y.data_ptr(), count, height, width, channels, rows, address(scale),
        address(shift), relu, address(sums), tile, torch.get_num_threads(),
    )  # fmt: skip
    return y


def _kernel(name: str = "convolution", dtype: torch.dtype = torch.float32) -> Kernel | None:
    found = kernels()
    return None if found is None else found.kernel(name, str(dtype).removeprefix("torch."))


def _needed(name: str, dtype: torch.dtype = torch.float32) -> Kernel:
    if (kernel := _kernel(name, dtype)) is None:
        raise BadInput(
            "this machine has no kernel for frozen convolutions: use torch's conv2d, or install a compiler"
        )
    return kernel


def _is_fit(weight: Tensor) -> bool:
    return (
        weight.ndim == 4
        and tuple(weight.shape[2:]) == (3, 3)
        and all(0 < size <= MOST_CHANNELS and size % _LANES == 0 for size in weight.shape[:2])
        and weight.dtype == torch.float32
        and weight.device.type == "cpu"
    )


def _check(name: str, value: Tensor, shape: tuple[int | None, ...], dtype: torch.dtype = torch.float32) -> None:
    fits = len(shape) == value.ndim and all(size in (None, own) for size, own in zip(shape, value.shape, strict=True))
    if (
        not fits
        or value.dtype != dtype
        or value.device.type != "cpu"
        or (name == "sums" and not value.is_contiguous())
    ):
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        raise BadInput(
            f"{name} is {value.dtype} {list(value.shape)} on {value.device}: it must be {dtype} [{wanted}] on a CPU"
        )


def _transformed(weight: Tensor, tile: Tile, turned: bool) -> Tensor:
    """The weight as the kernel reads it (see convolution.cpp), computed in float64 and rounded once.

    turned: that of the input's gradient, flipped and with channels exchanged.
    """
    size, (rows, channels) = tile + 2, reversed(weight.shape[:2]) if turned else weight.shape[:2]
    result = torch.empty(size * size * rows * channels)
    _transform(weight, tile, turned, result)
    return result


def _transform(weight: Tensor, tile: Tile, turned: bool, result: Tensor, channels: Tensor | None = None) -> None:
    """`_transformed` in place: of all filters, or of those that each output channel has for these input channels,
    int64 [K, n]."""
    kernel, matrix = _needed("transform"), _matrix(_POINTS[tile])
    rows, columns = reversed(weight.shape[:2]) if turned else weight.shape[:2]
    count = 0 if channels is None else channels.shape[1]
    kernel(
        address(weight), address(matrix), address(result), rows, columns, len(matrix), turned, address(channels),
        count, torch.get_num_threads(),
    )  # fmt: skip


@cache
def _matrix(points: tuple[float, ...]) -> Tensor:
    """The transform of three weights, [points + 1, 3], float64: their polynomial at each point, over the product of
    the point's distances from the others; at infinity its leading coefficient."""
    rows = []
    for point in points:
        distances = torch.tensor([point - other for other in points if other != point], dtype=torch.float64).prod()
        rows.append(torch.tensor([1, point, point * point], dtype=torch.float64) / distances)
    return torch.stack([*rows, torch.tensor([0, 0, 1], dtype=torch.float64)])
