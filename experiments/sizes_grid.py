"""The files that `sizes` makes of a run, and the table's rows by what they are."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from experiments import sizes_whole

STEPS = (4, 8, 16, 32, 64)
CALIBRATION = 1000  # training images

GRID: list[dict[str, Any]] = [
    *({"dtype": dtype, "codec": codec} for dtype in ("fp32", "fp16", "bf16") for codec in ("raw", "mask")),
    *({"codec": "rans", "step": step} for step in STEPS),
    *({"codec": "rans", "step": step, "calibrate": CALIBRATION} for step in STEPS),
    *({"form": "full", "dtype": dtype, "codec": codec} for dtype in ("fp32", "fp16") for codec in ("raw", "mask")),
]
CLAMPED: list[dict[str, Any]] = [
    {"clamp": clamp, **how}
    for clamp in (0.01, 0.05)
    for how in (
        {"dtype": "fp32", "codec": "mask"},
        {"dtype": "fp16", "codec": "mask"},
        *({"codec": "rans", "step": step} for step in STEPS),
    )
]
"""Arguments of `seedfile.saving.How` and `exporting.export`. A clamp is worth nothing to raw."""

WHOLE = [
    {"form": "whole", "dtype": dtype, "codec": codec} for dtype in sizes_whole.DTYPES for codec in sizes_whole.CODECS
]

KINDS = ("form", "dtype", "codec", "step", "clamp", "calibrated")
"""The columns that tell a run's files apart."""

ASKED = [*WHOLE, *GRID, *CLAMPED]


def columns(how: dict[str, Any]) -> dict[str, Any]:
    """What is asked for, as the columns KINDS have it."""
    if how.get("form") == "whole":
        return dict.fromkeys(KINDS, "") | how
    rans = how["codec"] == "rans"
    return {
        "form": how.get("form", "folded"),
        "dtype": how.get("dtype", ""),  # that of rans are its steps
        "codec": how["codec"],
        "step": how["step"] if rans else "",
        "clamp": how.get("clamp", 0.0),
        "calibrated": how.get("calibrate", ""),
    }


def kind(row: dict[str, Any]) -> tuple[str, ...]:
    return tuple(str(row[key]) for key in KINDS)


_NUMBERS = ("depth", "epochs", "seed", "bytes", "header_bytes", "times_smaller", "top1", "loss", "points_lost")
_NUMBERS += ("zeros", "step", "clamp", "calibrated")


def known_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a table that was made before, their numbers as numbers."""
    if not path.is_file():
        return []
    with path.open() as file:
        rows: list[dict[str, Any]] = list(csv.DictReader(file))
    for row in rows:
        for name in _NUMBERS:
            if row[name]:
                row[name] = float(row[name]) if "." in row[name] or "e" in row[name] else int(row[name])
        if row["verified"]:
            row["verified"] = row["verified"] == "True"
    return rows
