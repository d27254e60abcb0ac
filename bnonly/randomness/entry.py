"""One parameter's entry in the plan. Without torch or numpy."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Literal

Role = Literal["weight", "bias", "gamma", "beta", "embedding", "other"]
Part = Literal["", "output", "shortcut"]


@dataclass(frozen=True)
class Entry:
    """One parameter of the plan. fan_in and fan_out are 0 but for weight and bias.

    part: "output" or "shortcut" where the network declares its layer so, else "". statistics: of gamma and beta,
    whether their layer keeps running statistics, as BatchNorm does.
    """

    index: int
    name: str
    role: Role
    shape: tuple[int, ...]
    fan_in: int = 0
    fan_out: int = 0
    part: Part = ""
    statistics: bool = True

    @property
    def size(self) -> int:
        return prod(self.shape)
