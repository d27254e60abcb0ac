"""Do a random Mixer's or ViT's LayerNorms learn what a random ResNet's BatchNorms do?

    bnonly experiment run norm_only --preset cpu --set data.path=CIFAR10

Frankle et al. (2021) train BatchNorm in convolutional networks. Strict norm-only training of a random Mixer or ViT
we found published nowhere; the nearest, Lu et al. (2021), trains LayerNorm, input and output layer and positions.
Whether training few parameters or all looks better hangs on the learning rate (Rothermel et al. 2021), so every
cell, a network and a group, gets its own: the rates are tried on training images held out, the next one beyond,
too, where the greatest or the least is the best, and the best one alone, on all training images, sees the test
set. Mixer and ViT train by Adam without decay, as transformers do. ResNets train by SGD with momentum and decay as
in the paper, and where their weights are frozen by Adam, too, whichever is better: the paper's rates were chosen for
weights. All have a warm-up of a tenth of the epochs and half a cosine.
"""

from __future__ import annotations

import math
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
    "sgd": By(smoke=(0.3,), cpu=(0.03, 0.1, 0.3, 1.0), paper=(0.01, 0.03, 0.1, 0.3, 1.0, 3.0)),
    "adam": By(smoke=(0.003, 0.03), cpu=(0.001, 0.003, 0.01, 0.03), paper=(1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2)),
}
BEYOND = By(smoke=0, cpu=2, paper=2)  # rates that a cell may try past these
HOLDOUT = By(smoke=300, cpu=5000, paper=5000)
SEEDS = By(smoke=1, cpu=3, paper=3)  # of the best rate; the sweep has seed 0 alone
# Epochs, and those of them that warm up.
EPOCHS = By(smoke=(2, 0.2), cpu=(3, 0.3), paper=(100, 10.0))

_FIELDS = (
    "network.name, group, training.optimizer, training.lr, training.weight_decay, training.epochs, training.warmup, "
    "data.holdout"
)


def point(preset: str, network: str, group: str, optimizer: str, lr: float, holdout: int) -> tuple[Any, ...]:
    """A run's values of _FIELDS."""
    return (network, group, optimizer, lr, 1e-4 if optimizer == "sgd" else 0.0, *EPOCHS.of(preset), holdout)


def cell(trial: Trial) -> tuple[str, str]:
    """The network and the group of a run."""
    return trial.config.network.name, trial.config.group


def sweeps(trials: Iterable[Trial]) -> dict[tuple[str, str], dict[str, list[Trial]]]:
    """Of each cell the runs that are judged on held-out images: by optimizer, in the order of their rates."""
    cells: dict[tuple[str, str], dict[str, list[Trial]]] = {}
    for trial in sorted(trials, key=lambda trial: trial.config.training.lr):
        if trial.config.data.holdout:
            cells.setdefault(cell(trial), {}).setdefault(trial.config.training.optimizer, []).append(trial)
    return cells


def beyond(preset: str, sweep: Sequence[Trial], best: float) -> float | None:
    """The rate to try next where the best is the greatest or the least of a sweep and so many may still be tried."""
    rates = [trial.config.training.lr for trial in sweep]
    if len(rates) >= len(RATES[sweep[0].config.training.optimizer].of(preset)) + BEYOND.of(preset):
        return None
    if best == rates[-1]:
        return _next(best, up=True)
    return _next(best, up=False) if best == rates[0] else None


def _next(rate: float, up: bool) -> float:
    """1, 3, 10, 30 and so on."""
    tens = math.floor(math.log10(rate) + 1e-9)
    one = round(rate / 10.0**tens) == 1
    power = tens + (0 if one and up else 1 if up else -1 if one else 0)
    return float(f"{3 if one else 1}e{power}")


def more(preset: str, trials: Sequence[Trial]) -> Iterable[dict[str, Any]]:
    """When a sweep is done: the rate beyond it. When all of a cell are: its best rate on all training images, which
    alone sees the test set. The least one of equals; nothing where all have failed."""
    for key, own in sweeps(trials).items():
        orders = [ranked(sweep) for sweep in own.values()]
        further = [
            (optimizer, rate)
            for (optimizer, sweep), order in zip(own.items(), orders, strict=True)
            if order and (rate := beyond(preset, sweep, order[0].config.training.lr))
        ]
        yield from (_run(preset, 0, *key, *how, HOLDOUT.of(preset)) for how in further)
        best = None if further or None in orders else ranked([trial for sweep in own.values() for trial in sweep])
        if best:
            how = best[0].config.training
            yield from (_run(preset, seed, *key, how.optimizer, how.lr, 0) for seed in range(SEEDS.of(preset)))


def _run(preset: str, seed: int, *asked: Any) -> dict[str, Any]:
    return {"seed": seed} | dict(zip(_FIELDS.split(", "), point(preset, *asked), strict=True))


def _optimizers(network: str, group: str) -> tuple[str, ...]:
    if not network.startswith("cifar_resnet"):
        return ("adam",)
    return ("sgd",) if group == "all" else ("sgd", "adam")


def _sweep(preset: str) -> list[tuple[Any, ...]]:
    return [
        point(preset, network, group, optimizer, lr, HOLDOUT.of(preset))
        for group in GROUPS.of(preset)
        for network in (*RESNETS.of(preset), *TOKENS.of(preset))
        for optimizer in _optimizers(network, group)
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
        "Under cpu, in bf16: BatchNorm 43 % alone, a ViT's LayerNorms the same, a Mixer's 40 %, those of a ResNet-14 "
        "with LN or GN 34 %; Adam at 0.1 best for nearly all (docs/norm_only.md). We had expected BatchNorm to lead. "
        "A random transformer with LN, embeddings and head trained reaches 62 % [V]."
    ),
)
