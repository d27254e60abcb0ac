"""The systems beside the laboratory's own: what the files in run folders say of each, as tables, figures and pictures
that both the report and `bnonly experiment draw` show.

A file a neighbour: it reads folders (`Kept`) into tables and shows these, and knows nothing of pages and grids.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from analysis.folders import Found
from analysis.neighbours import bytes, norm_only, perceptual, shift, style
from analysis.neighbours.kept import Kept, kept
from analysis.neighbours.shown import Neighbour, Part, Sheet, Shown

NEIGHBOURS: dict[str, Neighbour] = {
    module.NEIGHBOUR.name: module.NEIGHBOUR for module in (bytes, norm_only, shift, perceptual, style)
}
"""By name, in the order of the page."""


def read(found: Found, experiments: Mapping[Path, str], odd: list[str]) -> dict[str, Any]:
    """By name, what the folders hold of the neighbours that they hold anything of; a run that lies twice counts once.

    experiments: of runs, whose they are by their configuration. odd: takes a sentence on each file that is left out.
    """
    folders: dict[str, dict[str, Kept]] = {}
    for path in (*found.runs, *found.trials):
        files, experiment = found.files[path], experiments.get(path, path.parent.name)
        wanted = [each.name for each in NEIGHBOURS.values() if each.has(experiment, files)]
        if wanted and (one := kept(path, files, odd)) is not None:
            for name in wanted:
                folders.setdefault(name, {}).setdefault(one.config.id, one)
    tables = {
        name: NEIGHBOURS[name].read(sorted(folders[name].values(), key=lambda one: one.order))
        for name in NEIGHBOURS
        if name in folders
    }
    return {name: table for name, table in tables.items() if table is not None}


__all__ = ["NEIGHBOURS", "Kept", "Neighbour", "Part", "Sheet", "Shown", "kept", "read"]
