"""A field in words, from the schema of its values: how it is written, what it allows, what it is unless given."""

from __future__ import annotations

from typing import Any

from bnonly.config.schema import Entry

_ONE = {"integer": "whole number", "number": "number", "string": "text", "boolean": "true or false"}
_ONE |= {"object": "mapping"}
_MANY = {"integer": "whole numbers", "number": "numbers", "string": "texts"}
_FORMS = {"integer": "N", "number": "X", "string": "TEXT", "boolean": "{true,false}", "array": "X,X,..."}
_FORMS |= {"object": "JSON"}


def form(entry: Entry) -> str:
    """What stands for the value behind the flag: N, {fp32,bf16}, R,G,B."""
    schema = entry.schema
    if "x-form" in schema:
        return schema["x-form"]
    if "enum" in schema:
        return "{" + ",".join(entry.values) + "}"
    if "const" in schema:
        return str(schema["const"])
    if schema.get("format") == "path":
        return "PATH"
    count = schema.get("minItems") if schema.get("minItems") == schema.get("maxItems") else None
    return ",".join("X" * count) if count else _FORMS[_kind(schema)]


def allowed(entry: Entry, unit: str | None = None) -> str:
    """The values that are taken; with their unit where it is given."""
    schema = entry.schema
    if "enum" in schema:
        return ", ".join(entry.values)
    if "const" in schema:
        return str(schema["const"])
    if "x-allowed" in schema:
        return schema["x-allowed"]
    if schema.get("format") == "path":
        return "path"
    if "anyOf" in schema:
        return " or ".join(allowed(Entry(entry.name, part), unit) for part in schema["anyOf"])
    if _kind(schema) == "array":
        items, count = schema["items"], schema.get("minItems")
        what, bounds = _MANY[_kind(items)], _bounds(items)
        what, bounds = f"{count} {what}" if count else f"list of {what}", bounds and f"each {bounds}"
    else:
        what, bounds = _ONE[_kind(schema)], _bounds(schema)
    return what + (f" of {unit}" if unit else "") + (f", {bounds}" if bounds else "")


def default(entry: Entry) -> str:
    """What holds where nothing is given."""
    return entry.unset if entry.unset is not None else _value(entry.schema.get("default", "none"))


def help_text(entry: Entry) -> str:
    """The field's help: what it says, what is taken and what holds else. Choices stand in the flag's form already."""
    choice = "enum" in entry.schema or "const" in entry.schema or _kind(entry.schema) == "boolean"
    facts = "" if choice else f"{allowed(entry, entry.schema.get('x-unit'))}; "
    return f"{entry.says} [{facts}default: {default(entry)}]"


def _kind(schema: dict[str, Any]) -> str:
    kind = schema["anyOf"][0]["type"] if "anyOf" in schema else schema["type"]
    return kind if isinstance(kind, str) else kind[0]


def _bounds(schema: dict[str, Any]) -> str:
    """0 to 64; at least 1; above 0, below 1."""
    least, above = schema.get("minimum"), schema.get("exclusiveMinimum")
    most, below = schema.get("maximum"), schema.get("exclusiveMaximum")
    if above is not None and _kind(schema) == "integer":
        least, above = above + 1, None
    if least is not None and most is not None:
        return f"{_value(least)} to {_value(most)}"
    bounds = [("at least", least), ("above", above), ("at most", most), ("below", below)]
    return ", ".join(f"{word} {_value(bound)}" for word, bound in bounds if bound is not None)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ", ".join(map(_value, value)) or "none"
    if isinstance(value, int) and value > 1 << 32 and value & (value - 1) == 0:
        return f"2^{value.bit_length() - 1}"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)
