"""How far does depth take a network whose gamma and beta alone train?

    bnonly experiment run depth --preset cpu --set data.path=CIFAR10

Frankle, Schwab and Morcos (ICLR 2021), figure on depth: seven depths, CIFAR-10, mean of five seeds.
"""

from __future__ import annotations

from experiments.grid import By, Experiment

EXPERIMENT = Experiment(
    question="How does accuracy grow with depth, when bn, bn+output, output, random:2 or all parameters train?",
    axes={
        "seed": By(smoke=[0], cpu=[0], paper=range(5)),
        "network.name": By(
            smoke=["cifar_resnet8", "cifar_resnet14"],
            cpu=["cifar_resnet14", "cifar_resnet32", "cifar_resnet56"],
            paper=[f"cifar_resnet{depth}" for depth in (14, 32, 56, 110, 218, 434, 866)],
        ),
        "group": ["bn", "bn+output", "output", "random:2", "all"],
    },
    fields={"data.source": "cifar10"},
    figures=("accuracy_by_depth", "accuracy_by_parameters", "learning_curves"),
    expect=(
        "bn rises from 48 % at depth 14 to 82 % at 866 [D], all stays at 90 to 93 % [D]; output alone falls with "
        "depth, random:2 stays far below bn [V]. Few epochs give lower numbers in the same order."
    ),
)
