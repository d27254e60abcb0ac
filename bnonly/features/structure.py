"""What a plain random VGG is made of, and how its weights are drawn. Without torch."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from bnonly.errors import BadInput
from bnonly.networks.registry import VGG_STAGES
from bnonly.randomness.bngen import Distribution

VGGS = tuple(f"vgg{depth}" for depth in VGG_STAGES)
"""Names of plain VGGs: those of the registry have BatchNorm and end in _bn."""

WEIGHTS = ("he", "xavier", "normal:STD", "uniform:BOUND", "he_index")


@dataclass(frozen=True)
class Structure:
    """A VGG without normalisation and without linear layers, for features alone.

    blocks: convolutions a stage; a 2x2 max-pool stands before each stage but the first. kernel: pixels a side of each
    convolution, odd; sizes are kept by zero padding. width: channels of the first stage, doubled at each next one up
    to 8 times. weights, of mean 0:
    "he": normal, standard deviation sqrt(2 / n), n = kernel^2 inputs (He et al., ICCV 2015; what Liu et al., CVPR
    2021, describe as theirs: the scale of activations and gradients stays as it is from layer to layer);
    "xavier": normal, sqrt(2 / (n_in + n_out)) (Glorot and Bengio, AISTATS 2010); "normal:STD"; "uniform:BOUND", on
    (-BOUND, BOUND);
    "he_index": normal, sqrt(2 / (l n)), l the layer's place counted from 1 over convolutions, ReLUs and pools. A
    third party's code reads Liu et al. so, probably mistaking the index of n_l for a factor: activations fade with
    depth. Here to be compared, not recommended.
    bias: zero, so there is none; with True uniform in +-1/sqrt(n), as torch draws it.
    Raises BadInput for what is impossible.
    """

    blocks: tuple[int, ...] = VGG_STAGES[19]
    kernel: int = 3
    width: int = 64
    weights: str = "he"
    bias: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "blocks", tuple(self.blocks))
        if not 1 <= len(self.blocks) <= 8 or not all(isinstance(count, int) and count > 0 for count in self.blocks):
            raise BadInput(
                f"blocks {self.blocks} are impossible: give 1 to 8 numbers of convolutions, each at least 1"
            )
        if self.kernel not in range(1, 32, 2):
            raise BadInput(f"kernel {self.kernel} is impossible: give an odd number from 1 to 31")
        if not 1 <= self.width <= 4096:
            raise BadInput(f"width {self.width} is impossible: the first stage has 1 to 4096 channels")
        self.draw(1, 1, 1)

    @classmethod
    def named(cls, name: str, **options: object) -> Structure:
        """That of `vgg11`, `vgg13`, `vgg16` or `vgg19`."""
        return cls(**({"blocks": VGG_STAGES[int(name.removeprefix("vgg"))]} | options))  # type: ignore[arg-type]

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels by stage."""
        return tuple(self.width * min(1 << stage, 8) for stage in range(len(self.blocks)))

    def ends(self) -> tuple[str, ...]:
        """The last ReLU of every stage: `relu1_2`, `relu2_2`, ..."""
        return tuple(f"relu{stage}_{count}" for stage, count in enumerate(self.blocks, 1))

    def draw(self, fan_in: int, fan_out: int, place: int) -> tuple[Distribution, float]:
        """Distribution and standard deviation of a convolution's weights; place: counted from 1, as in he_index."""
        if self.weights in ("he", "he_index"):
            return "normal", math.sqrt(2 / (fan_in * (place if self.weights == "he_index" else 1)))
        if self.weights == "xavier":
            return "normal", math.sqrt(2 / (fan_in + fan_out))
        if match := re.fullmatch(r"(normal|uniform):(\d+(?:\.\d+)?(?:e-?\d{1,2})?)", self.weights):
            amount = float(match[2])
            if 0 < amount < 1e6:
                return ("normal", amount) if match[1] == "normal" else ("uniform", amount / math.sqrt(3))
        raise BadInput(
            f"weights {self.weights!r} are unknown: use one of {', '.join(WEIGHTS)}, as in normal:0.01 (a standard "
            "deviation) or uniform:0.1 (on -0.1 to 0.1)"
        )
