"""What came of filters drawn anew, stage by stage. Without torch.

regrow.csv: a row a run, with its stage, what trained in it and how many filters were drawn anew before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from analysis.neighbours.kept import provenance
from analysis.rows import below
from experiments.grid import Trial
from experiments.regrow import WAYS, stage_of


def files(trials: Sequence[Trial], command: str) -> dict[str, bytes]:
    """The experiment's files by name; none where no run is done."""
    from analysis.figures import csv
    from analysis.figures.regrow import stages

    table = pd.DataFrame(row for trial in trials for row in _rows(trial, trials, command))
    if table.empty:
        return {}
    drawing = stages(table)
    return {"regrow.csv": csv(table), **drawing.files("regrow")}


def _rows(trial: Trial, trials: Sequence[Trial], command: str) -> list[dict[str, Any]]:
    """A row; of the first stage, with which every way begins, one a way."""
    if (result := trial.folder.result()) is None:
        return []
    config, stage = trial.config, stage_of(trial, trials)
    return [
        {
            "network": config.network.name,
            "seed": config.seed,
            "stage": stage,
            "way": way,
            "trained": config.group,
            "epochs": config.training.epochs,
            "redrawn": result.get("redrawn", 0),
            "filters": result.get("filters"),
            "top1": result["test"]["top1"],
            "train_top1": result["train"]["top1"],
            "gamma_below_0.01": below(result["gamma"]),
            **provenance(config, result, command),
        }
        for way in (WAYS if stage == 0 else (config.regrow.choose,))
    ]
