"""What a run that trains all its weights may do to have them stored in few bytes: rivals of the seed+BN file."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from bnonly.config.base import Hint, Section

FIRST, LAST = 0.1, 0.7  # of the epochs: when pruning begins and has its share


class CompressionConfig(Section):
    """Weights that train made cheap to store, while they train; for group all."""

    prune: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of all convolution and linear weights that is 0 in the end: those of least magnitude, more and more of
    them between a tenth and seven tenths of the epochs, into which training.average must not reach back."""
    bits: Annotated[int, Field(ge=2, le=8), Hint(unit="bits")] | None = None
    """Bits of a convolution or linear weight: forward and backward see weights rounded to them, a step a filter, and
    the gradient goes to those that are not rounded; unset: no rounding."""

    @property
    def off(self) -> bool:
        return not self.prune and self.bits is None
