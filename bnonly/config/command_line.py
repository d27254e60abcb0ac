"""A run's configuration from files and flags: `-c FILE ... --field.path VALUE`, later ones over earlier ones."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

from pydantic_settings import BaseSettings, CliSettingsSource, SettingsConfigDict, SettingsError

from bnonly.config.layers import is_section, read_yaml, validated
from bnonly.config.parser import Parser
from bnonly.config.run import RunConfig, expand_speed
from bnonly.config.schema import Layer, entries, sections
from bnonly.config.words import form, help_text
from bnonly.errors import BadInput


class _Flags(Layer, BaseSettings):
    """The configuration as flags. The environment is not read: what decides a run stands in files or flags."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


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
            raise BadInput(f"the flags: --{is_section(section[1])}") from error
        raise BadInput(f"the flags: {error}; values with parts are written as JSON") from error
    layers["the flags"] = expand_speed(flags)
    return validated(layers), options
