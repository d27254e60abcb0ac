"""The three float formats a file may use, little-endian, by integer arithmetic where numpy has no type."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bnonly.errors import BadInput
from bnonly.seedfile.container import Tensor
from bnonly.seedfile.errors import CorruptFile

DTYPES = {"fp32": "F32", "fp16": "F16", "bf16": "BF16"}
"""By the name that users type, the name in the file."""

_LARGEST = {"fp32": 3.4028235e38, "fp16": 65504.0, "bf16": 3.3895314e38}


def rounded(values: NDArray[np.float64] | NDArray[np.float32], dtype: str, field: str) -> NDArray[np.float32]:
    """Rounded to float32 and from there to the dtype, both ties to even; float32 again, -0 as 0.

    Raises BadInput, naming the field, for NaN and for what the dtype cannot hold.
    """
    with np.errstate(over="ignore"):
        single = values.astype(np.float32)
        narrow = {"fp32": single, "fp16": single.astype("<f2").astype(np.float32), "bf16": _bf16(single)}[dtype]
    if not np.isfinite(narrow).all():
        worst = values[~np.isfinite(narrow)].flat[0]
        what = "is no number" if np.isnan(worst) else f"does not fit {dtype}, which ends at {_LARGEST[dtype]:g}"
        hint = "the network cannot be stored" if not np.isfinite(worst) else "store it as fp32"
        raise BadInput(f"{field} holds {worst:g}, which {what}: {hint}")
    return narrow + np.float32(0)


def stored(values: NDArray[np.float32], dtype: str) -> Tensor:
    """Values that `rounded` gave, as a flat tensor."""
    flat = np.ascontiguousarray(values, np.float32).reshape(-1)
    if dtype == "fp32":
        data = flat.astype("<f4").tobytes()
    elif dtype == "fp16":
        data = flat.astype("<f2").tobytes()
    else:
        data = (flat.view(np.uint32) >> np.uint32(16)).astype("<u2").tobytes()
    return Tensor(DTYPES[dtype], (flat.size,), data)


def loaded(tensor: Tensor, dtype: str, count: int, field: str) -> NDArray[np.float32]:
    """`count` values as float32. Raises CorruptFile for another dtype or shape, NaN, infinity and -0."""
    if tensor.dtype != DTYPES[dtype] or tensor.shape != (count,):
        expected = f"{DTYPES[dtype]} [{count}]"
        raise CorruptFile(f"tensor {field}", expected, f"{tensor.dtype} {list(tensor.shape)}")
    if dtype == "fp32":
        values = np.frombuffer(tensor.data, "<f4").astype(np.float32)
    elif dtype == "fp16":
        values = np.frombuffer(tensor.data, "<f2").astype(np.float32)
    else:
        values = (np.frombuffer(tensor.data, "<u2").astype(np.uint32) << np.uint32(16)).view(np.float32)
    if not np.isfinite(values).all():
        raise CorruptFile(f"tensor {field}", "finite numbers", values[~np.isfinite(values)][0])
    if (np.signbit(values) & (values == 0)).any():
        raise CorruptFile(f"tensor {field}", "zero spelled as +0", "-0")
    return values


def _bf16(single: NDArray[np.float32]) -> NDArray[np.float32]:
    """The upper half of float32, rounded to the nearest, ties to even. NaN may become what it likes but a number."""
    bits = np.ascontiguousarray(single).view(np.uint32)
    up = np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    with np.errstate(over="ignore"):
        short = ((bits + up) & np.uint32(0xFFFF0000)).view(np.float32)
    return np.where(np.isnan(single), np.float32(np.nan), short)
