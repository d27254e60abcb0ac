"""Do a random Mixer's or ViT's LayerNorms learn what a random ResNet's BatchNorms do?

    bnonly experiment run norm_only --preset cpu --set data.path=CIFAR10

Frankle et al. (2021) train BatchNorm in convolutional networks. Strict norm-only training of a random Mixer or ViT we
found published nowhere; the nearest, Lu et al. (2021), trains LayerNorm, input and output layer and positions.
Whether training few parameters or all looks better hangs on the learning rate (Rothermel et al. 2021), so every cell,
a network and a group, gets its own: the rates are tried on training images held out, and the best one alone, on all
training images, sees the test set. ResNets train by SGD with momentum as in the paper, Mixer and ViT by Adam without
decay, as transformers do; all with a warm-up of a tenth of the epochs and half a cosine.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from experiments.grid import By, Experiment, Trial
from experiments.ranking import ranked

RESNETS = By(
    smoke=("cifar_resnet8_ln",),
    cpu=("cifar_resnet14", "cifar_resnet14_ln", "cifar_resnet14_gn"),
    paper=("cifar_resnet56", "cifar_resnet56_ln", "cifar_resnet56_gn"),
)
TOKENS = By(
    smoke=("mixer_w32_d2_p2_r8", "vit_w32_d2_p2"),
    cpu=("mixer_w128_d4_p4", "vit_w128_d4_p4"),
    paper=("mixer_w256_d8_p4", "vit_w192_d12_p4"),
)
_GROUPS = ("norm", "norm+output", "all")
GROUPS = By(smoke=("norm", "all"), cpu=_GROUPS, paper=_GROUPS)
RATES = {
    "sgd": By(smoke=(0.03, 0.3), cpu=(0.03, 0.1, 0.3, 1.0), paper=(0.01, 0.03, 0.1, 0.3, 1.0, 3.0)),
    "adam": By(smoke=(0.003, 0.03), cpu=(0.001, 0.003, 0.01, 0.03), paper=(1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2)),
}
HOLDOUT = By(smoke=300, cpu=5000, paper=5000)
SEEDS = By(smoke=1, cpu=3, paper=3)  # of the best rate; the sweep has seed 0 alone
# Epochs, and those of them that warm up.
EPOCHS = By(smoke=(2, 0.2), cpu=(3, 0.3), paper=(100, 10.0))

_FIELDS = (
    "network.name, group, training.optimizer, training.lr, training.weight_decay, training.epochs, training.warmup, "
    "data.holdout"
)


def point(preset: str, network: str, group: str, lr: float, holdout: int) -> tuple[Any, ...]:
    """A run's values of _FIELDS."""
    sgd = network.startswith("cifar_resnet")
    how = ("sgd", lr, 1e-4) if sgd else ("adam", lr, 0.0)
    return (network, group, *how, *EPOCHS.of(preset), holdout)


def cell(trial: Trial) -> tuple[str, str]:
    """The network and the group of a run."""
    return trial.config.network.name, trial.config.group


def best(trials: Iterable[Trial]) -> dict[tuple[str, str], Trial | None]:
    """Of each cell the run of the sweep with the best held-out accuracy, the smaller rate of equals; None while one
    has neither a result nor failed for good, or where all have failed."""
    cells: dict[tuple[str, str], list[Trial]] = {}
    for trial in trials:
        if trial.config.data.holdout:
            cells.setdefault(cell(trial), []).append(trial)
    by_rate = {key: sorted(own, key=lambda trial: trial.config.training.lr) for key, own in cells.items()}
    return {key: next(iter(ranked(own) or ()), None) for key, own in by_rate.items()}


def more(preset: str, trials: Sequence[Trial]) -> Iterable[dict[str, Any]]:
    """When a cell's sweep is done: its best rate on all training images, which alone sees the test set."""
    for (network, group), trial in best(trials).items():
        if trial is not None:
            for seed in range(SEEDS.of(preset)):
                values = point(preset, network, group, trial.config.training.lr, 0)
                yield {"seed": seed} | dict(zip(_FIELDS.split(", "), values, strict=True))


def _sweep(preset: str) -> list[tuple[Any, ...]]:
    return [
        point(preset, network, group, lr, HOLDOUT.of(preset))
        for group in GROUPS.of(preset)
        for networks, optimizer in ((RESNETS, "sgd"), (TOKENS, "adam"))
        for network in networks.of(preset)
        for lr in RATES[optimizer].of(preset)
    ]


EXPERIMENT = Experiment(
    question="What do norm, norm+output and all reach in ResNets with BN, LN, GN, in a Mixer and in a ViT, each at "
    "its own best learning rate?",
    axes={_FIELDS: By(smoke=_sweep("smoke"), cpu=_sweep("cpu"), paper=_sweep("paper"))},
    fields={"data.source": "cifar10", "training.schedule": "cosine"},
    more=more,
    decides=tuple(_FIELDS.split(", ")),
    drawing="norm_only",
    figures=(),
    expect=(
        "BatchNorm leads: it normalises each channel, so that gamma is a choice among random features. A random "
        "transformer with LN, embeddings and head trained reaches 62 % [V]; gamma and beta alone should stay far "
        "below it. No number for a strict norm-only Mixer or ViT is published that we know."
    ),
)
