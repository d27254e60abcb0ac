"""How much accuracy goes into how many bytes: a seed and a few numbers a channel, or few weights that were trained?

    bnonly experiment run bytes --preset cpu --set data.path=CIFAR10

Ours: seed+BN files of bn, bn+output and random:K in every codec, and bare of what lets a reader verify them. Their
rivals: ResNets of the same depth or less, an eighth to all of the width, every weight trained, in half precision and
in int8; trained with weights of 4 bits or fewer; and pruned while they train. All have the same epochs, each side has
the recipe that suits it, and each file's own header is counted. bytes.csv has a row a file, frontier.csv says who is
best at which size.
"""

from __future__ import annotations

from typing import Any

from experiments.grid import FIT, By, Experiment, Stage
from experiments.recipe import PAPERS, Recipe, point

_OUR_GROUPS = ("bn", "bn+output")
_MIXED = tuple(f"bn+output+random:{count}" for count in (2, 8, 32))


# What trains how, by choices on held-out images: gamma and beta, with whatever else trains, as `recipe` found it for
# them alone; whole networks at the rate that was best for a ResNet-14 in `norm_only`; random:K as in the paper.
OUR_RECIPE: Recipe = PAPERS | {
    "training.optimizer, training.lr": ("adam", 0.03),
    "training.schedule": "cosine",
    "training.label_smoothing": 0.1,
    "training.average": 0.1,
    "network.gamma": "symmetric",
    "network.beta": "ones",
    "network.weights": "uniform",
    "data.crop": 0,
}
RIVALS_RECIPE: Recipe = PAPERS | {"training.optimizer, training.lr": ("sgd", 0.3), "training.schedule": "cosine"}
_FIELDS = "network.name, group, compression.prune, compression.bits"
AXIS = ", ".join((_FIELDS, *point(OUR_RECIPE, 1)))

Asked = tuple[str, str, float, int | None]
"""Values of _FIELDS."""


def _ours(networks: list[str], groups: tuple[str, ...] = _OUR_GROUPS) -> list[Asked]:
    return [(name, group, 0.0, None) for name in networks for group in groups]


def _rivals(*asked: tuple[str, float, int | None]) -> list[Asked]:
    return [(name, "all", prune, bits) for name, prune, bits in asked]


_SMALL = [
    *_ours(["cifar_resnet14", "cifar_resnet32", "cifar_resnet56", "cifar_wrn14_2"]),
    *_ours(["cifar_resnet8"], ("bn",)),
    *_ours(["cifar_resnet14"], ("random:2", "random:8", "bn+output+shortcut", *_MIXED)),
    *_ours(["cifar_resnet14_w4", "cifar_resnet8", "cifar_resnet32", "cifar_wrn14_2"], ("bn+output+random:8",)),
    *_ours(["cifar_resnet14_w8"], _MIXED),
    *_rivals(
        *((f"cifar_resnet14_w{width}", 0.0, bits) for width in (4, 8, 12) for bits in (None, 4)),
        ("cifar_resnet8_w2", 0.0, 4),
        ("cifar_resnet8_w4", 0.0, 4),
        ("cifar_resnet14_w2", 0.0, 4),
        ("cifar_resnet14_w4", 0.0, 3),
        ("cifar_resnet14", 0.0, None),
        ("cifar_resnet14", 0.0, 4),
        ("cifar_resnet14_w8", 0.7, 4),
        ("cifar_resnet14", 0.9, 4),
        ("cifar_resnet14", 0.97, 4),
    ),
]
_LARGE = [
    *_ours(["cifar_resnet110", "cifar_resnet218", "cifar_wrn14_4"]),
    *_rivals(
        *((f"cifar_resnet56_w{width}", 0.0, bits) for width in (4, 8) for bits in (None, 4)),
        ("cifar_resnet56", 0.0, 4),
        ("cifar_resnet56", 0.97, 4),
    ),
]


def _for(epochs: int, asked: list[Asked]) -> list[tuple[Any, ...]]:
    return [(*one, *point(_recipe(one[1]), epochs).values()) for one in asked]


def _recipe(group: str) -> Recipe:
    if group == "all":
        return RIVALS_RECIPE
    return PAPERS if group.startswith("random") else OUR_RECIPE


EXPERIMENT = Experiment(
    question="How much accuracy goes into how many bytes, by a seed and few numbers or by few trained weights?",
    axes={
        "seed": By(smoke=[0], cpu=[0], paper=range(3)),
        AXIS: By(
            smoke=_for(
                2, [*_ours(["cifar_resnet8"]), *_rivals(("cifar_resnet8_w4", 0.0, 4), ("cifar_resnet8", 0.8, None))]
            ),
            cpu=_for(10, _SMALL),
            paper=_for(160, [*_SMALL, *_LARGE]),
        ),
    },
    fields={"data.source": "cifar10"},
    shares=("recipe",),
    stages=(FIT, Stage("experiments.bytes_files:store")),
    drawing="bytes",
    figures=(),
    expect=(
        "A narrow network trained whole has some ten trained numbers for each of ours, so it should win wherever it "
        "fits: from about 5 KB on. Below that there is room for gamma and beta alone."
    ),
)
