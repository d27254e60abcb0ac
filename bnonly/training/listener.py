"""Whoever watches a run: the terminal, wandb, a sweep's table."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor, nn


class Listener(Protocol):
    """begin: once, with the images of an epoch and where the run stands, the last epoch's record if there is one.
    step: after each step, with the epochs done, the steps of this one and its sums. epoch: after each epoch.
    """

    def begin(self, images: int, record: dict[str, Any] | None, sums: Tensor, net: nn.Module) -> None: ...

    def step(self, epoch: int, step: int, sums: Tensor) -> None: ...

    def epoch(self, record: dict[str, Any], net: nn.Module) -> None: ...
