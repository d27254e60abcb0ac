"""Accuracy against bytes: seed+BN files beside whole networks whose weights were trained. From the bytes.json files
that the experiment `bytes` leaves in its runs' folders.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import pandas as pd

from analysis.neighbours.kept import File, Kept, fields
from analysis.neighbours.shown import Neighbour, Part, Shown, largest
from analysis.settings import shape
from analysis.wording import percent

SIZES = (1000, 2000, 3000, 5000, 7000, 10_000, 15_000, 20_000, 30_000, 50_000, 100_000, 200_000)
SIDES = {"seed": "ours", "bare": "bare", "whole": "rival"}
_FILE = "bytes.json"
_KIND = ["network", "group", "prune", "bits", "form", "dtype", "codec", "step", "other_step", "epochs"]


class _Stored(File):
    form: Literal["seed", "bare", "whole"]
    dtype: str
    codec: str
    step: float | None
    other_step: float | None
    bytes: int
    top1: float
    loss: float | None


class Scored(File):
    """Of bytes.json: every file that the run became, as it was read back."""

    version: Literal[3]
    run: str
    rows: list[_Stored]


def read(runs: Sequence[Kept]) -> pd.DataFrame | None:
    """A row a file."""
    rows = [row for run in runs for row in _rows(run)]
    return pd.DataFrame(rows) if rows else None


def _rows(run: Kept) -> list[dict[str, Any]]:
    result, found = run.result(), run.load(_FILE, Scored)
    if result is None or found is None or found.run != run.config.id:
        return []
    config, made = run.config, run.provenance(result)
    made["computed_in"] = made.pop("dtype")
    return [
        {
            "network": config.network.name,
            "group": config.group,
            "prune": config.compression.prune,
            "bits": config.compression.bits,
            "epochs": config.training.epochs,
            "seed": config.seed,
            "trained": result.trained_parameters,
            "run_top1": result.test.top1,
            **fields(row, ("form", "dtype", "codec", "step", "other_step", "bytes", "top1", "loss")),
            **made,
            "setting": run.setting("compression.prune", "compression.bits"),
        }
        for row in found.rows
    ]


def show(table: pd.DataFrame) -> Shown:
    from analysis.figures.frontier import accuracy_by_file_size

    length, others = largest(table, ["epochs"])
    kinds = [largest(own, ["setting"]) for _, own in length.groupby(["form", "group"], sort=False)]
    drawn = pd.concat([alike for alike, _ in kinds])
    means = over_seeds(drawn)
    best = frontier(means)
    how = [
        f"{SIDES[str(form)]}, {', '.join(own['group'].unique())}: {setting}"
        for (form, setting), own in drawn.groupby(["form", "setting"], sort=False)
    ]
    text = [
        "Files of runs, read back and scored on the test images: a seed and what trained (ours), the same without "
        "what lets a reader verify it (bare), and whole networks whose weights trained, pruned or rounded (rivals); "
        "the most accurate file of each side that is no larger. "
        f"Means over seeds, of runs of one length; what trains has a recipe of its own. Trained: {'; '.join(how)}.",
        *(said for said in (others, *(own for _, own in kinds)) if said),
    ]
    tables = {"bytes": table.drop(columns="setting"), "frontier": best}
    return Shown(
        [Part("Accuracy of files against their bytes", "bytes", accuracy_by_file_size(means))],
        tables,
        text,
        _worded(best),
    )


def _worded(best: pd.DataFrame) -> pd.DataFrame:
    columns = {"bytes, at most": best["at_most_bytes"].map("{:,}".format)}
    for side in SIDES.values():
        columns |= {side: best[side], f"{side}, top-1": best[f"{side}_top1"].astype(float).map(percent)}
    return pd.DataFrame(columns)


def over_seeds(table: pd.DataFrame) -> pd.DataFrame:
    """A row a kind of file, smallest first: means of bytes and top1 over seeds, and how many seeds."""
    by = table.groupby(_KIND, dropna=False, sort=False)
    means = by.agg(bytes=("bytes", "mean"), top1=("top1", "mean"), seeds=("seed", "nunique")).reset_index()
    means["side"] = means["form"].map(SIDES)
    means["label"] = [_label(row) for row in means.to_dict("records")]
    return means.sort_values("bytes", kind="stable").reset_index(drop=True)


def frontier(means: pd.DataFrame) -> pd.DataFrame:
    """By size in bytes: the best file of each side no larger than that, and what either of ours has more."""
    rows = []
    for size in SIZES:
        row: dict[str, Any] = {"at_most_bytes": size}
        for side in SIDES.values():
            fits = means[(means["side"] == side) & (means["bytes"] <= size)]
            best = fits.sort_values("top1", kind="stable").iloc[-1] if len(fits) else None
            row |= {
                f"{side}_top1": None if best is None else best["top1"],
                f"{side}_bytes": None if best is None else best["bytes"],
                side: "" if best is None else best["label"],
            }
        for side in ("ours", "bare"):
            both = row[side] and row["rival"]
            row[f"{side}_better_by_points"] = 100 * (row[f"{side}_top1"] - row["rival_top1"]) if both else None
        rows.append(row)
    return pd.DataFrame(rows)


def _label(row: dict[Any, Any]) -> str:
    """What a file is, in a figure."""
    words = [shape(row["network"]).label]
    if row["form"] != "whole":
        words += [row["group"], *(["bare"] if row["form"] == "bare" else [])]
    if row["prune"]:
        words.append(f"{row['prune']:.0%} pruned")
    codec, _, outer = row["codec"].partition("+")
    if not pd.isna(row["step"]) and codec == "rans":
        other = "" if pd.isna(row["other_step"]) else f" and {row['other_step']:g}"
        words.append(f"rans, step {row['step']:g}{other}")
    else:
        trained = "" if pd.isna(row["bits"]) else " trained"
        words += [f"{row['dtype']}{trained}", *([] if codec == "raw" else [codec])]
    return ", ".join([*words, *([outer] if outer else [])])


NEIGHBOUR = Neighbour(
    "bytes",
    "Accuracy against bytes",
    ("bytes", "frontier"),
    lambda experiment, files: _FILE in files,
    read,
    show,
)
