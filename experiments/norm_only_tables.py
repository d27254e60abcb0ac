"""What the sweep of norm_only found, as tables and a figure. Without torch.

sweep.csv: a row a run on held-out images; of a run that failed for good, no accuracy. best.csv: a row a run at its
cell's best rate, on the test set.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from experiments.grid import Trial
from experiments.tables import provenance


def files(trials: Sequence[Trial], command: str) -> dict[str, bytes]:
    """The experiment's files by name; none where no run is done."""
    from analysis.figures import csv, png, svg
    from analysis.figures.norm_only import accuracy_by_rate

    rows = pd.DataFrame(row for trial in trials if (row := _row(trial, command)))
    if rows.empty:
        return {}
    rows["top1"] = rows["top1"].astype(float)
    held_out = rows["holdout"] > 0
    sweep, best = rows[held_out], rows[~held_out].drop(columns="holdout")
    found = {"sweep.csv": csv(sweep)}
    if len(best):
        found["best.csv"] = csv(best)
    drawing = accuracy_by_rate(sweep, best)
    return found | {
        "norm_only.png": png(drawing.figure),
        "norm_only.svg": svg(drawing.figure, drawing.caption).encode(),
    }


def _row(trial: Trial, command: str) -> dict[str, Any] | None:
    """None while the run goes on."""
    config, result = trial.config, trial.folder.result()
    if result is None and not (trial.folder.failure() or {}).get("final"):
        return None
    found = result or {"test": {"top1": None}, "train": {"top1": None}, "trained_parameters": None}
    return {
        "network": config.network.name,
        "group": config.group,
        "seed": config.seed,
        "epochs": config.training.epochs,
        "optimizer": config.training.optimizer,
        "lr": config.training.lr,
        "weight_decay": config.training.weight_decay,
        "holdout": config.data.holdout,
        "trained": found["trained_parameters"],
        "top1": found["test"]["top1"],
        "train_top1": found["train"]["top1"],
        **provenance(config, result, command),
    }
