"""One parameter's initial values: the numbers that the seed gives its entry in the plan. Without torch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bnonly.errors import BadInput
from bnonly.randomness import bngen
from bnonly.randomness.entry import Entry
from bnonly.randomness.start import Start

EMBEDDED = 0.02
"""Standard deviation of tokens, positions and tables of them, as in ViT, DeiT and Swin."""


def values(
    entry: Entry, seed: int, start: Start, round: int = 0, out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """A parameter's initial values, float32, in its own shape.

    round: 0 at first, n for the n-th redraw. out: where to put them, a C-contiguous float32 array of that shape.
    """
    stream = bngen.stream_number(bngen.INITIAL, entry.index, round)
    result = np.empty(entry.shape, np.float32) if out is None else out
    if entry.role == "weight":
        if start.weights == "orthogonal":
            result[...] = _orthogonal(seed, stream, entry.shape)
            return result
        fan = entry.fan_in if start.scale == "fan_in" else entry.fan_out
        bngen.he_weights(seed, stream, entry.size, fan, start.weights, result)
    elif entry.role == "bias":
        result[...] = bngen.linear_bias(seed, stream, entry.size, entry.fan_in).reshape(entry.shape)
    elif entry.role == "gamma" and start.gamma != "ones":
        draw = bngen.gamma_unit if start.gamma == "uniform" else bngen.gamma_symmetric
        result[...] = draw(seed, stream, entry.size).reshape(entry.shape)
    elif entry.role == "embedding":
        scale = np.float32(EMBEDDED * float(bngen.unit_scale("normal")))
        result[...] = bngen.scaled(seed, stream, entry.size, "normal", scale).reshape(entry.shape)
    elif entry.role == "other":
        if start.other == "refuse":
            shape = "x".join(map(str, entry.shape)) or "a number"
            raise BadInput(
                f"parameter {entry.name} ({shape}) has no rule for its initial values: say zeros or ones for all of "
                "its kind (network.other, Start(other=...)), or take another network"
            )
        result[...] = start.other == "ones"
    else:
        result[...] = start.gamma == "ones" if entry.role == "gamma" else start.beta == "ones"
    return result


def values_of_rounds(entry: Entry, seed: int, start: Start, rounds: NDArray[np.uint8]) -> NDArray[np.float32]:
    """`values`, each filter or channel from its own round: rounds [filters]."""
    drawn = values(entry, seed, start)
    for turn in np.unique(rounds[rounds > 0]):
        drawn[rounds == turn] = values(entry, seed, start, int(turn))[rounds == turn]
    return drawn


def _orthogonal(seed: int, stream: int, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Rows (or columns, where there are more rows) orthonormal: QR of normals, R's diagonal made positive."""
    rows, columns = shape[0], int(np.prod(shape[1:]))
    normals = bngen.scaled(seed, stream, rows * columns, "normal", bngen.unit_scale("normal"))
    tall = normals.reshape(rows, columns).astype(np.float64)
    q, r = np.linalg.qr(tall.T if rows < columns else tall)
    q *= np.sign(np.diag(r))
    return (q.T if rows < columns else q).reshape(shape)
