"""The mean of what trained over the last steps (Polyak and Juditsky 1992), with which a run may end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from bnonly.config.training import TrainingConfig

_NAME = "average/"


class Average:
    """Sums, in float64, of every parameter that trains, over the steps of the last `training.average` epochs."""

    def __init__(self, net: nn.Module, training: TrainingConfig):
        self._trained = {_NAME + name: p for name, p in net.named_parameters() if p.requires_grad}
        self._from = training.epochs - training.average  # in epochs
        self._sums: dict[str, Tensor] = {}
        self._steps = 0

    def add(self, epoch: float) -> None:
        """Take the values that a step has left. epoch: fractional, at the step's end."""
        if epoch <= self._from:
            return
        with torch.no_grad():
            for name, parameter in self._trained.items():
                self._sums[name] = self._sums[name] + parameter if self._steps else parameter.double()
        self._steps += 1

    def settle(self) -> bool:
        """Put the means into the network; whether there are any."""
        with torch.no_grad():
            for name, total in self._sums.items():
                self._trained[name].copy_(total / self._steps)
        return self._steps > 0

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """For a checkpoint: tensors and facts, both empty while there is nothing to keep."""
        return self._sums, {"average_steps": self._steps} if self._steps else {}

    def restore(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Stand where a checkpoint stands."""
        self._steps = facts.get("average_steps", 0)
        self._sums = {n: tensors[n].to(p.device) for n, p in self._trained.items()} if self._steps else {}
