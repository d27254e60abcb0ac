"""Numbers of a page in words, and what a mean over seeds says of a claim."""

from __future__ import annotations

import math

import pandas as pd
from scipy import stats

from analysis.neighbours import shown

CONFIDENCE = 0.95


def mean(values: pd.Series) -> str:
    """`48.5 ± 0.7`: mean and one sample standard deviation, which one value alone has not."""
    return shown.moments(values, ".1f")


def moments(mean: float, sd: float | None, digits: int = 1) -> str:
    """The same of numbers that are known already."""
    text = f"{mean:z.{digits}f}"
    return text if sd is None or math.isnan(sd) else f"{text} ± {sd:.{digits}f}"


def verdict(mean: float, sd: float | None, n: int, low: float, high: float) -> str:
    """Whether the mean over all seeds lies in low..high, by Student's interval around that of n of them: `confirmed`
    where all of it does, `refuted` where none of it does, else `not decided`, as for a single seed."""
    if n < 2 or sd is None or math.isnan(sd):
        return "not decided (one seed)"
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * sd / math.sqrt(n)
    if low <= mean - half and mean + half <= high:
        return "confirmed"
    return "refuted" if mean + half < low or mean - half > high else "not decided"
