"""The grammar of group names, without torch: `bn`, `random:2`, `bn+output`."""

from __future__ import annotations

import re
from difflib import get_close_matches

from bnonly.errors import BadInput

GROUPS = {
    "bn": "gamma and beta of every BatchNorm layer",
    "gamma": "the scale of every normalisation layer",
    "beta": "the shift of every normalisation layer",
    "output": "the last linear layer, weight and bias",
    "shortcut": "the 1x1 convolutions of the shortcuts",
    "random:K": "K random scalars of each convolution channel, positions from the seed",
    "norm": "scale and shift of every normalisation layer of any kind",
    "all": "every parameter",
    "none": "nothing; running statistics still move",
}
"""Every group and what it trains. Groups join with +."""

_RANDOM = r"random:[1-9][0-9]{0,6}"
_JOINED = "|".join([name for name in GROUPS if name not in ("random:K", "all", "none")] + [_RANDOM])
PATTERN = rf"^ *(all|none|({_JOINED})( *\+ *({_JOINED}))*) *$"
"""Every text that `parse_group` takes, and sums that name a part twice."""

EXAMPLES = (*(name.replace("K", "2") for name in GROUPS), "bn+output")
"""Groups to choose from, each as it may be written."""


def parse_group(text: str) -> tuple[str, ...]:
    """The parts of a sum, in order, checked: `bn+random:2` -> ("bn", "random:2"). Raises BadInput."""
    parts = tuple(part.strip() for part in text.split("+"))
    for part in parts:
        if re.fullmatch(_RANDOM, part) or (part in GROUPS and part != "random:K"):
            continue
        if part.startswith("random"):
            raise BadInput(f"group {part!r} needs a whole number of scalars a channel, at least 1: random:2")
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


def random_count(parts: tuple[str, ...]) -> int:
    """K of the sum's random:K, 0 without one."""
    return next((int(part.removeprefix("random:")) for part in parts if part.startswith("random:")), 0)
