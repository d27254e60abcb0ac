"""Values of norm layers to tensors and back: two numbers a channel (folded), or the layer's own (full, affine).

Folded: y = a x + b with a = gamma / sqrt(var + eps), b = beta - mean a: in eval mode the whole function. a is rounded
first, and b is then computed with the rounded a, so that a's error is made good at the channel's own mean.
Codecs: raw, every number; mask, a bit a channel for a != 0 and only those a; rans-1, whole multiples of a fraction of
each layer's standard deviation, range coded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bnonly.errors import BnonlyError
from bnonly.seedfile import rans
from bnonly.seedfile.container import Tensor
from bnonly.seedfile.errors import CorruptFile
from bnonly.seedfile.floats import loaded, rounded, stored

Floats = NDArray[np.float64] | NDArray[np.float32]
Tensors = dict[str, Tensor]

REACH = 5
"""rans-1 codes values up to so many standard deviations of their layer."""

STEPS = tuple(1 << power for power in range(11))
"""Steps a standard deviation that rans-1 may have: R."""


VALUES = {"folded": ("a", "b"), "full": ("weight", "bias", "mean", "var"), "affine": ("weight", "bias")}
"""What each form holds of a channel."""


class OutOfReach(BnonlyError):
    """A value that rans-1 cannot code: the writer takes mask instead."""


@dataclass(frozen=True)
class Coded:
    """What goes into the file, and what a reader will make of it, float32 [channels] each."""

    tensors: Tensors
    values: dict[str, NDArray[np.float32]]


def fold(gamma: Floats, var: Floats, eps: float) -> NDArray[np.float64]:
    """a = gamma / sqrt(var + eps), float64."""
    return gamma.astype(np.float64) / np.sqrt(var.astype(np.float64) + eps)


def encode_folded(
    a: NDArray[np.float64],
    shift: Callable[[NDArray[np.float32]], NDArray[np.float64]],
    sizes: Sequence[int],
    codec: str,
    dtype: str,
    step: int,
    widen: bool = False,
) -> Coded:
    """Two numbers a channel. shift: b of the a that the reader will have. sizes: channels by layer. widen: rans-1
    makes the scale of a layer just so great that it reaches all of its values.

    Raises OutOfReach where rans-1 cannot code a value, BadInput where dtype cannot hold one.
    """
    if codec == "rans-1":
        codes_a, scales_a, near_a = to_grid(a, sizes, step, "a", widen)
        codes_b, scales_b, near_b = to_grid(shift(near_a), sizes, step, "b", widen)
        symbols_a = np.where(codes_a == 0, 0, codes_a + (REACH * step + 1))
        parts = []
        for symbols, size in ((symbols_a, 2 * REACH * step + 2), (codes_b + REACH * step, 2 * REACH * step + 1)):
            parts.append((symbols, rans.frequencies(symbols, size)))
        freq = np.concatenate([freq for _, freq in parts]).astype("<u2")
        codes = rans.encode(parts)
        scales = np.concatenate([scales_a, scales_b]).astype("<f2")
        tensors = {
            "bn.scales": Tensor("F16", scales.shape, scales.tobytes()),
            "bn.freq": Tensor("U16", freq.shape, freq.tobytes()),
            "bn.codes": Tensor("U8", (len(codes),), codes),
        }
        return Coded(tensors, {"a": near_a, "b": near_b})
    near_a = rounded(a, dtype, "bn.a")
    near_b = rounded(shift(near_a), dtype, "bn.b")
    sparse = _masked("bn.a", near_a, dtype) if codec == "mask" else {"bn.a": stored(near_a, dtype)}
    return Coded({**sparse, "bn.b": stored(near_b, dtype)}, {"a": near_a, "b": near_b})


def encode_full(values: dict[str, Floats], codec: str, dtype: str) -> Coded:
    """The layers' own weight, bias and, of full, mean and var. With mask, only weights other than 0 are stored."""
    near = {name: rounded(value, dtype, f"bn.{name}") for name, value in values.items()}
    tensors = {f"bn.{name}": stored(value, dtype) for name, value in near.items()}
    if codec == "mask":
        del tensors["bn.weight"]
        tensors |= _masked("bn.weight", near["weight"], dtype)
    return Coded(tensors, near)


def names(form: str, codec: str) -> set[str]:
    """The tensors of a file of that form and codec."""
    if codec == "rans-1":
        return {"bn.scales", "bn.freq", "bn.codes"}
    return {f"bn.{name}" for name in VALUES[form]} | ({"bn.mask"} if codec == "mask" else set())


def decode(
    tensors: Tensors,
    form: str,
    codec: str,
    dtype: str,
    sizes: Sequence[int],
    step: int,
    lengths: Mapping[str, int] | None = None,
) -> dict[str, NDArray[np.float32]]:
    """a and b, or weight and bias, and of full mean and var, float32 [channels] each. Raises CorruptFile.

    lengths: how many there are of a name, where these are not all channels.
    """
    channels = sum(sizes)
    if codec == "rans-1":
        return _from_grid(tensors, sizes, step)
    first, *others = VALUES[form]
    known = lengths or {}
    values = {name: loaded(tensors[f"bn.{name}"], dtype, known.get(name, channels), f"bn.{name}") for name in others}
    if codec == "mask":
        values[first] = _unmasked(tensors["bn.mask"], tensors[f"bn.{first}"], dtype, channels, f"bn.{first}")
    else:
        values[first] = loaded(tensors[f"bn.{first}"], dtype, channels, f"bn.{first}")
    if form == "full" and (values["var"] < 0).any():
        raise CorruptFile("tensor bn.var", "variances from 0 up", values["var"].min())
    return values


def _masked(name: str, values: NDArray[np.float32], dtype: str) -> Tensors:
    mask = np.packbits(values != 0, bitorder="little")
    return {name: stored(values[values != 0], dtype), "bn.mask": Tensor("U8", mask.shape, mask.tobytes())}


def _unmasked(mask: Tensor, values: Tensor, dtype: str, channels: int, name: str) -> NDArray[np.float32]:
    size = (channels + 7) // 8
    if mask.dtype != "U8" or mask.shape != (size,):
        raise CorruptFile("tensor bn.mask", f"U8 [{size}]", f"{mask.dtype} {list(mask.shape)}")
    bits = np.unpackbits(np.frombuffer(mask.data, np.uint8), bitorder="little")
    if bits[channels:].any():
        raise CorruptFile("tensor bn.mask", f"no bit after the {channels} channels", "one")
    live = bits[:channels].astype(bool)
    there = loaded(values, dtype, int(live.sum()), name)
    if (there == 0).any():
        raise CorruptFile(f"tensor {name}", "numbers other than 0, as the mask says", "0")
    whole = np.zeros(channels, np.float32)
    whole[live] = there
    return whole


def to_grid(
    values: NDArray[np.float64], sizes: Sequence[int], step: int, name: str, widen: bool
) -> tuple[NDArray[np.int64], NDArray[np.float16], NDArray[np.float32]]:
    """Codes, each layer's scale, and the values that codes and scales stand for. Raises OutOfReach; see `_scale`."""
    layers = np.split(values, np.cumsum(sizes)[:-1])
    with np.errstate(over="ignore"):
        scales = np.array([_scale(layer[layer != 0].tolist(), widen) for layer in layers], np.float16)
    spread = np.repeat(scales.astype(np.float64), sizes)
    if not np.isfinite(spread).all() or (np.abs(values) > REACH * spread).any():
        place = int(np.argmax(np.abs(values) - REACH * np.where(np.isfinite(spread), spread, 0)))
        raise OutOfReach(
            f"{name} of channel {place} is {values[place]:.3g}, more than {REACH} standard deviations of its layer "
            f"({spread[place]:.3g})"
        )
    codes = codes_of(values, scales, sizes, step)
    return codes, scales, on_grid(codes, scales, sizes, step)


def codes_of(
    values: NDArray[np.float64], scales: NDArray[np.float16], sizes: Sequence[int], step: int
) -> NDArray[np.int64]:
    """The nearest of each layer's multiples of scale / step; 0 in a layer of scale 0."""
    spread = np.repeat(scales.astype(np.float64), sizes)
    return np.rint(np.divide(values * step, spread, out=np.zeros_like(values), where=spread > 0)).astype(np.int64)


def _scale(values: list[float], widen: bool) -> np.float16:
    """Their standard deviation; where one of them lies beyond REACH of these, their root mean square; where one still
    does and widen is set, the least float16 that reaches it.
    """
    if not values:
        return np.float16(0)
    most = max(map(abs, values))
    deviation = np.float16(_deviation(values, math.fsum(values) / len(values)))
    if most > REACH * float(deviation):
        deviation = np.float16(_deviation(values, 0.0))
    if widen and not (np.isfinite(deviation) and most <= REACH * float(deviation)):
        deviation = np.float16(most / REACH)
        if most > REACH * float(deviation):  # rounded down
            deviation = np.nextafter(deviation, np.float16(np.inf))
    return deviation


def _deviation(values: list[float], centre: float) -> float:
    """Root mean square about a centre, by sums that are exact before they are rounded: the same everywhere."""
    return math.sqrt(math.fsum((value - centre) ** 2 for value in values) / len(values))


def on_grid(
    codes: NDArray[np.int64], scales: NDArray[np.float16], sizes: Sequence[int], step: int
) -> NDArray[np.float32]:
    """The values that codes and scales stand for, float32."""
    units = scales.astype(np.float32) / np.float32(step)
    values = codes.astype(np.float32) * np.repeat(units, sizes)
    return (values + np.float32(0)).astype(np.float32, copy=False)


def _from_grid(tensors: Tensors, sizes: Sequence[int], step: int) -> dict[str, NDArray[np.float32]]:
    if step not in STEPS:
        raise CorruptFile("codec_args.R", f"a power of two up to {STEPS[-1]}", step)
    size_a, size_b, channels = 2 * REACH * step + 2, 2 * REACH * step + 1, sum(sizes)
    wanted: dict[str, tuple[str, tuple[int, ...]]] = {
        "bn.scales": ("F16", (2 * len(sizes),)),
        "bn.freq": ("U16", (size_a + size_b,)),
    }
    wanted["bn.codes"] = ("U8", tensors["bn.codes"].shape[:1])
    for name, (dtype, shape) in wanted.items():
        tensor = tensors[name]
        if (tensor.dtype, tensor.shape) != (dtype, shape):
            raise CorruptFile(f"tensor {name}", f"{dtype} {list(shape)}", f"{tensor.dtype} {list(tensor.shape)}")
    scales = np.frombuffer(tensors["bn.scales"].data, "<f2").astype(np.float16)
    if not np.isfinite(scales).all() or np.signbit(scales).any():
        raise CorruptFile("tensor bn.scales", "finite numbers from +0 up", "another")
    freq = np.frombuffer(tensors["bn.freq"].data, "<u2").astype(np.int64)
    tables = freq[:size_a], freq[size_a:]
    for name, table in zip("ab", tables, strict=True):
        if table.sum() != 1 << rans.BITS:
            raise CorruptFile(f"tensor bn.freq, table of {name}", f"a sum of {1 << rans.BITS}", table.sum())
    symbols = rans.decode(tensors["bn.codes"].data, [(channels, table) for table in tables])
    codes = np.where(symbols[0] == 0, 0, symbols[0] - (REACH * step + 1)), symbols[1] - REACH * step
    halves = np.split(scales, 2)
    if any((code[np.repeat(half, sizes) == 0] != 0).any() for code, half in zip(codes, halves, strict=True)):
        raise CorruptFile("tensor bn.codes", "zeros alone in a layer of scale 0", "another code")
    return {name: on_grid(code, half, sizes, step) for name, code, half in zip("ab", codes, halves, strict=True)}
