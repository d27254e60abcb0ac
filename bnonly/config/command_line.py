"""A run's configuration from files and flags: `-c FILE ... --field.path VALUE`, later ones over earlier ones."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from difflib import get_close_matches
from functools import reduce
from pathlib import Path
from typing import Any, NoReturn

import yaml
from pydantic import ValidationError
from pydantic_settings import BaseSettings, CliSettingsSource, SettingsConfigDict, SettingsError

from bnonly.config.names import did_you_mean, nearest, same_name
from bnonly.config.run import RunConfig, expand_speed
from bnonly.config.schema import Layer, entries, sections
from bnonly.config.words import form, help_text
from bnonly.errors import BadInput


class _Flags(Layer, BaseSettings):
    """The configuration as flags. The environment is not read: what decides a run stands in files or flags."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class _Help(argparse.HelpFormatter):
    """Eighty columns wide wherever it is read."""

    def __init__(self, prog: str, **options: Any) -> None:
        super().__init__(prog, **options | {"width": 80})


def user_path(text: str) -> Path:
    """An argument that is a path; ~ is the home, also behind an =, where shells leave it."""
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from None


class Parser(argparse.ArgumentParser):
    """argparse, with errors as one sentence and the nearest known flag or choice."""

    def __init__(self, prog: str, description: str, **options: Any) -> None:
        shape = {"allow_abbrev": False, "formatter_class": _Help} | options
        super().__init__(prog=prog, description=description, **shape)

    def error(self, message: str) -> NoReturn:
        hint = ""
        if message.startswith("unrecognized arguments: "):
            flags = {flag.lstrip("-"): flag for action in self._actions for flag in action.option_strings}
            unknown = [part.split("=")[0] for part in message.split(": ", 1)[1].split() if part.startswith("--")]
            near = [nearest(said.lstrip("-"), flags) for said in unknown]
            hint = did_you_mean(" or ".join(flags[name] for name in names) for names in near if names)
        elif found := re.match(r"argument (\S+): invalid choice: '?(.*?)'? \(", message):
            said, value = found.groups()
            names = {name: action for action in self._actions for name in (action.dest, *action.option_strings)}
            choices = names[said.split("/")[0]].choices or ()
            hint = did_you_mean(get_close_matches(value, list(map(str, choices)), n=1))
        raise BadInput(f"{message}{hint} (`{self.prog} --help` lists what there is)")


class RunParser(Parser):
    """-c, and a flag for every field of the configuration, with what its schema says of it."""

    def __init__(self, prog: str, description: str) -> None:
        super().__init__(prog, description, usage=f"{prog} [-c FILE ...] [--FIELD VALUE ...]")
        self.add_argument(
            "-c", "--config", metavar="FILE", nargs="+", action="extend", default=[], type=Path,
            help="YAML files, merged in order; flags come last",
        )  # fmt: skip
        self._whole = self.add_argument_group("run options", "Where it is kept, what decides it, what trains.")
        self.source: Any = CliSettingsSource(
            _Flags,
            root_parser=self,
            cli_hide_none_type=True,
            cli_avoid_json=True,
            cli_use_class_docs_for_groups=True,
            add_argument_method=self._add_field,
        )

    def _add_field(self, container: Any, *flags: str, dest: str, **options: Any) -> argparse.Action:
        if entry := entries().get(dest):
            # argparse formats its help with %.
            options |= {"metavar": form(entry), "help": help_text(entry).replace("%", "%%")}
        group = self._whole if container is self else container
        return group.add_argument(*flags, dest=dest, **options)


def run_parser(prog: str, description: str) -> RunParser:
    """A parser with -c and a flag for every field of the configuration."""
    return RunParser(prog, description)


def parse_run(parser: RunParser, argv: list[str]) -> tuple[RunConfig, argparse.Namespace]:
    """The validated configuration, and the parser's other options. Raises BadInput, naming every mistake."""
    options = parser.parse_args(argv)
    layers = {str(path): expand_speed(read_yaml(path)) for path in options.config}
    try:
        flags = parser.source(parsed_args=options)()
    except SettingsError as error:
        if (section := re.search(r'field "(\w+)"', str(error))) and section[1] in sections():
            raise BadInput(f"the flags: --{_is_section(section[1])}") from error
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
            if (mistake := _mistake(detail)) not in by_layer.setdefault(guilty, []):
                by_layer[guilty].append(mistake)
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
        seen = []
        for part, _ in node.value:
            if (key := self.construct_object(part, deep=True)) in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key} is given twice", part.start_mark)
            seen.append(key)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file's mapping; nothing but plain values is constructed. Raises BadInput with file and line."""
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # a SafeLoader
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} is no YAML: {_where(error)}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise BadInput(f"{path} must hold a mapping of fields, for example `group: bn`")
    # A section whose fields are all commented out.
    return {key: {} if value is None and key in sections() else value for key, value in values.items()}


def _where(error: Exception) -> str:
    """A YAML error as one line: what, and at which line and column."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return " ".join(str(error).split())
    said = " ".join(part for part in (getattr(error, "context", None), getattr(error, "problem", None)) if part)
    return f"line {mark.line + 1}, column {mark.column + 1}: {said}"


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
    message = detail["msg"].removeprefix("Value error, ")
    if where == "speed":
        return f"speed = {detail['input']!r}: use paper or fast"
    if detail["type"] == "extra_forbidden":
        return _unknown(where)
    if where in sections() and detail["type"] != "value_error":
        return f"{where} = {detail['input']!r}: {_is_section(where)}"
    if detail["type"] == "missing" and (whole := where.rpartition(".")[0]) in entries():
        return f"{whole} = {detail['input']!r}: these are too few values"
    if detail["type"] == "value_error":
        return f"{where}: {message}" if where else message
    near = get_close_matches(str(detail["input"]), entries()[where].values, n=1) if where in entries() else ()
    hint = did_you_mean(near) if detail["type"] == "literal_error" else ""
    return f"{where} = {detail['input']!r}: {message[0].lower()}{message[1:]}{hint}"


def _is_section(name: str) -> str:
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
