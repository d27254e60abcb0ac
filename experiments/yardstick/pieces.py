"""Two pieces of the laboratory against what one would use without it: the generator, and Lightning's loop.

One process, one thread of the CPU; the two of a pair alternate in short blocks, so that a machine that slows down
slows both. Expect bngen-1 at 0.7 or more of torch.randn's normals a second, and Lightning to cost under 0.6 ms a step
over a loop written by hand.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from bnonly.config import RunConfig
from bnonly.measure.accuracy import tally
from bnonly.randomness import bngen
from bnonly.runs import RunFolder
from bnonly.training.build import run_batches, run_data
from bnonly.training.environment import threads
from bnonly.training.fit import quiet, trainer
from bnonly.training.module import GroupTraining
from experiments.tables import made_with, quartiles

NORMALS = 4_000_000
EPOCHS, BATCH = 4, 16  # 90 steps an epoch


def measure(rounds: int) -> list[dict[str, Any]]:
    """A row a pair: medians, the quartiles of the ratio, and what it was measured with."""
    with threads(1):
        shared = made_with() | {"dtype": "fp32"}
        return [pair(rounds) | shared for pair in (generator, lightning_overhead)]


def generator(rounds: int) -> dict[str, Any]:
    """Normals a second of bngen-1 and of torch.randn into memory that is there, one thread."""
    out = np.empty(NORMALS, np.float32)
    tensor = torch.from_numpy(out)
    ours = _alternating(
        rounds,
        lambda: _seconds(lambda: bngen.he_weights(0, 0, NORMALS, 576, out=out)),
        lambda: _seconds(lambda: torch.randn(NORMALS, out=tensor)),
    )
    return _row("bngen-1 normals a second", "torch.randn", "1/s", [(NORMALS / a, NORMALS / b) for a, b in ours])


def lightning_overhead(rounds: int) -> dict[str, Any]:
    """Seconds a step of GroupTraining in the Trainer and of a loop by hand that keeps the same sums.

    For a tiny network on digits: forward and backward take so little that the difference is the loop's own price.
    """
    config = RunConfig.model_validate(
        {"group": "all", "training": {"epochs": EPOCHS, "batch_size": BATCH, "lr": 1e-3}, "tracking": "off"}
    )
    batches = run_batches(config, run_data(config), torch.device("cpu"))
    steps = batches[0].steps * EPOCHS
    pairs = _alternating(rounds, lambda: _with_lightning(config, batches), lambda: _by_hand(batches))
    return _row("Lightning, a step", "loop by hand, a step", "s", [(a / steps, b / steps) for a, b in pairs])


def _tiny() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.BatchNorm1d(192), nn.ReLU(), nn.Linear(192, 10))


def _with_lightning(config: RunConfig, batches: Any) -> float:
    with TemporaryDirectory() as folder, quiet():
        train, test = batches
        module = GroupTraining(_tiny(), config, train, test, RunFolder(Path(folder)), {})
        trainer(torch.device("cpu"), EPOCHS).fit(module)
        return sum(record["seconds"] for record in RunFolder(Path(folder)).metrics())


def _by_hand(batches: Any) -> float:
    net = _tiny().train()
    sgd = torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9, weight_decay=1e-4)
    sums = torch.zeros(4, dtype=torch.float64)
    started = time.perf_counter()
    for epoch in range(EPOCHS):
        for images, labels in batches[0].epoch(epoch):
            logits = net(images)
            loss = cross_entropy(logits, labels)
            sgd.zero_grad()
            loss.backward()
            sgd.step()
            sums += tally(logits, labels, loss)
    return time.perf_counter() - started


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _alternating(rounds: int, ours: Callable[[], float], theirs: Callable[[], float]) -> list[tuple[float, float]]:
    """Pairs of figures after one round to warm up; whoever goes first changes every round."""
    pairs = []
    for number in range(rounds + 1):
        if number % 2:
            a, b = ours(), theirs()
        else:
            b, a = theirs(), ours()
        pairs.append((a, b))
    return pairs[1:]


def _row(ours: str, theirs: str, unit: str, pairs: list[tuple[float, float]]) -> dict[str, Any]:
    ratios, differences = [a / b for a, b in pairs], [a - b for a, b in pairs]
    low, middle, high = quartiles(ratios)
    return {
        "ours": ours,
        "theirs": theirs,
        "unit": unit,
        "ours_median": f"{median(a for a, _ in pairs):.4g}",
        "theirs_median": f"{median(b for _, b in pairs):.4g}",
        "difference_median": f"{median(differences):.4g}",
        "ratio_lower_quartile": f"{low:.3f}",
        "ratio_median": f"{middle:.3f}",
        "ratio_upper_quartile": f"{high:.3f}",
        "rounds": len(pairs),
    }
