"""What a neighbour shows, as a section of the report and as the files beside it."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import replace
from typing import Any

from analysis.figures import NoData, csv, png
from analysis.neighbours import NEIGHBOURS, Neighbour
from analysis.neighbours.shown import Part, Sheet
from analysis.page import Section
from analysis.pictures import rendered


def section(name: str, tables: Any, *, files: bool = True) -> tuple[Section, dict[str, bytes]]:
    """tables: as the neighbour of that name has read them. files: whether those beside the page are wanted, too."""
    neighbour = NEIGHBOURS[name]
    try:
        shown = neighbour.show(tables)
    except NoData as nothing:
        return Section(neighbour.heading, absent=[f"Missing: {nothing}."]), {}
    parts, out = [], {}
    for part in shown.parts:
        own, its = _part(neighbour, part, files)
        parts.append(own)
        out |= its
    if files:
        # The report asked for no command, and has none in its tables.
        kept = {each: table.drop(columns="command", errors="ignore") for each, table in shown.tables.items()}
        out |= {f"{neighbour.file(each)}.csv": csv(table) for each, table in kept.items() if len(table)}
    return Section(neighbour.heading, shown.text, table=shown.table, parts=parts), out


def _part(neighbour: Neighbour, part: Part, files: bool) -> tuple[Section, dict[str, bytes]]:
    if part.shown is None:
        return Section(part.heading, table=part.table), {}
    name = neighbour.file(part.name)
    if isinstance(part.shown, Sheet):
        pixels = png(part.shown.figure)
        image = f"data:image/png;base64,{b64encode(pixels).decode()}"
        own = Section(part.heading, image=image, alt=part.shown.alt, caption=part.shown.caption)
        return own, {f"{name}.png": pixels} if files else {}
    picture = rendered(name, part.heading, part.shown, files)
    return replace(picture.section(part.heading), table=part.table), picture.files


FILES = frozenset(
    f"{each.file(name)}.{kind}"
    for each in NEIGHBOURS.values()
    for name in each.names
    for kind in ("svg", "pdf", "csv", "png")
)
"""Every name that a neighbour's files beside a report may have."""
