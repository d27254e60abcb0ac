"""How fast is a step of the laboratory, beside what one would write without it, and beside what the machine can do?

    bnonly experiment run speed --preset cpu --set data.path=CIFAR10

A trial is a network and a group; group none is evaluation, forward alone. Each side of it is a process of its own
(experiments/yardstick/sides.py), asked for short blocks in turn; what counts are ratios within a round. See
docs/speed.md. `python -m experiments.speed ...` is the same as `bnonly experiment run speed ...`.
"""

from __future__ import annotations

import sys

from bnonly.errors import guarded
from experiments.grid import By, Experiment, Stage

_THEIRS, _OURS = ["plain", "shelf", "shelf-bf16", "compiled"], ["paper", "channels_last", "fused", "fast"]
_BESIDE = ["paper@bn", "fused@bn"]  # of random:K


def _stages(sides: list[str], rounds: int, seconds: float) -> tuple[Stage, ...]:
    return (
        Stage("speed", {"sides": sides, "rounds": rounds, "seconds": seconds}),
        Stage("pieces", {"rounds": rounds}),
    )


_GPU = _stages([*_THEIRS, "compiled-bf16", "graphs", *_OURS, *_BESIDE], 15, 1.0)
_GROUPS = ["bn", "random:2", "output", "all", "none"]
_NAMES = ("cifar_resnet14", "cifar_resnet56", "cifar_wrn14_4")

EXPERIMENT = Experiment(
    question="How fast are a step and an evaluation, beside a plain loop, torch's own means, the machine's limit?",
    axes={
        "network.name, training.batch_size": By(
            smoke=[("cifar_resnet8", 128)],
            cpu=[*((name, 128) for name in _NAMES), ("resnet18", 16)],
            paper=[*((name, 128) for name in _NAMES), ("resnet18", 128)],
        ),
        "group": By(smoke=["bn", "random:2", "none"], cpu=_GROUPS, paper=_GROUPS),
        "training.threads": By(smoke=[1], cpu=[2], paper=[None]),
    },
    fields={"data.source": "cifar10"},
    stages=By(
        smoke=_stages(["plain", "paper", "paper@bn"], 3, 0.05),
        cpu=_stages([*_THEIRS, *_OURS, *_BESIDE], 11, 1.0),
        paper=_GPU,
    ),
    slots=1,
    drawing="experiments.yardstick.tables:files",
    figures=(),
    expect=(
        "No side of ours slower than `plain`. On two cores, ResNet-14 with bn: fused twice as fast as `plain` or "
        "more, with half the memory kept for backward; evaluation about three times as fast."
    ),
)

if __name__ == "__main__":
    from experiments.command import main

    sys.exit(guarded(lambda: main(["run", "speed", *sys.argv[1:]])))
