"""The known name that a wrong one probably means: flags, fields and values."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def same_name(said: str, known: Iterable[str]) -> list[str]:
    """Dotted names that are the one said but for its section and for what joins its words.

    `lr` and `train.lr` mean `training.lr`, `data-path` means `data.path`; several where sections share a name.
    """
    known = list(known)
    whole = [name for name in known if _plain(name) == _plain(said)]
    return whole or [name for name in known if _plain(_last(name)) == _plain(_last(said))]


def nearest(said: str, known: Iterable[str]) -> list[str]:
    """The known dotted names next to the one said: `same_name`, or the one that is spelt most like it, or none."""
    known = list(known)
    if same := same_name(said, known):
        return same
    spelt: dict[str, list[str]] = {}
    for name in known:
        # Two names of one section are alike for that alone: whole names are compared where no section is given.
        for spelling in {_plain(_last(name)), *(() if "." in said else (_plain(name),))}:
            spelt.setdefault(spelling, []).append(name)
    near = get_close_matches(_plain(_last(said)), spelt, n=1)
    return spelt[near[0]] if near else []


def did_you_mean(names: Iterable[str]) -> str:
    """The question to end an error with: `, did you mean a and b?`, or nothing."""
    listed = " and ".join(names)
    return f", did you mean {listed}?" if listed else ""


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _plain(name: str) -> str:
    return name.lower().replace("-", "_").replace(".", "_")
