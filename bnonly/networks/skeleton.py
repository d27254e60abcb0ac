"""A network of the registry from nothing: built without memory, then filled parameter by parameter."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from bnonly.networks import Origin
from bnonly.networks.registry import parse
from bnonly.randomness.entry import Entry
from bnonly.randomness.plan import BATCH_NORMS, plan


def grow(
    origin: Origin,
    supply: Callable[[Entry], NDArray[np.float32]],
    entries: Sequence[Entry] | None = None,
    module: nn.Module | None = None,
) -> nn.Module:
    """The origin's architecture in train mode, every parameter frozen, on the CPU.

    supply(entry) gives one parameter's values, C-contiguous and in its shape; the network keeps that very memory. It
    is called in plan order. Running statistics start at mean 0 and variance 1. No global random state is read or
    written. entries: the architecture's, if they are at hand. module: takes the values in the architecture's place.
    """
    with _no_collection():
        net = parse(origin.name).build(origin.classes, origin.antialias) if module is None else module.train()
        places = {
            f"{path}.{name}".lstrip("."): (module, name, parameter.shape)
            for path, module in net.named_modules()
            for name, parameter in module._parameters.items()
            if parameter is not None
        }
        if entries is None:
            entries = list(parse(origin.name).entries(origin.classes)) if module is None else plan(net)
        assert [(entry.name, entry.shape) for entry in entries] == [(n, (*s,)) for n, (_, _, s) in places.items()], (
            f"the layout of {origin.name} is not that of its modules"
        )
        for entry in entries:
            module, name, _ = places[entry.name]
            module._parameters[name] = nn.Parameter(torch.from_numpy(supply(entry)), requires_grad=False)
        for module in net.modules():
            if isinstance(module, BATCH_NORMS) and module.running_mean is not None:
                _fresh_statistics(module)
    object.__setattr__(net, "origin", origin)  # a plain attribute, which nn.Module keeps no record of
    return net


def _fresh_statistics(norm: Any) -> None:
    """Running statistics off the meta device: mean 0, variance 1, no batch seen."""
    shape, buffers = norm.running_mean.shape, norm._buffers
    buffers["running_mean"] = torch.zeros(shape, dtype=torch.float32, device="cpu")
    buffers["running_var"] = torch.ones(shape, dtype=torch.float32, device="cpu")
    buffers["num_batches_tracked"] = torch.tensor(0, device="cpu")


@contextmanager
def _no_collection() -> Iterator[None]:
    """No garbage is made here, and looking for it among thousands of new objects takes a third of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
