"""Are channels with a small gamma really off? Set gamma to zero where it is small, and test again without training.

    bnonly experiment run clamp --preset cpu --set data.path=CIFAR10

As controls the same share of channels at random, and those of the largest gamma. The runs are those of `depth` and
`width`.
"""

from __future__ import annotations

from experiments.grid import FIT, By, Experiment, Stage

_SHARES = [0.1, 0.3, 0.5]
_ABLATE = Stage(
    "ablate",
    {
        "thresholds": [0.001, 0.003, 0.01, 0.03, 0.05, 0.1, 0.2, 0.3],
        "smallest": _SHARES,
        "random": _SHARES,
        "largest": _SHARES,
        "per_layer": True,
        "repeats": 2,
    },
)

EXPERIMENT = Experiment(
    question="What does accuracy lose when gammas are set to zero: small ones, random ones, large ones?",
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
    stages=(FIT, _ABLATE),
    figures=("clamp_curves", "sparsity_by_depth"),
    expect=(
        "Up to |gamma| < 0.01 nothing is lost, with bn trained and with all trained; the same share at random costs "
        "much, the largest most. Small steps of the schedule's end matter: few epochs leave fewer gammas near zero."
    ),
)
