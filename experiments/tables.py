"""The small tables under results/: tidy CSV files, a row a measurement."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from bnonly.files import write_atomically


def write_table(rows: list[dict[str, Any]], path: Path) -> None:
    """The rows, which have the same fields, as a CSV file, whole or not at all."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, text.getvalue().encode())
