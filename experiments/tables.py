"""The small tables under results/: tidy CSV files, a row a measurement."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import quantiles
from typing import Any

from bnonly.files import write_atomically


def write_table(rows: list[dict[str, Any]], path: Path) -> None:
    """The rows, which have the same fields, as a CSV file, whole or not at all."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, text.getvalue().encode())


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Lower quartile, median and upper quartile; of one value that value thrice."""
    low, middle, high = quantiles(values, n=4, method="inclusive") if len(values) > 1 else [*values] * 3
    return low, middle, high


def made_with() -> dict[str, Any]:
    """The processor, its threads as they are now, versions and date, as columns. Imports torch."""
    import torch

    from bnonly.training.environment import environment

    facts = environment(torch.device("cpu"))
    names = ("device_name", "cpu_capability", "threads", "torch", "lightning", "numpy", "git")
    return {name: facts[name] for name in names} | {"date": time.strftime("%Y-%m-%d", time.gmtime())}
