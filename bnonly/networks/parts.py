"""Layers born without values: the seed fills them, so torch's own initialisation would be time and randomness lost.

They stand on torch's meta device, where a tensor has a shape and no memory; `bnonly.network` brings them to life.
"""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import Tensor, nn

_Module = TypeVar("_Module", bound=nn.Module)


class _Unborn(nn.Module):
    """A layer on the meta device, unless another is named, whose values are left to the seed."""

    def __init__(self, *arguments: Any, device: Any = "meta", **named: Any):
        super().__init__(*arguments, device=device, **named)

    def reset_parameters(self) -> None:
        pass


class Conv2d(_Unborn, nn.Conv2d):
    pass


class BatchNorm2d(_Unborn, nn.BatchNorm2d):
    pass


class GroupNorm(_Unborn, nn.GroupNorm):
    def forward(self, input: Tensor) -> Tensor:
        """[N, C, ...] -> the same. In bfloat16 on CPUs torch takes so long over several groups of channels-last maps
        that a step with copies there and back needs half the time (ResNet-14, batch 128)."""
        slow = input.device.type == "cpu" and input.dtype == torch.bfloat16 and self.num_groups > 1
        if slow and input.is_contiguous(memory_format=torch.channels_last):
            return super().forward(input.contiguous()).contiguous(memory_format=torch.channels_last)
        return super().forward(input)


class LayerNorm(_Unborn, nn.LayerNorm):
    pass


class Linear(_Unborn, nn.Linear):
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
