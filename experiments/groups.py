"""Which small group of parameters makes a random network useful?

    bnonly experiment run groups --preset cpu --set data.path=CIFAR10

The paper shows bn, bn+output+shortcut, output+shortcut, all and none; of gamma and beta alone we know no number.
"""

from __future__ import annotations

from experiments.grid import By, Experiment

EXPERIMENT = Experiment(
    question="What do gamma, beta, the output layer, the shortcuts and their sums reach, each trained alone?",
    axes={
        "seed": By(smoke=[0], cpu=[0], paper=range(5)),
        "network.name": By(
            smoke=["cifar_resnet8"],
            cpu=["cifar_resnet14"],
            paper=["cifar_resnet14", "cifar_resnet56", "cifar_resnet110", "cifar_wrn14_4"],
        ),
        "group": [
            "none", "gamma", "beta", "bn", "output", "shortcut", "bn+output", "bn+shortcut", "output+shortcut",
            "bn+output+shortcut", "random:2", "all",
        ],
    },
    fields={"data.source": "cifar10"},
    shares=("depth", "width"),
    figures=("accuracy_by_group", "learning_curves"),
    expect=(
        "At ResNet-14: none 10.6 %, bn 48 %, output+shortcut 49 %, bn+output+shortcut 63 %, all 90 % [D]; with depth "
        "bn overtakes output+shortcut, which falls to chance [D]."
    ),
)  # fmt: skip
