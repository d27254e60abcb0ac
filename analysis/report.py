"""The report: every figure there is data for, what is missing, the runs, and how each number was made."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass

from analysis import summary
from analysis.figures import DRAWINGS, csv
from analysis.frames import Frames
from analysis.neighbours import sections as beside
from analysis.page import Section, page
from analysis.pictures import HEADINGS, pictures

TITLE = "bnonly: report of runs"
FILES = beside.FILES | frozenset(
    [f"{name}.{kind}" for name in DRAWINGS for kind in ("svg", "pdf", "csv")]
    + [f"{name}.csv" for name in ("runs", "by_group", "curves", "missing", "failures", "made_with", "paper")]
)
"""Every name that the files beside a report may have."""


@dataclass(frozen=True)
class Report:
    """A page, and the figures and tables that go beside it, by file name."""

    page: str
    files: dict[str, bytes]


def report(frames: Frames, made: str, *, files: bool = True, helper: Executor | None = None) -> Report:
    """The report of these tables; equal tables give equal bytes.

    made: when, for the footer. files: whether to render figures once more as PDF, and write tables as CSV.
    helper: a second process that makes some of the figures, see `analysis.pictures`.
    """
    sections, out = [], {}
    if len(frames.runs):
        sections, out = _of_runs(frames, files, helper)
    for name, tables in frames.neighbours.items():
        section, its = beside.section(name, tables, files=files)
        sections.append(section)
        out |= its
    if len(frames.runs):
        sections += [summary.runs(frames), summary.failed(frames), summary.provenance(frames)]
    elif frames.notes:
        sections.append(summary.missing(frames, {}))
    lead = summary.lead(frames)
    return Report(page(TITLE, lead, sections, summary.footer(frames, made), contents=True), dict(sorted(out.items())))


def _of_runs(frames: Frames, files: bool, helper: Executor | None) -> tuple[list[Section], dict[str, bytes]]:
    """What the laboratory's own question is answered by: means, what is missing, figures, and all tables as files."""
    drawn = pictures(frames, files=files, helper=helper)
    lacking = {HEADINGS[name]: each for name, each in drawn.items() if isinstance(each, str)}
    out: dict[str, bytes] = {}
    shown: list[Section] = []
    for name, each in drawn.items():
        if isinstance(each, str):
            shown.append(Section(HEADINGS[name], absent=[f"Missing: {each}."]))
            continue
        shown.append(each.section(HEADINGS[name]))
        out |= each.files
    if files:
        tables = {
            "runs": frames.table,
            "by_group": summary.by_group(frames),
            "curves": summary.curves(frames),
            "missing": frames.missing,
            "failures": summary.failures(frames),
            "made_with": summary.made_with(frames),
            "paper": summary.paper(),
        }
        out |= {f"{name}.csv": csv(table) for name, table in tables.items() if len(table)}
    return [summary.opening(frames), summary.missing(frames, lacking), *shown], out
