"""How a network's initial values are distributed. Without torch, so that a configuration can be checked at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from bnonly.errors import BadInput

Weights = Literal["normal", "uniform", "sign", "orthogonal"]
Scale = Literal["fan_in", "fan_out"]
Gamma = Literal["uniform", "ones", "symmetric"]
Beta = Literal["zeros", "ones"]
Other = Literal["refuse", "zeros", "ones"]

# QR is left to LAPACK, whose bits differ between machines: train with it, but a seed alone does not bring it back.
NOT_STORABLE = ("orthogonal",)


@dataclass(frozen=True)
class Start:
    """The initial distributions of Frankle et al. (2021) and their appendix.

    weights: convolution and linear weights of variance 2/fan ("orthogonal": gain 1, no fan). scale: which fan.
    gamma: "uniform" on [0, 1), "ones", or "symmetric", uniform on (-1, 1). beta: "zeros" or "ones".
    other: of parameters that no rule knows, as a layer scale of somebody's network: "refuse" it, "zeros" or "ones".
    In OpenLTH, the paper's code: normal and uniform are kaiming_normal and kaiming_uniform, sign is binary (there of
    the tensor's measured standard deviation, here of its nominal one); of its BatchNorm initialisers uniform is
    gamma="uniform", fixed is gamma="ones", positivenegative is gamma="symmetric", oneone is gamma and beta "ones".
    """

    weights: Weights = "normal"
    scale: Scale = "fan_in"
    gamma: Gamma = "uniform"
    beta: Beta = "zeros"
    other: Other = "refuse"

    def __post_init__(self):
        known = {"weights": Weights, "scale": Scale, "gamma": Gamma, "beta": Beta, "other": Other}
        for field, allowed in known.items():
            value = getattr(self, field)
            if value not in get_args(allowed):
                raise BadInput(f"{field}={value!r} is unknown: use one of {', '.join(get_args(allowed))}")
        if self.weights == "orthogonal" and self.scale != "fan_in":
            raise BadInput("orthogonal weights have gain 1 and no fan: leave scale unset")

    @property
    def storable(self) -> bool:
        """Whether a seed brings the values back to the bit on any machine."""
        return self.weights not in NOT_STORABLE
