"""The laboratory's side: the code of a real run, without what surrounds its steps (evaluations, files, wandb)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bnonly.config import RunConfig
from bnonly.data.batches import Loader
from bnonly.measure.accuracy import evaluate
from bnonly.runs import RunFolder
from bnonly.training.allocator import keep_freed_memory
from bnonly.training.build import engaged, placed, run_batches, run_network
from bnonly.training.environment import engine_facts, exact_kernels
from bnonly.training.fit import quiet, trainer
from bnonly.training.module import GroupTraining
from experiments.yardstick.images import images as images_of
from experiments.yardstick.images import shown
from experiments.yardstick.pace import Pace

_NOWHERE = Path("/nonexistent")  # no epoch ends, so nothing is written
_STEPS = 1 << 40


def work(config: RunConfig, device: torch.device) -> None:
    """Train the run's group for ever, or with group none evaluate, at the pace that is asked for."""
    keep_freed_memory()
    data = images_of(config)
    net = engaged(placed(run_network(config, len(data.classes)), config, device), config)
    train, test = run_batches(config, data, device)
    pace = Pace(device, net, facts=engine_facts(config, device) | shown(data))
    with quiet(), exact_kernels():
        if config.group == "none":
            evaluate(net, _for_ever(test, pace), config.training.precision)
        else:
            whole = _OneLongEpoch(train)
            module = GroupTraining(net, config, whole, test, RunFolder(_NOWHERE), {}, (_Pacer(pace, whole),))
            trainer(device, 1).fit(module)


def _for_ever(test: Loader, pace: Pace) -> Iterator[tuple[Tensor, Tensor]]:
    while True:
        for images, labels in test.in_order():
            yield images, labels
            pace.stepped(len(labels))


class _OneLongEpoch:
    """Epoch after epoch as one, so that none ends while the clock runs. last: images of the last batch."""

    def __init__(self, loader: Loader):
        self._loader, self.device, self.last = loader, loader.device, 0

    @property
    def images(self) -> int:
        return self._loader.images

    @property
    def steps(self) -> int:
        return _STEPS

    def epoch(self, epoch: int, first: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        for number in count(epoch):
            for images, labels in self._loader.epoch(number):
                self.last = len(labels)
                yield images, labels

    def in_order(self) -> Iterator[tuple[Tensor, Tensor]]:
        return self._loader.in_order()


class _Pacer:
    """A listener of the run: hears of each step."""

    def __init__(self, pace: Pace, batches: _OneLongEpoch):
        self._pace, self._batches = pace, batches

    def begin(self, images: int, record: dict[str, Any] | None, sums: Tensor, net: nn.Module) -> None: ...

    def step(self, epoch: int, step: int, sums: Tensor) -> None:
        self._pace.stepped(self._batches.last)

    def epoch(self, record: dict[str, Any], net: nn.Module) -> None: ...
