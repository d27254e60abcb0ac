"""How much of gamma goes to zero, when bn trains and when all trains, over depth and width?

    bnonly experiment run gamma_sparsity --preset cpu --set data.path=CIFAR10

The runs are those of `depth` and `width`; what is added are the measures: gamma and beta by layer, ReLU outputs that
are zero, dead and effective channels.
"""

from __future__ import annotations

from experiments.grid import FIT, By, Experiment, Stage

EXPERIMENT = Experiment(
    question="How are gamma and beta distributed, and which channels are off, with bn trained and with all trained?",
    axes={
        "seed": By(smoke=[0], cpu=[0], paper=range(5)),
        "network.name": By(
            smoke=["cifar_resnet8", "cifar_wrn8_2"],
            cpu=["cifar_resnet14", "cifar_resnet32", "cifar_resnet56"],
            paper=[
                *(f"cifar_resnet{depth}" for depth in (14, 32, 56, 110, 218, 434, 866)),
                *(f"cifar_wrn14_{factor}" for factor in (2, 4, 8, 16, 32)),
            ],
        ),
        "group": ["bn", "all"],
    },
    fields={"data.source": "cifar10"},
    shares=("depth", "width"),
    stages=(FIT, Stage("measure")),
    figures=("gamma_histograms", "sparsity_by_depth", "sparsity_by_width", "relu_zeros"),
    expect=(
        "bn trained: around a third of the random features is disabled [V], so |gamma| < 0.01 in about that share, "
        "more with depth; all trained: far fewer. Few epochs leave gamma less time to fall."
    ),
)
