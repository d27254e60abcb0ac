"""A run's configuration from layers, later ones over earlier ones, and what is wrong with a layer, in a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from functools import reduce
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bnonly.config.names import did_you_mean, nearest, same_name
from bnonly.config.plain import LONGEST, plain, short
from bnonly.config.run import RunConfig
from bnonly.config.schema import entries, sections
from bnonly.errors import BadInput

LISTED = 20
"""Mistakes that are told at once: more would not be read."""


def validated(layers: Mapping[str, dict[str, Any]]) -> RunConfig:
    """The configuration of these layers, later ones over earlier ones.

    Raises BadInput that lists every mistake, or as many as one reads, behind the name of the layer that made it.
    """
    try:
        return RunConfig.model_validate(reduce(merged, layers.values(), {}))
    except ValidationError as error:
        by_layer: dict[str, list[str]] = {}
        details = error.errors()
        for detail in details[:LISTED]:
            guilty = next(
                (name for name in reversed(list(layers)) if _holds(layers[name], detail["loc"])), list(layers)[-1]
            )
            if (mistake := short(_mistake(detail), 500)) not in by_layer.setdefault(guilty, []):
                by_layer[guilty].append(mistake)
        more = f"; and {len(details) - LISTED} mistakes more" if len(details) > LISTED else ""
        said = "; ".join(f"{name}: {'; '.join(mistakes)}" for name, mistakes in by_layer.items())
        raise BadInput(said + more) from None


def _holds(values: Any, path: tuple[Any, ...]) -> bool:
    """Whether a layer says anything at that place; positions inside a list count as the list."""
    for part in path:
        if isinstance(values, list):
            return True
        if not isinstance(values, dict) or part not in values:
            return False
        values = values[part]
    return True


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file's mapping; nothing but plain values is constructed. Raises BadInput with file and line."""
    try:
        with path.open("rb") as file:
            values = plain(file.read(LONGEST + 1), str(path))
    except (OSError, ValueError) as error:  # a NUL in a path is a ValueError, and so is a BadInput
        if isinstance(error, BadInput):
            raise
        raise BadInput(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise BadInput(f"{path} must hold a mapping of fields, for example `group: bn`")
    # A section whose fields are all commented out.
    return {key: {} if value is None and key in sections() else value for key, value in values.items()}


def merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Both mappings, nested ones too; `above` wins."""
    result = dict(below)
    for key, value in above.items():
        mine = result.get(key)
        result[key] = merged(mine, value) if isinstance(mine, dict) and isinstance(value, dict) else value
    return result


def nested(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields by dotted name as nested mappings: {"a.b": 1} -> {"a": {"b": 1}}."""
    layer: dict[str, Any] = {}
    for name, value in fields.items():
        for part in reversed(name.split(".")):
            value = {part: value}
        layer = merged(layer, value)
    return layer


def _mistake(detail: Any) -> str:
    where = ".".join(str(part) for part in detail["loc"])
    message, given = detail["msg"].removeprefix("Value error, "), short(repr(detail["input"]))
    if where == "speed":
        return f"speed = {given}: use paper or fast"
    if detail["type"] == "extra_forbidden":
        return _unknown(where)
    if where in sections() and detail["type"] != "value_error":
        return f"{where} = {given}: {is_section(where)}"
    if detail["type"] == "missing" and (whole := where.rpartition(".")[0]) in entries():
        return f"{whole} = {given}: these are too few values"
    if detail["type"] == "value_error":
        return f"{where}: {message}" if where else message
    near = get_close_matches(str(detail["input"]), entries()[where].values, n=1) if where in entries() else ()
    hint = did_you_mean(near) if detail["type"] == "literal_error" else ""
    return f"{where} = {given}: {message[0].lower()}{message[1:]}{hint}"


def is_section(name: str) -> str:
    """What is wrong with a section that is given as a value."""
    fields = [entry for entry in entries() if entry.startswith(f"{name}.")]
    return f"{name} is a section and holds fields, as {fields[0]}"


def _unknown(where: str) -> str:
    """An unknown key; its own section's names are nearer than others, but for a name that another section has."""
    if where in entries():  # the key itself holds the dot
        section, _, field = where.rpartition(".")
        return f"{where} is written `{section}: {{{field}: ...}}` in a file"
    names, section = [*entries(), *sections()], where.rpartition(".")[0]
    own = [name for name in names if name.rpartition(".")[0] == section]
    near = same_name(where, names) or nearest(where, own) or nearest(where, names)
    near = [name.rpartition(".")[2] if name in own else name for name in near]
    return f"{where} is unknown{did_you_mean([' or '.join(near)] if near else [])}"
