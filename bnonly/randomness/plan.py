"""The plan: which parameter of a network is drawn from which stream.

All parameters in state_dict order, buffers left out; a parameter's place is its stream's index. Nothing but the
network's structure decides it, so a seed and an architecture's name are enough to grow the same network anywhere.
"""

from __future__ import annotations

from math import prod
from typing import get_args

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.instancenorm import _InstanceNorm

from bnonly.errors import BadInput
from bnonly.randomness.entry import Entry, Part

BATCH_NORMS = (_BatchNorm,)
NORMS = (_BatchNorm, _InstanceNorm, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
FEATURES = (_ConvNd, nn.Linear)
_PROJECTIONS = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight", "in_proj_bias")

# A parameter that random:K adds beside a convolution's weight: it repeats scalars that the plan already holds.
RANDOM_VALUES = "random_values"


def plan(net: nn.Module) -> list[Entry]:
    """The plan of a network, in order. Raises BadInput where a parameter's kind has no rule.

    Rules: weight and bias of convolutions and linear layers, and the input projections of nn.MultiheadAttention,
    which are linear layers; gamma and beta of normalisation layers. What a module other than torch's own holds
    besides is an "embedding" (tokens, positions, tables) if two of its dimensions are larger than 1, or if it has
    several and the first is 1; else, as a layer scale, it is "other".
    """
    owners = {
        f"{path}.{name}".lstrip("."): module
        for path, module in net.named_modules()
        for name, _ in module.named_parameters(recurse=False)
    }
    names = [name for name, _ in net.named_parameters() if name.rpartition(".")[2] != RANDOM_VALUES]
    parameters = dict(net.named_parameters())
    roles: dict[str, list[str]] = getattr(net, "roles", {})
    parts: dict[str, Part] = {path: part for part in get_args(Part) for path in roles.get(part, [])}
    return [
        _entry(index, name, owners[name], tuple(parameters[name].shape), parts.get(name.rpartition(".")[0], ""))
        for index, name in enumerate(names)
    ]


def _entry(index: int, name: str, owner: nn.Module, shape: tuple[int, ...], part: Part) -> Entry:
    own = name.rpartition(".")[2]
    if isinstance(owner, NORMS) and own in ("weight", "bias"):
        role = "gamma" if own == "weight" else "beta"
        return Entry(index, name, role, shape, statistics=getattr(owner, "running_mean", None) is not None)
    if isinstance(owner, FEATURES) and own in ("weight", "bias"):
        fan_in, fan_out = _fans(owner)
        return Entry(index, name, own, shape, fan_in, fan_out, part)
    if isinstance(owner, nn.MultiheadAttention) and own in _PROJECTIONS:
        rows, columns = shape[0], shape[-1] if len(shape) > 1 else owner.embed_dim
        return Entry(index, name, "weight" if len(shape) > 1 else "bias", shape, columns, rows, part)
    if isinstance(owner, FEATURES) or not type(owner).__module__.startswith("torch.nn."):
        wide = sum(size > 1 for size in shape) > 1
        return Entry(index, name, "embedding" if wide or (len(shape) > 1 and shape[0] == 1) else "other", shape)
    raise BadInput(
        f"parameter {name} of {type(owner).__name__} has no rule for its initial values: bnonly knows convolutions, "
        "linear layers and normalisation layers"
    )


def _fans(layer: nn.Module) -> tuple[int, int]:
    """Scalars that meet in one output, and outputs that one input reaches: per group, times the kernel's area."""
    if isinstance(layer, _ConvNd):
        area = prod(layer.kernel_size)
        return layer.in_channels // layer.groups * area, layer.out_channels // layer.groups * area
    assert isinstance(layer, nn.Linear)
    return layer.in_features, layer.out_features
