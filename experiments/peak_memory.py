"""How much memory does a step of a deep network take, as it is written without the laboratory and within it?

    bnonly experiment run peak_memory --preset cpu --set data.path=CIFAR10

Each side of `speed` (experiments/yardstick/sides.py) in a process of its own, one after another, for two steps: what
it held at most, and what autograd kept for backward.
"""

from __future__ import annotations

from experiments.grid import By, Experiment, Stage

_NETWORKS = ["cifar_resnet14", "cifar_resnet56", "cifar_resnet218", "cifar_resnet866"]


def _stages(*sides: str) -> tuple[Stage, ...]:
    return (Stage("experiments.yardstick.peak:measure", {"sides": list(sides)}),)


EXPERIMENT = Experiment(
    question="How much memory does a training step take at most, by depth and way of computing, when bn trains?",
    axes={
        "network.name": By(smoke=["cifar_resnet8"], cpu=_NETWORKS, paper=_NETWORKS),
        "training.threads": By(smoke=[1], cpu=[2], paper=[None]),
    },
    fields={"data.source": "cifar10", "group": "bn"},
    stages=By(
        smoke=_stages("plain", "fused"),
        cpu=_stages("plain", "paper", "channels_last", "fused", "fast"),
        paper=_stages("plain", "shelf-bf16", "paper", "channels_last", "fused", "fast"),
    ),
    slots=1,
    drawing="experiments.yardstick.peak:files",
    figures=(),
    expect="fused keeps half of what autograd keeps otherwise, fast a quarter; ResNet-866 then fits into 8.5 GiB.",
)
