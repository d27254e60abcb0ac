"""What Lightning is given to iterate over: runs of a few steps, since each turn of its loop has a price."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from bnonly.training.module import GroupTraining

_STEPS_A_TURN = 16


class Turns:
    """The training batches from the module's position on, in runs of a few; Lightning iterates over it once an epoch.

    It has no length, since the first epoch after a resume may be a part of one.
    """

    def __init__(self, module: GroupTraining):
        self._module = module

    def __iter__(self) -> Iterator[Iterator[tuple[Tensor, Tensor]]]:
        first, batches = self._module.position_step, self._module.train_batches
        steps = self._module.batches = batches.epoch(self._module.position_epoch, first)
        for _ in range(first, batches.steps, _STEPS_A_TURN):
            yield islice(steps, _STEPS_A_TURN)
