"""Runs that differ in how they are computed alone, side by side. Without torch.

fidelity.csv: a row a network and mode; differences are of the same seed with the mode `paper`.
fidelity_runs.csv has the runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean, stdev
from typing import Any

import pandas as pd

from analysis.neighbours.kept import provenance
from experiments.fidelity import MODES
from experiments.grid import Trial

_BELOW = "gamma_below_"


def files(trials: Sequence[Trial], command: str) -> dict[str, bytes]:
    """The experiment's files by name; none where no run is done."""
    from analysis.figures import csv
    from analysis.figures.fidelity import differences

    table = pd.DataFrame(row for trial in trials if (row := _row(trial, command)))
    if table.empty:
        return {}
    drawing = differences(table)
    return {"fidelity.csv": csv(compared(table)), "fidelity_runs.csv": csv(table), **drawing.files("fidelity")}


def compared(table: pd.DataFrame) -> pd.DataFrame:
    """Mean, sample standard deviation and n over seeds of accuracy and sparsity, and of what each has more than
    `paper` with the same seed. Fractions in 0..1."""
    values = ["top1", *(str(name) for name in table if str(name).startswith(_BELOW))]
    runs = table.to_dict("records")
    papers = {(run["network"], run["seed"]): run for run in runs if run["mode"] == "paper"}
    groups: dict[tuple[Any, ...], list[dict[Any, Any]]] = {}
    for run in runs:
        groups.setdefault((run["network"], run["mode"], run["epochs"]), []).append(run)
    rows = []
    for (network, mode, epochs), own in groups.items():
        pairs = [(run, papers[key]) for run in own if (key := (run["network"], run["seed"])) in papers]
        row: dict[str, Any] = {"network": network, "mode": mode, "epochs": epochs, "n": len(own), "pairs": len(pairs)}
        for name in values:
            row |= _moments(name, [run[name] for run in own])
            row |= _moments(f"{name}_minus_paper", [run[name] - paper[name] for run, paper in pairs])
        rows.append(row)
    return pd.DataFrame(rows).assign(command=runs[0]["command"])


def _moments(name: str, values: list[float]) -> dict[str, float | None]:
    return {
        f"{name}_mean": mean(values) if values else None,
        f"{name}_sd": stdev(values) if len(values) > 1 else None,
    }


def _row(trial: Trial, command: str) -> dict[str, Any] | None:
    config, result = trial.config, trial.folder.result()
    if result is None:
        return None
    training = config.training
    own = (training.precision, training.memory_format, training.engine)
    mode = next((name for name, fields in MODES.items() if fields == own), " ".join(own))
    shares = zip(result["gamma"]["thresholds"], result["gamma"]["below"], strict=True)
    return {
        "network": config.network.name,
        "mode": mode,
        "data": config.data.source,
        "seed": config.seed,
        "epochs": training.epochs,
        "top1": result["test"]["top1"],
        "train_loss": result["train"]["loss"],
        **{f"{_BELOW}{threshold:g}": share for threshold, share in shares},
        **provenance(config, result, command),
    }
