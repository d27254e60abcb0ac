"""Layers born without values: the seed fills them, so torch's own initialisation would be time and randomness lost.

They stand on torch's meta device, where a tensor has a shape and no memory; `bnonly.network` brings them to life.
"""

from __future__ import annotations

from typing import Any

from torch import nn


class Conv2d(nn.Conv2d):
    """torch's, on the meta device unless another is named."""

    def __init__(self, *arguments: Any, device: Any = "meta", **named: Any):
        super().__init__(*arguments, device=device, **named)

    def reset_parameters(self) -> None:
        pass


class BatchNorm2d(nn.BatchNorm2d):
    """torch's, on the meta device unless another is named."""

    def __init__(self, *arguments: Any, device: Any = "meta", **named: Any):
        super().__init__(*arguments, device=device, **named)

    def reset_parameters(self) -> None:
        pass


class Linear(nn.Linear):
    """torch's, on the meta device unless another is named."""

    def __init__(self, *arguments: Any, device: Any = "meta", **named: Any):
        super().__init__(*arguments, device=device, **named)

    def reset_parameters(self) -> None:
        pass
