"""What the machine itself can do, measured as a side among the others: multiply-adds and bytes a second.

A product of two large matrices in each precision, and a copy of more than any cache holds, with the same threads.
Operations are two for a multiply-add; bytes are those read and those written, as in STREAM.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from experiments.yardstick.pace import asked, tell

_LARGE = {"cpu": (1536, 1 << 26), "cuda": (8192, 1 << 28)}
"""By device: rows of the matrices, float32 values of the copy."""
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def work(precisions: list[str], device: torch.device) -> None:
    """{"do": "block", "seconds": s} -> {"bytes": 1/s, "fp32": 1/s, ...}: the fastest of what fits into so long each.

    The first answer, {"ready": true}, comes unasked.
    """
    rows, values = _LARGE[device.type]
    source = torch.ones(values, device=device)
    target = torch.ones_like(source)  # touched, so that no page is missing
    factors = {name: torch.randn(2, rows, rows, device=device, dtype=_DTYPES[name]) for name in precisions}
    tell({"ready": True})
    while True:
        seconds = asked()["seconds"]
        found = {"bytes": 2 * source.nbytes / _fastest(lambda: target.copy_(source), seconds, device)}
        for name, (a, b) in factors.items():
            found[name] = 2 * rows**3 / _fastest(lambda a=a, b=b: a @ b, seconds, device)
        tell(found)


def _fastest(call: Callable[[], object], seconds: float, device: torch.device) -> float:
    until, best = time.perf_counter() + seconds, float("inf")
    while True:
        started = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        ended = time.perf_counter()
        best = min(best, ended - started)
        if ended > until:
            return best
