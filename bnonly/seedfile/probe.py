"""Two random images and what a network says to them: whether its arithmetic, beyond its weights, came along."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from bnonly.randomness import bngen
from bnonly.seedfile.errors import CorruptFile, NotStorable, ProbeMismatch
from bnonly.seedfile.header import Check, Header

COUNT = 2
TOLERANCE = 1e-3
"""Of the largest |logit|. Kernels differ by 1e-6, in the deepest networks 2e-5; a wrong value by 1e-2 and more."""

_AFFORDABLE = 1 << 21
"""Parameters up to which the writer computes in float64, so that the digits it writes are the same anywhere."""


def images(seed: int, shape: tuple[int, ...], count: int = COUNT) -> NDArray[np.float32]:
    """Unit normals [count, *shape] of the seed, to be taken as normalised images."""
    size = count * int(np.prod(shape))
    stream = bngen.stream_number(bngen.PROBE, 0)
    return bngen.scaled(seed, stream, size, "normal", bngen.unit_scale("normal")).reshape(count, *shape)


def asked(net: nn.Module, seed: int, shape: tuple[int, ...]) -> Check:
    """What a reader should get: logits to six digits. The network is in eval mode and may become float64.

    Raises NotStorable for logits that are no numbers.
    """
    precise = sum(p.numel() for p in net.parameters()) <= _AFFORDABLE
    logits = _logits(net.double() if precise else net, images(seed, shape))
    if not np.isfinite(logits).all():
        raise NotStorable("check.logits", "finite numbers", "NaN or infinity for images of random pixels")
    short = tuple(tuple(float(f"{value:.6g}") + 0.0 for value in row) for row in logits.tolist())
    return Check(short, tuple(int(np.argmax(row)) for row in short), TOLERANCE)


def compare(net: nn.Module, header: Header) -> float:
    """max |difference| / max |logit| between the network's answers and the header's.

    Raises ProbeMismatch, and CorruptFile where the network takes no images of the header's shape.
    """
    check, shape = header.check, header.input.shape
    try:
        got = _logits(net, images(header.init.seed, shape, check.n))
    except (RuntimeError, ValueError, AssertionError) as error:  # as layers of any library say so
        reason = f"{list(shape)} ({error})"
        raise CorruptFile("input.shape", f"images that {header.arch.id} takes", reason) from error
    wanted = np.array(check.logits)
    largest = float(np.abs(wanted).max())
    difference = float(np.abs(got - wanted).max()) if np.isfinite(got).all() else float("inf")
    ratio = difference / largest if largest else float("inf") if difference else 0.0
    if ratio > check.rtol:
        raise ProbeMismatch("check.logits", f"within {check.rtol:g} of the largest", f"{ratio:.2g}")
    for image, (row, best) in enumerate(zip(wanted, check.argmax, strict=True)):
        # Two classes closer than the tolerance may change places.
        if row.max() - row[best] > 2 * check.rtol * largest:
            raise ProbeMismatch(f"check.argmax[{image}]", f"{int(np.argmax(row))}, the largest logit", best)
    return ratio


def _logits(net: nn.Module, pictures: NDArray[np.float32]) -> NDArray[np.float64]:
    parameter = next(net.parameters())
    with torch.inference_mode():
        answer = net(torch.from_numpy(pictures).to(parameter.device, parameter.dtype))
    return answer.double().cpu().numpy()
