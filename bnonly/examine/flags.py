"""What `measure` and `ablate` have in common on the command line: a run or a file, and where the images are."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from bnonly.config.parser import Parser, user_path
from bnonly.config.schema import entries
from bnonly.config.words import form, help_text
from bnonly.examine.subject import Subject, subject

# Fields of the configuration that a file, which has none, may need, and a run may need to have corrected.
_FIELDS = (
    "data.source",
    "data.path",
    "data.size",
    "data.resize",
    "data.workers",
    "data.download",
    "training.batch_size",
    "training.precision",
    "training.device",
)


def add_subject(parser: Parser, what: str, *, gamma: bool = True) -> None:
    """The first argument, -o, and the flags of the images. what: the file that is written. gamma: if it is needed."""
    parser.add_argument(
        "what",
        type=user_path,
        metavar="RUN|FILE",
        help="a finished run's folder, as `bnonly fit` prints it, or a seed+BN file"
        + (" of full form" if gamma else ""),
    )
    parser.add_argument(
        "-o",
        "--out",
        type=user_path,
        metavar="JSON",
        help=f"of a FILE: where to write the results; a RUN keeps them in its own {what}",
    )
    parser.add_argument("--force", action="store_true", help="measure again what is there already")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    group = parser.add_argument_group(
        "images and device",
        "A RUN knows its own; data.path, if they have moved, and the device may be given. A FILE knows size, mean "
        "and deviation of its images.",
    )
    for name in _FIELDS:
        entry = entries()[name]
        choices: dict[str, Any] = {"choices": entry.values} if "enum" in entry.schema else {"metavar": form(entry)}
        group.add_argument(f"--{name}", dest=name, help=help_text(entry).replace("%", "%%"), **choices)


def given_subject(options: argparse.Namespace, *, gamma: bool = True) -> Subject:
    """The run or file that was named. Raises BadInput where there is none, or with flags that do not fit it."""
    said = {name: value for name in _FIELDS if (value := getattr(options, name)) is not None}
    if "data.path" in said:
        said["data.path"] = str(user_path(said["data.path"]))
    return subject(options.what, said, gamma=gamma)


def amount(text: str) -> float:
    """A number, also in per cent: 0.1 or 10%."""
    try:
        return float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number") from None


def written(path: Path | None) -> None:
    """The file's name, alone and last."""
    if path is not None:
        print(path)
