"""The grammar of group names, without torch: `bn`, `random:2`, `bn+output`."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from difflib import get_close_matches

from bnonly.errors import BadInput

GROUPS = {
    "bn": "gamma and beta of every BatchNorm layer",
    "gamma": "the scale of every normalisation layer",
    "beta": "the shift of every normalisation layer",
    "output": "the last linear layer, weight and bias",
    "shortcut": "the 1x1 convolutions of the shortcuts",
    "random:K": "K random scalars of each convolution channel (or 1% of its scalars), positions from the seed",
    "norm": "scale and shift of every normalisation layer of any kind",
    "all": "every parameter",
    "none": "nothing; running statistics still move",
}
"""Every group and what it trains. Groups join with +."""

_RANDOM = r"random:([1-9][0-9]{0,6}|(100|[1-9][0-9]?|[1-9]?[0-9]\.[0-9]{1,2})%)"
_JOINED = "|".join([name for name in GROUPS if name not in ("random:K", "all", "none")] + [_RANDOM])
PATTERN = rf"^ *(all|none|({_JOINED})( *\+ *({_JOINED}))*) *$"
"""Every text that `parse_group` takes, and sums that name a part twice."""

EXAMPLES = (*(name.replace("K", "2") for name in GROUPS), "bn+output")
"""Groups to choose from, each as it may be written."""


def parse_group(text: str) -> tuple[str, ...]:
    """The parts of a sum, in order, checked: `bn+random:2` -> ("bn", "random:2"); 1.0% is 1%. Raises BadInput."""
    parts = tuple(part.strip() for part in text.split("+"))
    parts = tuple(str(Scalars.of(part)) if re.fullmatch(_RANDOM, part) else part for part in parts)
    for part in parts:
        if (re.fullmatch(_RANDOM, part) and Scalars.of(part)) or (part in GROUPS and part != "random:K"):
            continue
        if part.startswith("random"):
            raise BadInput(
                f"group {part!r} needs a whole number of scalars a channel, at least 1, or a share of them: "
                "random:2, random:1%"
            )
        near = get_close_matches(part, GROUPS, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise BadInput(f"group {part!r} is unknown{hint} (groups: {', '.join(GROUPS)}; join them with +)")
    for lonely in ("none", "all"):
        if lonely in parts and len(parts) > 1:
            raise BadInput(f"group {text!r} makes no sum: {lonely} stands alone")
    if len(set(parts)) != len(parts):
        raise BadInput(f"group {text!r} names a part twice")
    if sum(part.startswith("random:") for part in parts) > 1:
        raise BadInput(f"group {text!r} has two random parts: add up their numbers instead")
    return parts


@dataclass(frozen=True)
class Scalars:
    """How many scalars of a convolution channel train: a number, or a share of those it has. False where none do."""

    count: int = 0
    percent: float = 0.0

    @classmethod
    def of(cls, part: str) -> Scalars:
        """Those of `random:K` or `random:P%`."""
        number = part.removeprefix("random:")
        return cls(percent=float(number[:-1])) if number.endswith("%") else cls(int(number))

    def __bool__(self) -> bool:
        return self.count > 0 or self.percent > 0

    def __str__(self) -> str:
        return f"random:{self.count}" if self.count else f"random:{self.percent:g}%"

    def among(self, scalars: int) -> int:
        """Of a channel with so many: min(K, n), or P % of n, rounded up."""
        # Rounded once before it is rounded up: 1 % of 100 is 1.
        return min(self.count, scalars) if self.count else math.ceil(round(self.percent * scalars / 100, 6))


def random_scalars(parts: tuple[str, ...]) -> Scalars:
    """Those of the sum's random part; false without one."""
    return next((Scalars.of(part) for part in parts if part.startswith("random:")), Scalars())
