"""Names of the low-pass filters that stand before subsampling in an anti-aliased network. Without torch."""

from __future__ import annotations

from typing import Literal, get_args

from bnonly.errors import BadInput

Antialias = Literal["none", "rect2", "tri3", "bin5"]

TAPS: dict[str, tuple[int, ...]] = {"rect2": (1, 1), "tri3": (1, 2, 1), "bin5": (1, 4, 6, 4, 1)}
"""In one direction, before they are divided by their sum (R. Zhang, ICML 2019, section 3.2)."""


def no_filter(antialias: str, why: str) -> None:
    """Raises BadInput where a filter is asked of a network that takes none. why: a sentence's beginning."""
    if antialias != "none":
        raise BadInput(f"{why}, so antialias={antialias!r} is not for it")


def check_antialias(name: str) -> None:
    """Raises BadInput for a filter that is not known."""
    if name not in get_args(Antialias):
        raise BadInput(f"antialias={name!r} is unknown: use one of {', '.join(get_args(Antialias))}")
