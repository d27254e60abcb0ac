"""What every part of the configuration has in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler

from bnonly.groups import EXAMPLES, PATTERN


class Section(BaseModel):
    """Frozen, and closed to names it does not know.

    A field's docstring is its help, its description in the JSON schema and its line in docs/configuration.md. Of a
    field that may be None it ends with `; unset: ...`, which says what then holds. NOT_IN_ID adds that a
    field does not change a run's id.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


@dataclass(frozen=True)
class Hint:
    """What help, schema and documents say of a type, where its annotation cannot. It refuses nothing by itself."""

    unit: str | None = None
    form: str | None = None
    """Stands for the value in the help: GROUP, R,G,B."""
    allowed: str | None = None
    """The values in words."""
    pattern: str | None = None
    """Regular expression for editors, as JavaScript reads it."""
    examples: tuple[str, ...] = ()

    def __get_pydantic_json_schema__(self, core: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        said: dict[str, Any] = {"x-unit": self.unit, "x-form": self.form, "x-allowed": self.allowed}
        said |= {"pattern": self.pattern, "examples": list(self.examples) or None}
        return handler(core) | {key: value for key, value in said.items() if value is not None}


Group = Annotated[
    str, Hint(form="GROUP", allowed="a group, or groups joined with +", pattern=PATTERN, examples=EXAMPLES)
]
