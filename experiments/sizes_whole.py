"""What one would store without a seed: every weight, in float32, in half precision or in int8.

safetensors files, as they are or through xz. int8 is the plain kind: convolutions and the output layer's weights
rounded to whole steps of max|w| / 127, one scale (float32) an output channel; the rest in half precision. Counters
of batches, which evaluation does not read, are left out of the smaller two.
"""

from __future__ import annotations

import lzma
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bnonly.errors import BadInput
from bnonly.files import write_atomically

if TYPE_CHECKING:
    from torch import nn

DTYPES = ("fp32", "fp16", "int8")
CODECS = ("raw", "xz")

_COUNTER, _SCALE = "num_batches_tracked", ".int8_scale"

Array = NDArray[Any]


def packed(net: nn.Module, dtype: str, codec: str) -> bytes:
    """The network's state_dict as a file. dtype: of DTYPES; codec: of CODECS."""
    from safetensors.numpy import save

    tensors: dict[str, Array] = {}
    for name, value in net.state_dict().items():
        array = np.asarray(value.detach().cpu().numpy(), order="C")
        if dtype == "fp32":
            tensors[name] = array
        elif dtype == "int8" and array.ndim >= 2:
            tensors[name], tensors[name + _SCALE] = quantised(array)
        elif not name.endswith(_COUNTER):
            tensors[name] = _half(array)
    data = save(tensors)
    return lzma.compress(data, preset=9 | lzma.PRESET_EXTREME) if codec == "xz" else data


def write(net: nn.Module, path: Path, dtype: str, codec: str) -> None:
    """`packed`, in place whole or not at all."""
    write_atomically(path, packed(net, dtype, codec))


def restore(net: nn.Module, path: Path) -> None:
    """Put the values of a file that `write` made into a network of the same architecture, in float32.

    Raises BadInput for a file that does not fit.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        data = path.read_bytes()
        tensors = load(lzma.decompress(data) if path.suffix == ".xz" else data)
        state = {}
        for name, own in net.state_dict().items():
            if name.endswith(_COUNTER):
                state[name] = own
                continue
            value = tensors[name].astype(np.float32)
            if (scale := tensors.get(name + _SCALE)) is not None:
                value *= scale.reshape(-1, *(1,) * (value.ndim - 1))
            state[name] = torch.from_numpy(value)
        net.load_state_dict(state)
    except (OSError, KeyError, RuntimeError, SafetensorError, lzma.LZMAError) as error:
        raise BadInput(f"{path} is not a stored network of this architecture ({error})") from error


def quantised(weights: Array, bits: int = 8) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Steps of the shape of weights [out, ...], and their size by output channel [out]: the largest magnitude is
    2^(bits-1) - 1 of them."""
    rows, most = weights.reshape(len(weights), -1).astype(np.float32), 2 ** (bits - 1) - 1
    size = np.abs(rows).max(1) / np.float32(most)
    steps = np.rint(rows / np.where(size > 0, size, np.float32(1))[:, None])
    return steps.astype(np.int8).reshape(weights.shape), size


def _half(values: Array) -> Array:
    """In half precision, or as they are where that would overflow."""
    fits = np.abs(values).max(initial=0) <= np.finfo(np.float16).max
    return values.astype(np.float16) if fits else values
