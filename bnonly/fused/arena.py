"""Memory of the fused engine's activations on a CPU, from arena.cpp; through DLPack, whose tensors give it back."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from bnonly.fused.native import kernels

_LEAST = 1 << 17  # bytes; malloc does well with less
_CODES = {torch.float32: (2, 32), torch.float64: (2, 64), torch.bfloat16: (4, 16)}  # DLPack's code and bits

_capsule = ctypes.pythonapi.PyCapsule_New
_capsule.argtypes, _capsule.restype = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p], ctypes.py_object


def empty(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """[N, C, H, W] in channels_last memory, whatever stands there.

    From the arena where it is large, on a CPU, and the native kernels are there; else as torch.empty has it.
    """
    code = _CODES.get(dtype)
    if device.type == "cpu" and code is not None and _bytes(shape, dtype) >= _LEAST and (native := kernels()):
        lent = native.arena_tensor(*shape, *code)
        if lent:
            return from_dlpack(_capsule(lent, b"dltensor", None))
    return torch.empty(tuple(shape), dtype=dtype, device=device, memory_format=torch.channels_last)


def empty_like(x: Tensor) -> Tensor:
    """`empty` of x's shape, type and device."""
    return empty(x.shape, x.dtype, x.device)


def used() -> int:
    """Bytes of the arena that tensors have."""
    native = kernels()
    return 0 if native is None else native.arena_used()


def trim() -> None:
    """Give what no tensor has back to the system."""
    if kernels.cache_info().currsize and (native := kernels()) is not None:
        native.arena_trim()


def _bytes(shape: Sequence[int], dtype: torch.dtype) -> int:
    count = dtype.itemsize
    for length in shape:
        count *= length
    return count
