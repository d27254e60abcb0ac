"""How far does width take a network whose gamma and beta alone train?

    bnonly experiment run width --preset cpu --set data.path=CIFAR10

Frankle, Schwab and Morcos (ICLR 2021), figure on width: ResNet-14 with 1 to 32 times the channels, CIFAR-10, mean of
five seeds.
"""

from __future__ import annotations

from experiments.grid import By, Experiment

EXPERIMENT = Experiment(
    question="How does accuracy grow with width, when bn, bn+output, output, random:2 or all parameters train?",
    axes={
        "seed": By(smoke=[0], cpu=[0], paper=range(5)),
        "network.name": By(
            smoke=["cifar_wrn8_1", "cifar_wrn8_2"],
            cpu=["cifar_wrn14_1", "cifar_wrn14_2", "cifar_wrn14_4"],
            paper=[f"cifar_wrn14_{factor}" for factor in (1, 2, 4, 8, 16, 32)],
        ),
        "group": ["bn", "bn+output", "output", "random:2", "all"],
    },
    fields={"data.source": "cifar10"},
    figures=("accuracy_by_width", "accuracy_by_parameters", "learning_curves"),
    expect=(
        "bn rises from 48 % at width 1 to 73 % at 32 [D], all from 90 to 95 % [D]. Depth gains more a "
        "parameter: 76 % at ResNet-218 with 16,352 of them, 68 % at WRN-14-16 with 17,920 [D]."
    ),
)
