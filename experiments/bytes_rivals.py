"""Networks whose weights were trained, in as few bytes as we know how: what the seed+BN file has to beat.

One safetensors file, so that nothing has to be unpickled, of few tensors, so that its header is short. Shapes and
order follow from the network's name. BatchNorm is folded to y = a x + b. Weights are float32, half precision, or
whole steps of `bits` bits; the size of a filter's step goes into its a, so that it costs nothing. Steps are packed
one behind another ("raw"), or a byte each and all of it through xz, or coded near their entropy layer by layer, and
numbers with them ("rans", experiments/bytes_coder.py).
"""

from __future__ import annotations

import lzma
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save
from torch import nn

from bnonly.errors import BadInput
from bnonly.networks import network, origin_of
from bnonly.networks.antialias import Antialias
from bnonly.networks.folded import fold
from bnonly.networks.parts import BatchNorm2d
from bnonly.randomness.plan import plan
from bnonly.training.compression import rounded
from experiments.bytes_coder import Part, decode, encode
from experiments.sizes_whole import quantised

FLOATS = {"fp32": np.float32, "fp16": np.float16}
_EXTREME = 9 | lzma.PRESET_EXTREME

Codec = Literal["raw", "xz", "rans"]
CODECS: tuple[Codec, ...] = ("raw", "xz", "rans")

Floats = NDArray[np.float32]
Array = NDArray[Any]


@dataclass(frozen=True)
class How:
    """dtype: "fp32", "fp16" or "int2" to "int8"."""

    dtype: str
    codec: Codec

    @property
    def bits(self) -> int | None:
        return int(self.dtype.removeprefix("int")) if self.dtype.startswith("int") else None

    @property
    def weights(self) -> Any:
        return FLOATS[self.dtype] if self.bits is None else np.uint8

    @property
    def numbers(self) -> Any:
        """Of what is no weight."""
        return np.float32 if self.dtype == "fp32" else np.float16


def quantise(net: nn.Module, bits: int) -> None:
    """Round every convolution and linear weight to so many bits, in place."""
    with torch.no_grad():
        for _, parameter in net.named_parameters():
            if parameter.ndim > 1:
                parameter.copy_(rounded(parameter, bits))


def packed(net: nn.Module, how: How) -> bytes:
    """The network as a file. For bits its weights must lie on steps already, as `quantise` leaves them.

    Raises BadInput for a network that no name of the registry makes, or whose layers are no convolution or linear
    layer, each followed by its BatchNorm or a bias.
    """
    weights: list[Array] = []
    numbers: list[Floats] = []
    for weight, norm, bias in _layers(net):
        values = weight.detach().cpu().numpy()
        size = np.ones(len(values), np.float32)
        if how.bits is not None:
            values, size = _steps(values, how.bits)
        if norm is None:
            numbers += [size] if how.bits is not None else []
            numbers.append(bias.detach().cpu().numpy())
        else:
            a, b = _folded(norm)
            numbers += [a * size, b]
        weights.append(values.ravel())
    return _file(net, weights, numbers, how)


def _file(net: nn.Module, weights: list[Array], numbers: list[Floats], how: How) -> bytes:
    """weights: of each layer its steps from the lowest, or floats."""
    if how.codec == "rans":
        symbols = [own for each in weights for own in _bytes(each, how.weights)]
        symbols += [own for each in numbers for own in _bytes(each, how.numbers)]
        stream = encode(_parts(net, how), symbols)
        return save({"codes": np.frombuffer(stream, np.uint8)}, _facts(net))
    whole = np.concatenate(weights).astype(how.weights)
    if how.bits is not None and how.codec == "raw":
        whole = _squeezed(whole, how.bits)
    data = save({"numbers": np.concatenate(numbers).astype(how.numbers), "weights": whole}, _facts(net))
    return xz(data) if how.codec == "xz" else data


def xz(data: bytes) -> bytes:
    return lzma.compress(data, preset=_EXTREME)


def unpacked(data: bytes, name: str, classes: int, how: How, antialias: Antialias = "none") -> nn.Module:
    """The network again, on the CPU, its BatchNorms folded. Raises BadInput for bytes that do not fit."""
    net = network(name, 0, classes=classes, antialias=antialias)
    try:
        layers = list(_layers(net))
        whole, numbers = _tensors(data, net, how)
        lowest = 0 if how.bits is None else 2 ** (how.bits - 1) - 1
        place = at = 0

        def taken(count: int) -> torch.Tensor:
            nonlocal at
            at += count
            return torch.from_numpy(numbers[at - count : at].copy())

        with torch.no_grad():
            for weight, norm, bias in layers:
                own = whole[place : place + weight.numel()].astype(np.float32) - lowest
                weight.copy_(torch.from_numpy(own.reshape(weight.shape)))
                place += weight.numel()
                if norm is None:
                    if how.bits is not None:
                        weight.mul_(taken(len(weight))[:, None])
                    bias.copy_(taken(len(weight)))
                else:
                    norm.weight.copy_(taken(len(weight)))
                    norm.bias.copy_(taken(len(weight)))
                    fold(norm)
        if (place, at) != (len(whole), len(numbers)):
            raise ValueError(f"{len(whole)} weights and {len(numbers)} numbers, not {place} and {at}")
    except (KeyError, ValueError, RuntimeError, SafetensorError, lzma.LZMAError) as error:
        raise BadInput(f"these bytes are no {name} stored as {how.dtype}, {how.codec} ({error})") from error
    return net


def _tensors(data: bytes, net: nn.Module, how: How) -> tuple[Array, Floats]:
    """Weights, or their steps from the lowest, and numbers, of all layers one behind another."""
    tensors = load(lzma.decompress(data) if how.codec == "xz" else data)
    if how.codec == "rans":
        parts = _parts(net, how)
        symbols = iter(zip(parts, decode(tensors["codes"].tobytes(), parts), strict=True))
        found: dict[bool, list[Array]] = {True: [], False: []}
        for part, own in symbols:
            weights = part.kind == "weights"
            dtype = np.dtype(how.weights if weights else how.numbers)
            columns = [own, *(next(symbols)[1] for _ in range(dtype.itemsize - 1))]
            found[weights].append(np.stack(columns, axis=1).view(dtype.newbyteorder(">"))[:, 0])
        return np.concatenate(found[True]), np.concatenate(found[False]).astype(np.float32)
    whole, numbers = tensors["weights"], tensors["numbers"].astype(np.float32)
    if how.bits is not None and how.codec == "raw":
        whole = _spread(whole, how.bits, sum(weight.numel() for weight, _, _ in _layers(net)))
    return whole, numbers


def _parts(net: nn.Module, how: How) -> list[Part]:
    """What `_file` codes: all weights, then all numbers. Only the first byte of a float is worth counting."""

    def column(kind: str, count: int, dtype: Any, bits: int) -> list[Part]:
        return [Part(kind, bits, count), *[Part(None, 8, count)] * (np.dtype(dtype).itemsize - 1)]

    weights, numbers = [], []
    for weight, norm, _ in _layers(net):
        weights += column("weights", weight.numel(), how.weights, how.bits or 8)
        for kind in ("scale", "shift") if norm is not None or how.bits is not None else ("shift",):
            numbers += column(kind, len(weight), how.numbers, 8)
    return weights + numbers


def _bytes(values: Array, dtype: Any) -> list[NDArray[np.uint8]]:
    """The first bytes of all values, the second bytes, ..."""
    kind = np.dtype(dtype)
    table = values.astype(kind.newbyteorder(">")).view(np.uint8).reshape(-1, kind.itemsize)
    return [table[:, place] for place in range(kind.itemsize)]


def _layers(net: nn.Module) -> Iterator[tuple[nn.Parameter, BatchNorm2d | None, nn.Parameter]]:
    """In plan order: a convolution's weight, its norm and that norm's bias; the output layer's weight, None, bias."""
    entries, parameters = plan(net), dict(net.named_parameters())
    places = [place for place, entry in enumerate(entries) if entry.role == "weight"]
    for place in places:
        roles = [entry.role for entry in entries[place : place + 3]]
        last = entries[place + (2 if roles[1:] == ["gamma", "beta"] else 1)].name if len(roles) > 1 else ""
        if roles[1:] == ["gamma", "beta"]:
            norm = net.get_submodule(last.rpartition(".")[0])
            assert isinstance(norm, BatchNorm2d)
            yield parameters[entries[place].name], norm, parameters[last]
        elif roles[1:2] == ["bias"]:
            yield parameters[entries[place].name], None, parameters[last]
        else:
            raise BadInput(f"{entries[place].name} is followed by no BatchNorm and no bias, so it has no place here")


def _facts(net: nn.Module) -> dict[str, str]:
    origin = origin_of(net)
    if origin is None:
        raise BadInput(f"{type(net).__name__} is no network of the registry")
    return {"network": origin.name} | ({"antialias": origin.antialias} if origin.antialias != "none" else {})


def _folded(norm: BatchNorm2d) -> tuple[Floats, Floats]:
    assert norm.running_mean is not None and norm.running_var is not None
    gamma, beta, mean, var = (
        value.detach().double().cpu().numpy()
        for value in (norm.weight, norm.bias, norm.running_mean, norm.running_var)
    )
    a = gamma / np.sqrt(var + norm.eps)
    return a.astype(np.float32), (beta - mean * a).astype(np.float32)


def _steps(weights: Floats, bits: int) -> tuple[NDArray[np.uint8], Floats]:
    """Steps [filters, ...] counted from the lowest, and a step's size by filter."""
    steps, size = quantised(weights, bits)
    if not np.array_equal(steps * size.reshape(-1, *[1] * (weights.ndim - 1)), weights):
        raise BadInput(f"the weights do not lie on steps of {bits} bits: quantise them first")
    return (steps.astype(np.int16) + (2 ** (bits - 1) - 1)).astype(np.uint8), size


def _squeezed(steps: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Numbers below 2^bits, one behind another without gaps."""
    return np.packbits(np.unpackbits(steps[:, None], axis=1)[:, 8 - bits :])


def _spread(data: NDArray[np.uint8], bits: int, count: int) -> NDArray[np.uint8]:
    """`_squeezed` undone."""
    ones = np.unpackbits(data, count=count * bits).reshape(count, bits)
    return np.packbits(np.pad(ones, ((0, 0), (8 - bits, 0))), axis=1)[:, 0]
