"""Numbers become a network's initial values: every parameter from its own stream, in the order of the plan."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from bnonly.randomness import bngen
from bnonly.randomness.plan import BATCH_NORMS, Entry, plan
from bnonly.randomness.start import Start


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


def values(entry: Entry, seed: int, start: Start, round: int = 0) -> NDArray[np.float32]:
    """A parameter's initial values, float32, in its own shape. round: 0 at first, n for the n-th redraw."""
    stream = bngen.stream_number(bngen.INITIAL, entry.index, round)
    if entry.role == "weight":
        fan = entry.fan_in if start.scale == "fan_in" else entry.fan_out
        if start.weights == "orthogonal":
            flat = _orthogonal(seed, stream, entry.shape)
        else:
            flat = bngen.he_weights(seed, stream, entry.size, fan, start.weights)
    elif entry.role == "bias":
        flat = bngen.linear_bias(seed, stream, entry.size, entry.fan_in)
    elif entry.role == "gamma":
        flat = {
            "uniform": bngen.gamma_unit,
            "symmetric": bngen.gamma_symmetric,
            "ones": lambda _seed, _stream, count: np.ones(count, np.float32),
        }[start.gamma](seed, stream, entry.size)
    else:
        flat = np.full(entry.size, start.beta == "ones", np.float32)
    return flat.reshape(entry.shape)


def _orthogonal(seed: int, stream: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Rows (or columns, where there are more rows) orthonormal: QR of normals, R's diagonal made positive."""
    rows, columns = shape[0], int(np.prod(shape[1:]))
    normals = bngen.scaled(seed, stream, rows * columns, "normal", bngen.unit_scale("normal"))
    tall = normals.reshape(rows, columns).astype(np.float64)
    q, r = np.linalg.qr(tall.T if rows < columns else tall)
    q *= np.sign(np.diag(r))
    return np.ascontiguousarray(q.T if rows < columns else q, np.float32)


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
