"""A run's configuration from files and flags: `-c FILE ... --field.path VALUE`, later ones over earlier ones."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from difflib import get_close_matches
from functools import reduce
from pathlib import Path
from typing import Any, Literal, NoReturn

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_settings import BaseSettings, CliSettingsSource, SettingsConfigDict, SettingsError

from bnonly.config.run import RunConfig, expand_speed
from bnonly.errors import BadInput


class _Flags(RunConfig, BaseSettings):
    """The configuration as flags. The environment is not read: what decides a run stands in files or flags."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    speed: Literal["paper", "fast"] | None = None
    """Shorthand: paper is fp32 and contiguous, fast is bf16 and channels_last; training.* given besides wins."""


class Parser(argparse.ArgumentParser):
    """argparse, with errors as one sentence and the nearest known flag."""

    def error(self, message: str) -> NoReturn:
        near: list[str] = []
        if message.startswith("unrecognized arguments: "):
            unknown = message.split(": ", 1)[1].split()[0].split("=")[0]
            near = get_close_matches(
                unknown, [flag for action in self._actions for flag in action.option_strings], n=1
            )
        hint = f"; did you mean {near[0]}?" if near else ""
        raise BadInput(f"{message}{hint} (`{self.prog} --help` lists what there is)")


def run_parser(prog: str, description: str) -> Parser:
    """A parser with -c and a flag for every field of the configuration."""
    parser = Parser(prog=prog, description=description, allow_abbrev=False)
    parser.add_argument(
        "-c", "--config", metavar="FILE", nargs="+", action="extend", default=[], type=Path,
        help="YAML files, merged in order; flags come last",
    )  # fmt: skip
    return parser


def parse_run(parser: Parser, argv: list[str]) -> tuple[RunConfig, argparse.Namespace]:
    """The validated configuration, and the parser's other options. Raises BadInput, naming every mistake."""
    source: Any = CliSettingsSource(_Flags, root_parser=parser, cli_hide_none_type=True, cli_avoid_json=True)
    options = parser.parse_args(argv)
    layers = {str(path): expand_speed(read_yaml(path)) for path in options.config}
    try:
        flags = source(parsed_args=options)()
    except SettingsError as error:
        raise BadInput(f"the flags: {error}; values with parts are written as JSON") from error
    layers["the flags"] = expand_speed(flags)
    return validated(layers), options


def validated(layers: Mapping[str, dict[str, Any]]) -> RunConfig:
    """The configuration of these layers, later ones over earlier ones.

    Raises BadInput that lists every mistake behind the name of the layer that made it.
    """
    try:
        return RunConfig.model_validate(reduce(merged, layers.values(), {}))
    except ValidationError as error:
        by_layer: dict[str, list[str]] = {}
        for detail in error.errors():
            guilty = next(
                (name for name in reversed(list(layers)) if _holds(layers[name], detail["loc"])), list(layers)[-1]
            )
            by_layer.setdefault(guilty, []).append(_mistake(detail))
        raise BadInput("; ".join(f"{name}: {'; '.join(said)}" for name, said in by_layer.items())) from None


def _holds(values: Any, path: tuple[Any, ...]) -> bool:
    """Whether a layer says anything at that place; positions inside a list count as the list."""
    for part in path:
        if isinstance(values, list):
            return True
        if not isinstance(values, dict) or part not in values:
            return False
        values = values[part]
    return True


class _Loader(yaml.SafeLoader):
    """Plain values only, and each key once."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"{key} is given twice", node.start_mark)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file's mapping; nothing but plain values is constructed. Raises BadInput with file and line."""
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # a SafeLoader
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} is no YAML: {' '.join(str(error).split())}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise BadInput(f"{path} must hold a mapping of fields, for example `group: bn`")
    return values


def merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Both mappings, nested ones too; `above` wins."""
    result = dict(below)
    for key, value in above.items():
        mine = result.get(key)
        result[key] = merged(mine, value) if isinstance(mine, dict) and isinstance(value, dict) else value
    return result


def _mistake(detail: Any) -> str:
    where = ".".join(str(part) for part in detail["loc"])
    message = detail["msg"].removeprefix("Value error, ")
    if where == "speed":
        return f"speed = {detail['input']!r}: use paper or fast"
    if detail["type"] == "extra_forbidden":
        near = get_close_matches(str(detail["loc"][-1]), _fields(detail["loc"][:-1]), n=1)
        return f"{where} is unknown" + (f", did you mean {near[0]}?" if near else "")
    if detail["type"] == "value_error":
        return f"{where}: {message}" if where else message
    return f"{where} = {detail['input']!r}: {message[0].lower()}{message[1:]}"


def _fields(path: tuple[Any, ...]) -> list[str]:
    model: type[BaseModel] = RunConfig
    for part in path:
        inner = model.model_fields[part].annotation if part in model.model_fields else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        model = inner
    return list(model.model_fields)
