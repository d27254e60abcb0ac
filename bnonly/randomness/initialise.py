"""Numbers become the initial values of a network in hand: every parameter from its own stream, in plan order."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from torch import nn

from bnonly.randomness.plan import BATCH_NORMS, plan
from bnonly.randomness.start import Start
from bnonly.randomness.values import values


def initialise(net: nn.Module, seed: int, start: Start | None = None) -> None:
    """Fill every parameter from the seed, and set BatchNorm's running statistics to mean 0, variance 1.

    The values are made on the CPU in C order and then copied, so they do not depend on device, memory format,
    dtype (but for its rounding) or thread count. No global random state is read or written.
    """
    start = start or Start()
    parameters = dict(net.named_parameters())
    with torch.no_grad():
        for entry in plan(net):
            parameters[entry.name].copy_(torch.from_numpy(values(entry, seed, start)))
    for module in net.modules():
        if isinstance(module, BATCH_NORMS):
            module.reset_running_stats()


def frozen_digest(net: nn.Module) -> str:
    """SHA-256 of the parameters that do not train, in plan order, as little-endian float32 in C order."""
    parameters = dict(net.named_parameters())
    total = hashlib.sha256()
    for entry in plan(net):
        if parameters[entry.name].requires_grad:
            continue
        host = parameters[entry.name].detach().to("cpu", torch.float32).contiguous()
        total.update(np.ascontiguousarray(host.numpy(), dtype="<f4").data)
    return total.hexdigest()
