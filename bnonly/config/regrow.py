"""A run that begins where another one ended, some of its filters drawn anew."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, model_validator

from bnonly.config.base import Hint, Section


class RegrowConfig(Section):
    """A run that begins where another one ended, some of its filters drawn anew."""

    after: Annotated[str, Field(pattern=r"^[0-9a-f]{10}$"), Hint(form="ID", allowed="a run's id")] | None = None
    """Id of the finished run, anywhere under out, of the same network and seed; unset: the run begins at the seed."""
    choose: Literal["small", "random", "none"] = "small"
    """Which filters are drawn anew, with their gamma and beta: those of small gamma, as many of each layer at random,
    or none."""
    below: NonNegativeFloat = 0.01
    """A gamma is small if its magnitude is below this."""

    @model_validator(mode="after")
    def _consistent(self) -> RegrowConfig:
        if self.after is None and (self.choose, self.below) != ("small", 0.01):
            raise ValueError("choose and below need a run to begin from: give its id as after")
        return self
