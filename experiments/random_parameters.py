"""How many random scalars a channel are worth as much as gamma and beta?

    bnonly experiment run random_parameters --preset cpu --set data.path=CIFAR10

random:2 trains as many parameters as bn does, two a channel, anywhere in the channel's filter. K then rises.
"""

from __future__ import annotations

from experiments.grid import By, Experiment

EXPERIMENT = Experiment(
    question="What accuracy do K random scalars a channel reach, and which K is as good as gamma and beta?",
    axes={
        "seed": By(smoke=[0], cpu=[0], paper=range(5)),
        "network.name": By(
            smoke=["cifar_resnet8"],
            cpu=["cifar_resnet14"],
            paper=["cifar_resnet14", "cifar_resnet56", "cifar_resnet110"],
        ),
        "group": By(
            smoke=["random:2", "random:16", "bn"],
            cpu=["random:2", "random:8", "random:32", "random:128", "bn"],
            paper=[*(f"random:{2**power}" for power in range(1, 10)), "bn"],
        ),
    },
    fields={"data.source": "cifar10"},
    shares=("depth", "width"),
    figures=("accuracy_by_random_count", "learning_curves"),
    expect=(
        "bn is far better than as many randomly chosen parameters [V]; K must rise to many times two before they "
        "draw level, since they change features one weight at a time."
    ),
)
