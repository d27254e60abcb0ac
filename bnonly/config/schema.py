"""The JSON schema of a layer of configuration, a file or the flags: editors, help and documents are made from it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from bnonly.config.run import NOT_IN_ID, RunConfig

DRAFT = "https://json-schema.org/draft/2020-12/schema"


class Layer(RunConfig):
    """One layer of a run's configuration: a file, or the flags. Every field may be left out."""

    speed: Literal["paper", "fast"] | None = None
    """Shorthand: paper is fp32, contiguous, modules; fast is bf16, channels_last, fused; training.* given besides
    wins; unset: neither."""


@dataclass(frozen=True)
class Entry:
    """One field of a layer, by its dotted name, and the schema of its values."""

    name: str
    schema: dict[str, Any]

    @property
    def says(self) -> str:
        """The docstring's sentence, without what holds while the field is unset."""
        return _parts(self.schema["description"])[0]

    @property
    def unset(self) -> str | None:
        """What holds while the field is unset; None where it always has a value."""
        return _parts(self.schema["description"])[1]

    @property
    def in_id(self) -> bool:
        """Whether it decides numbers, and so the id of a run. The shorthand counts by what it stands for."""
        return self.name not in NOT_IN_ID

    @property
    def values(self) -> tuple[str, ...]:
        """Values to choose from, all of them or examples."""
        known = self.schema.get("enum", self.schema.get("examples", ()))
        known = known or (("true", "false") if self.schema.get("type") == ["boolean", "null"] else ())
        return tuple(value for value in known if isinstance(value, str))


def layer_schema() -> dict[str, Any]:
    """The schema to publish: draft 2020-12, closed, no field required, descriptions from the docstrings."""
    schema = deepcopy(_tree())
    for entry in _walk(schema, ""):
        entry.schema["description"] = " ".join(_sentences(entry))
        for key in [key for key in entry.schema if key.startswith("x-")]:
            del entry.schema[key]
    return {"$schema": DRAFT, "title": "A layer of a bnonly run's configuration", **schema}


@cache
def entries() -> dict[str, Entry]:
    """Every field by dotted name, in the order of the models."""
    return {entry.name: entry for entry in _walk(_tree(), "")}


@cache
def sections() -> dict[str, str]:
    """Every section's name and its docstring."""
    fields = _tree()["properties"].items()
    return {name: schema["description"] for name, schema in fields if "properties" in schema}


def _sentences(entry: Entry) -> Iterator[str]:
    yield entry.says
    if unit := entry.schema.get("x-unit"):
        yield f"Unit: {unit}."
    if entry.unset is not None:
        yield f"Unset: {entry.unset}."
    if not entry.in_id:
        yield "Does not change a run's id."


def _parts(docstring: str) -> tuple[str, str | None]:
    says, _, unset = docstring.removesuffix(".").partition("; unset: ")
    return f"{says}.", unset or None


def _walk(schema: dict[str, Any], prefix: str) -> Iterator[Entry]:
    for name, inner in schema["properties"].items():
        if "properties" in inner:
            yield from _walk(inner, f"{prefix}{name}.")
        else:
            yield Entry(prefix + name, inner)


@cache
def _tree() -> dict[str, Any]:
    """Pydantic's schema with sections in their places and nothing said twice; Hint's own keys are still in it."""
    raw = Layer.model_json_schema()
    tree = _tidied(raw, raw.get("$defs", {}))
    tracking, speed = tree["properties"]["tracking"], tree["properties"]["speed"]
    tracking["enum"].append(False)  # YAML 1.1 reads a bare off as false
    del tracking["type"]
    speed["enum"].remove(None)  # left out rather than null: it is no field of its own
    speed["type"] = "string"
    return tree


_BOUNDS = {"minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"}


def _tidied(schema: dict[str, Any], parts: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in schema:
        return _tidied(parts[schema["$ref"].rpartition("/")[2]], parts)
    schema = {key: value for key, value in schema.items() if key not in ("title", "$defs")}
    if "properties" in schema:
        inner = {name: _tidied(value, parts) for name, value in schema.pop("properties").items()}
        return schema | {"properties": inner}
    if schema.get("default", ...) is None:
        del schema["default"]
    if "description" in schema:
        schema["description"] = re.sub(r"\s+", " ", schema["description"])
    match schema.get("anyOf"):
        case [value, {"type": "null"}]:
            del schema["anyOf"]
            schema = schema | value
            schema["type"] = [schema["type"], "null"]
            if "enum" in schema:
                schema["enum"] = [*schema["enum"], None]
    items = schema.get("prefixItems", [])
    if items and all(item == items[0] for item in items):
        schema["items"] = schema.pop("prefixItems")[0]
    if "items" in schema:
        schema["items"] = _tidied(schema["items"], parts)
    for key in _BOUNDS & set(schema):
        # Pydantic's versions differ in 0 and 0.0.
        schema[key] = int(schema[key]) if schema[key] == int(schema[key]) else schema[key]
    return schema
