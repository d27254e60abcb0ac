"""Numbers in words, for the tables of a page."""

from __future__ import annotations

import pandas as pd


def percent(share: object, sd: float | None = None, digits: int = 1) -> str:
    """A share, and perhaps its deviation, in percent; a dash where there is none."""
    if not isinstance(share, float) or pd.isna(share):
        return "-"
    return f"{100 * share:.{digits}f}" + (f" ± {100 * sd:.{digits}f}" if pd.notna(sd) else "") + " %"


def number(value: object, form: str) -> str:
    """A number in that form, as in `format`; a dash where there is none."""
    return format(value, form) if isinstance(value, float) and pd.notna(value) else "-"


def count(value: object) -> str:
    return number(value, ",.0f")
