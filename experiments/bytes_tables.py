"""Accuracy against bytes, from the files that `bytes_files.store` has scored. Without torch.

bytes.csv: a row a file. frontier.csv: for each size, the most accurate file of ours and of the rivals that is no
larger. Both of means over seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from analysis.settings import shape
from bnonly.files import read_object
from experiments.bytes_files import NAME
from experiments.grid import Trial
from experiments.tables import provenance

SIZES = (1000, 2000, 3000, 5000, 7000, 10_000, 15_000, 20_000, 30_000, 50_000, 100_000, 200_000)
_KIND = ["network", "group", "prune", "bits", "form", "dtype", "codec", "step", "epochs"]


def files(trials: Sequence[Trial], command: str) -> dict[str, bytes]:
    """The experiment's files by name; none where no run is done."""
    from analysis.figures import csv, png, svg
    from analysis.figures.frontier import accuracy_by_file_size

    table = pd.DataFrame(row for trial in trials for row in _rows(trial, command))
    if table.empty:
        return {}
    means = over_seeds(table)
    drawing = accuracy_by_file_size(means)
    return {
        "bytes.csv": csv(table),
        "frontier.csv": csv(frontier(means)),
        "bytes.png": png(drawing.figure),
        "bytes.svg": svg(drawing.figure, drawing.caption).encode(),
    }


def over_seeds(table: pd.DataFrame) -> pd.DataFrame:
    """A row a kind of file, smallest first: means of bytes and top1 over seeds, and how many seeds."""
    by = table.groupby(_KIND, dropna=False, sort=False)
    means = by.agg(bytes=("bytes", "mean"), top1=("top1", "mean"), seeds=("seed", "nunique")).reset_index()
    means["side"] = means["form"].map({"seed": "ours", "whole": "rival"})
    means["label"] = [_label(row) for row in means.to_dict("records")]
    return means.sort_values("bytes", kind="stable").reset_index(drop=True)


def frontier(means: pd.DataFrame) -> pd.DataFrame:
    """By size in bytes: the best file of ours and of the rivals no larger than that, and what ours has more."""
    rows = []
    for size in SIZES:
        row: dict[str, Any] = {"at_most_bytes": size}
        for side in ("ours", "rival"):
            fits = means[(means["side"] == side) & (means["bytes"] <= size)]
            best = fits.sort_values("top1", kind="stable").iloc[-1] if len(fits) else None
            row |= {
                f"{side}_top1": None if best is None else best["top1"],
                f"{side}_bytes": None if best is None else best["bytes"],
                side: "" if best is None else best["label"],
            }
        if row["ours"] and row["rival"]:
            row["ours_better_by_points"] = 100 * (row["ours_top1"] - row["rival_top1"])
        rows.append(row)
    return pd.DataFrame(rows)


def _label(row: dict[Any, Any]) -> str:
    """What a file is, in a figure."""
    words = [shape(row["network"]).label]
    if row["form"] == "seed":
        words.append(row["group"])
    if row["prune"]:
        words.append(f"{row['prune']:.0%} pruned")
    if row["codec"] == "rans":
        words.append(f"rans, step {row['step']:g}")
    else:
        trained = "" if pd.isna(row["bits"]) else " trained"
        words.append(f"{row['dtype']}{trained}" + ("" if row["codec"] == "raw" else f", {row['codec']}"))
    return ", ".join(words)


def _rows(trial: Trial, command: str) -> list[dict[str, Any]]:
    result, found = trial.folder.result(), read_object(trial.folder.path / NAME)
    if result is None or found is None:
        return []
    config, made = trial.config, provenance(trial.config, result, command)
    made["computed_in"] = made.pop("dtype")
    return [
        {
            "network": config.network.name,
            "group": config.group,
            "prune": config.compression.prune,
            "bits": config.compression.bits,
            "epochs": config.training.epochs,
            "seed": config.seed,
            "trained": result["trained_parameters"],
            "run_top1": result["test"]["top1"],
            **{name: row[name] for name in ("form", "dtype", "codec", "step", "bytes", "top1", "loss")},
            **made,
        }
        for row in found["rows"]
    ]
