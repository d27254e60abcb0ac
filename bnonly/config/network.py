"""The architecture and its initial values."""

from __future__ import annotations

from typing import Literal

from pydantic import field_validator

from bnonly.config.base import Section
from bnonly.networks.registry import parse


class NetworkConfig(Section):
    """Which network, and how its values are drawn from the seed."""

    name: str = "cifar_resnet14"
    """Architecture: cifar_resnet14 (any depth 6n+2), cifar_wrn14_4, resnet18, ...; `bnonly networks` lists them."""
    weights: Literal["normal", "uniform", "sign", "orthogonal"] = "normal"
    """Distribution of convolution and linear weights; a run with orthogonal cannot be stored as a seed."""
    scale: Literal["fan_in", "fan_out"] = "fan_in"
    """Which fan sets the weights' variance 2/fan (He et al. 2015)."""
    gamma: Literal["uniform", "ones", "symmetric"] = "uniform"
    """BatchNorm's scale at the start: uniform on [0, 1), ones, or symmetric, uniform on (-1, 1)."""
    beta: Literal["zeros", "ones"] = "zeros"
    """BatchNorm's shift at the start."""

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        parse(name)
        return name
