"""argparse as every verb uses it. Without pydantic."""

from __future__ import annotations

import argparse
import re
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

from bnonly.config.names import did_you_mean, nearest
from bnonly.errors import BadInput


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
