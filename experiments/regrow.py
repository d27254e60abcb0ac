"""Do switched-off filters become useful when they are drawn anew, and more and more of the network trains?

    bnonly experiment run regrow --preset cpu --set data.path=CIFAR10

The proposal of the slides this laboratory began with; we know no publication of it. Train bn; draw the filters with
|gamma| < 0.01 anew, each from its next round of the seed; train bn and a share of each filter's scalars; draw anew
again; and so on with growing shares, until everything trains. Two controls have the same budget: nothing is drawn
anew, or as many filters of each layer as that, whichever they are. The first stage has the paper's 160 epochs also
under the preset cpu, since few filters are off before; it is a run of `depth` --preset paper, whose folder may be
copied into that of `regrow`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from experiments.grid import By, Experiment, Trial

FIRST, LATER = By(smoke=2, cpu=160, paper=160), By(smoke=2, cpu=10, paper=160)
"""Epochs of the first stage, which decides what is switched off, and of each that follows."""
WAYS = ("small", "random", "none")
GROUPS = By(
    smoke=("bn+random:10%", "all"),
    cpu=("bn+random:1%", "bn+random:10%", "all"),
    paper=("bn+random:1%", "bn+random:3%", "bn+random:10%", "bn+random:30%", "all"),
)
"""What trains in each stage after the first, which trains bn."""


def stage_of(trial: Trial, trials: Sequence[Trial]) -> int:
    """0 for the runs that begin at the seed, 1 for those that go on from them."""
    by_id, stage = {each.id: each for each in trials}, 0
    while (before := trial.config.regrow.after) is not None:
        trial, stage = by_id[before], stage + 1
    return stage


def more(preset: str, trials: Sequence[Trial]) -> Iterable[dict[str, Any]]:
    """The next stage of every run that is done."""
    groups = GROUPS.of(preset)
    for trial in trials:
        stage, config = stage_of(trial, trials), trial.config
        if stage == len(groups) or trial.folder.result() is None:
            continue
        for way in WAYS if stage == 0 else (config.regrow.choose,):
            yield {
                "seed": config.seed,
                "network.name": config.network.name,
                "group": groups[stage],
                "training.epochs": LATER.of(preset),
                "regrow.after": trial.id,
                "regrow.choose": way,
            }


EXPERIMENT = Experiment(
    question="Do filters that BatchNorm has switched off become useful when they are drawn anew?",
    axes={
        "seed": By(smoke=[0], cpu=range(2), paper=range(5)),
        "network.name": By(
            smoke=["cifar_resnet8"], cpu=["cifar_resnet14"], paper=["cifar_resnet14", "cifar_resnet56"]
        ),
        "training.epochs": By(smoke=[FIRST.of("smoke")], cpu=[FIRST.of("cpu")], paper=[FIRST.of("paper")]),
    },
    fields={"data.source": "cifar10", "group": "bn"},
    shares=("depth", "width"),
    more=more,
    decides=("group", "regrow.after", "regrow.choose"),
    drawing="experiments.regrow_tables:files",
    figures=(),
    expect=(
        "Nothing is known. About a quarter of the filters is off after the first stage [2nd]; if drawing them anew "
        "helps, `small` stands above both controls while little else trains, and all meet when all trains."
    ),
)
