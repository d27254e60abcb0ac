"""The architecture and its initial values."""

from __future__ import annotations

from typing import Annotated

from pydantic import field_validator, model_validator

from bnonly.config.base import Hint, Section
from bnonly.networks.antialias import Antialias
from bnonly.networks.registry import LISTED, PATTERN, parse
from bnonly.randomness.start import Beta, Gamma, Other, Scale, Start, Weights

Name = Annotated[
    str, Hint(form="NETWORK", allowed="a network's name, of any depth and width", pattern=PATTERN, examples=LISTED)
]


class NetworkConfig(Section):
    """Which network, and how its values are drawn from the seed."""

    name: Name = "cifar_resnet14"
    """Architecture: cifar_resnet14 (any depth 6n+2), cifar_wrn14_4, resnet18, mixer_w128_d8_p4, vit_w192_d6_p4, ...
    (`bnonly networks` lists them), or a library's: timm/NAME, torchvision/NAME."""
    weights: Weights = "normal"
    """Distribution of convolution and linear weights; a run with orthogonal cannot be stored as a seed."""
    scale: Scale = "fan_in"
    """Which fan sets the weights' variance 2/fan (He et al. 2015)."""
    gamma: Gamma = "uniform"
    """Scale of normalisation layers at the start: uniform on [0, 1), ones, or symmetric, uniform on (-1, 1)."""
    beta: Beta = "zeros"
    """Shift of normalisation layers at the start."""
    antialias: Antialias = "none"
    """Filter before all subsampling but the stem's (Zhang 2019): box of 2, triangle of 3, binomial of 5 taps."""
    other: Other = "refuse"
    """Parameters of a library's network that no rule knows, as layer scales: refuse, or all of them zeros or ones."""

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        parse(name)
        return name

    @model_validator(mode="after")
    def _consistent(self) -> NetworkConfig:
        self.start  # noqa: B018  refuses what does not go together
        return self

    @property
    def start(self) -> Start:
        """The initial distributions."""
        return Start(self.weights, self.scale, self.gamma, self.beta, self.other)
