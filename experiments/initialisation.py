"""Does it matter how the frozen weights, gamma and beta are drawn?

    bnonly experiment run initialisation --preset cpu --set data.path=CIFAR10

Weights: He normal, uniform of the same variance, signs times one magnitude. gamma: uniform on [0, 1), ones, uniform
on (-1, 1). beta: zeros or ones. One departure at a time from the paper's choice, and the pair of ones.
"""

from __future__ import annotations

from experiments.grid import By, Experiment

_STARTS = [
    ("normal", "uniform", "zeros"),
    ("uniform", "uniform", "zeros"),
    ("sign", "uniform", "zeros"),
    ("normal", "ones", "zeros"),
    ("normal", "symmetric", "zeros"),
    ("normal", "uniform", "ones"),
    ("normal", "ones", "ones"),
]

EXPERIMENT = Experiment(
    question="What do other initial weights, gammas and betas change, with bn trained and with all trained?",
    axes={
        "seed": By(smoke=[0], cpu=[0], paper=range(5)),
        "network.name": By(
            smoke=["cifar_resnet8"],
            cpu=["cifar_resnet14"],
            paper=["cifar_resnet14", "cifar_resnet56", "cifar_resnet110", "cifar_resnet218"],
        ),
        "network.weights, network.gamma, network.beta": By(smoke=_STARTS[:2], cpu=_STARTS, paper=_STARTS),
        "group": By(smoke=["bn"], cpu=["bn"], paper=["bn", "all"]),
    },
    fields={"data.source": "cifar10"},
    shares=("depth", "width"),
    figures=("accuracy_by_start", "gamma_histograms"),
    expect=(
        "The distribution of the weights hardly matters; another start of BatchNorm gave 1 to 2.5 points at every "
        "depth in the paper's first version [D], which does not say which start that was: ones for beta is our guess."
    ),
)
