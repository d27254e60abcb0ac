"""Where results are written: into a run's folder, or for a seed+BN file where the user says."""

from __future__ import annotations

from pathlib import Path

from bnonly.errors import BadInput
from bnonly.examine.subject import Subject
from bnonly.files import check_place


def output(who: Subject, out: Path | None, name: str, *beside: str) -> Path | None:
    """The file to write, None for nowhere. beside: suffixes of files written next to it.

    Raises BadInput for another place for a run's results, and where something else would be overwritten.
    """
    if who.run is not None:
        if out is not None:
            raise BadInput(f"-o {out}: {who.path} is a run and keeps its {name} itself, so leave it out")
        return who.path / name
    if out is None:
        return None
    if out.suffix != ".json":
        raise BadInput(f"-o {out}: the results are JSON, so give a name that ends in .json")
    for place in (out, *(out.with_suffix(suffix) for suffix in beside)):
        if check_place(place) == who.path.resolve():
            raise BadInput(f"-o {out} would overwrite {who.path} itself: give it another name")
    return out
