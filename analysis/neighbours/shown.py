"""What a neighbour of the laboratory's own question shows: tables, figures and pictures, under names and headings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pandas as pd

from analysis.neighbours.kept import Kept

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from analysis.figures.drawing import Drawing


@dataclass(frozen=True)
class Sheet:
    """Photographs and paintings, which are pixels; `alt` is for those who cannot see them."""

    figure: Figure
    alt: str
    caption: str


@dataclass(frozen=True)
class Part:
    """Something under a heading: a table to be read, a figure or a sheet. name: that of its files."""

    heading: str
    name: str = ""
    shown: Drawing | Sheet | None = None
    table: pd.DataFrame | None = None


@dataclass(frozen=True)
class Shown:
    """parts: in the order of the page. tables: those that become files, by name. text: in front of all."""

    parts: Sequence[Part]
    tables: Mapping[str, pd.DataFrame]
    text: Sequence[str] = ()
    table: pd.DataFrame | None = None


@dataclass(frozen=True)
class Neighbour:
    """A system beside the laboratory's own, and how its runs' folders become tables and figures.

    names: of all files that it may make, without their ends.
    has: whether it takes a folder, from the experiment's name and the names of its files alone.
    read: the tables of these folders, in their order; None where they hold nothing. show: what is drawn of them;
    raises NoData.
    """

    name: str
    heading: str
    names: tuple[str, ...]
    has: Callable[[str, frozenset[str]], bool]
    read: Callable[[Sequence[Kept]], Any]
    show: Callable[[Any], Shown] = field(compare=False)

    def file(self, name: str) -> str:
        """The name of one of its files where those of others lie, too."""
        return name if name.startswith(self.name) else f"{self.name}_{name}"


def largest(table: pd.DataFrame, by: Sequence[str]) -> tuple[pd.DataFrame, str]:
    """The rows that are alike in these columns and most, and a sentence on those left out; the later ones of equals.

    What was made differently is never averaged.
    """
    parts = [part for _, part in table.groupby(list(by), dropna=False, sort=True)]
    part = max(reversed(parts), key=len)
    if len(parts) == 1:
        return part, ""
    best = part.iloc[0]
    what = ", ".join(f"{name} {best[name]}" for name in by)
    return part, f"Shown: {what}. {len(table) - len(part)} rows of other settings are in the tables' files alone."


def made_on(table: pd.DataFrame) -> str:
    """How the numbers of these rows were made, in a sentence; columns are those of `Kept.provenance`."""
    devices, versions, kinds = (
        ", ".join(sorted({str(value) for value in table[name] if value})) or "unknown"
        for name in ("device_name", "torch", "dtype")
    )
    return f"Made in {kinds} on {devices} with torch {versions}."


def moments(values: pd.Series, form: str, scale: float = 1.0) -> str:
    """Mean and sample standard deviation in words; a dash where there is no number."""
    values = scale * values.astype(float)
    if not values.notna().any():
        return "-"
    return format(values.mean(), form) + (f" ± {values.std():{form}}" if values.count() > 1 else "")
