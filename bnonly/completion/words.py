"""What there is to complete: verbs, their flags, and the values that are known, read off the verbs' own parsers."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bnonly.cli import VERBS, module
from bnonly.config.command_line import RunParser
from bnonly.config.schema import Entry, entries
from bnonly.errors import BadInput
from bnonly.networks.registry import LISTED

LONGEST = 60


@dataclass(frozen=True)
class Values:
    """What may stand in a place: one of these words, files, folders; nothing known where all are empty."""

    words: tuple[str, ...] = ()
    paths: Literal["", "files", "folders"] = ""


@dataclass(frozen=True)
class Flag:
    """An option by all its names; takes: how many values follow it."""

    names: tuple[str, ...]
    says: str
    takes: Literal["none", "one", "many"]
    values: Values


@dataclass(frozen=True)
class Verb:
    """A verb, its flags, and what may stand without a flag."""

    name: str
    says: str
    flags: tuple[Flag, ...]
    rest: Values

    @property
    def anywhere(self) -> Values:
        """`rest`, or what a flag of many values takes: to zsh and fish the second of them stands without a flag."""
        many = [flag.values for flag in self.flags if flag.takes == "many"]
        return self.rest if self.rest != Values() or not many else many[0]


def verbs() -> list[Verb]:
    """Every verb that is installed here."""
    found = []
    for name, (_, says) in VERBS.items():
        try:
            parser: argparse.ArgumentParser = module(name).parser()
        except BadInput:  # of the laboratory, which a wheel does not carry
            continue
        fields = entries() if isinstance(parser, RunParser) else {}
        actions = [
            (action, fields.get(action.dest)) for action in parser._actions if action.help != argparse.SUPPRESS
        ]
        flags = tuple(_flag(action, entry) for action, entry in actions if action.option_strings)
        loose = [_values(action, None) for action, _ in actions if not action.option_strings]
        found.append(Verb(name, says, flags, _any_of(loose)))
    return found


def _any_of(loose: list[Values]) -> Values:
    """What stands without a flag, wherever: the words of all places, or what the first one takes."""
    if words := tuple(word for values in loose for word in values.words):
        return Values(words)
    return loose[0] if loose else Values()


def _flag(action: argparse.Action, entry: Entry | None) -> Flag:
    takes = "none" if action.nargs == 0 else "many" if action.nargs in ("+", "*") else "one"
    says = entry.says if entry else action.help or ""
    return Flag(tuple(action.option_strings), _short(says), takes, _values(action, entry))


def _values(action: argparse.Action, entry: Entry | None) -> Values:
    if action.choices is not None:
        return Values(tuple(map(str, action.choices)))
    if action.type is Path or (entry and entry.schema.get("format") == "path"):
        return Values(paths="folders" if action.metavar == "DIR" else "files")
    if action.metavar == "NETWORK":
        return Values(LISTED)
    return Values(entry.values if entry else ())


def _short(text: str) -> str:
    """The first clause of a help text, on one short line."""
    clause = re.split(r"; |\. (?=[A-Z])|\.$| \(default", text.replace("%%", "%"))[0]
    return clause if len(clause) <= LONGEST else clause[: clause.rindex(" ", 0, LONGEST)] + " ..."
