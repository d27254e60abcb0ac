"""Layers born without values: the seed fills them, so torch's own initialisation would be time and randomness lost.

They stand on torch's meta device, where a tensor has a shape and no memory; `bnonly.network` brings them to life.
"""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import Tensor, nn

_Module = TypeVar("_Module", bound=nn.Module)


class Conv2d(nn.Conv2d):
    """torch's, on the meta device unless another is named."""

    def __init__(self, *arguments: Any, device: Any = "meta", **named: Any):
        super().__init__(*arguments, device=device, **named)

    def reset_parameters(self) -> None:
        pass


class BatchNorm2d(nn.BatchNorm2d):
    """torch's, on the meta device unless another is named."""

    def __init__(self, *arguments: Any, device: Any = "meta", **named: Any):
        super().__init__(*arguments, device=device, **named)

    def reset_parameters(self) -> None:
        pass


class Linear(nn.Linear):
    """torch's, on the meta device unless another is named."""

    def __init__(self, *arguments: Any, device: Any = "meta", **named: Any):
        super().__init__(*arguments, device=device, **named)

    def reset_parameters(self) -> None:
        pass


def twins(module: _Module, count: int) -> list[_Module]:
    """The module and its like, `count` in all, each with parameters and buffers of its own, on the meta device.

    Deep networks repeat one block a hundred times, and copying what is known is five times quicker than building it.
    """
    return [module, *(_twin(module) for _ in range(count - 1))]


def _twin(module: _Module) -> _Module:
    twin = module.__class__.__new__(module.__class__)
    twin.__dict__.update(
        {name: value.copy() if isinstance(value, dict) else value for name, value in module.__dict__.items()}
    )
    for name, child in module._modules.items():
        twin._modules[name] = None if child is None else _twin(child)
    for name, parameter in module._parameters.items():
        twin._parameters[name] = None if parameter is None else nn.Parameter(_empty(parameter), False)
    for name, buffer in module._buffers.items():
        twin._buffers[name] = None if buffer is None else _empty(buffer)
    return twin


def _empty(tensor: Tensor) -> Tensor:
    return torch.empty(tensor.shape, dtype=tensor.dtype, device="meta")
