"""What a grid of runs was to hold, from the file its driver writes, and what of it is still missing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.folders import at, text
from analysis.settings import canonical, shape
from bnonly.files import read_object

STAGES = ("fit", "measure", "ablate")
_LEFT_BY = {"measure": "has_measures", "ablate": "has_ablation"}
_MISSING = ("experiment", "preset", "id", "network", "group", "seed", "stage", "state", "reason")
_GRIDS = ("experiment", "preset", "question", "expect", "trials", "done", "running", "failed", "waiting")


@dataclass(frozen=True)
class Trial:
    """A run that a grid asks for, and the experiment in whose folder it is; config as plain values."""

    home: str
    id: str
    stages: tuple[str, ...]
    config: dict[str, Any]


@dataclass(frozen=True)
class Grid:
    """An experiment at a preset."""

    experiment: str
    preset: str
    question: str
    expect: str
    trials: tuple[Trial, ...]


def grid(path: Path) -> Grid | None:
    """The grid of a file OUT/EXPERIMENT/grid.PRESET.json; None where it is none. Trials that train nothing, as those
    of `speed`, are no runs and left out."""
    plain = read_object(path)
    trials = at(plain, "trials")
    if not isinstance(trials, list):
        return None
    names = (text(at(plain, "experiment")) or path.parent.name, text(at(plain, "preset")))
    sayings = (text(at(plain, "question")), text(at(plain, "expect")))
    found = (_trial(each, names[0]) for each in trials if text(at(each, "id")))
    return Grid(*names, *sayings, tuple(each for each in found if "fit" in each.stages))


def _trial(plain: dict[str, Any], experiment: str) -> Trial:
    config, stages = plain.get("config"), plain.get("stages")
    config = dict(config) if isinstance(config, dict) else {}
    if not isinstance(config.get("network"), dict):
        config["network"] = {"name": text(plain.get("network"))}
    for name in ("group", "seed"):
        config.setdefault(name, plain.get(name))
    stages = tuple(stage for stage in stages if stage in STAGES) if isinstance(stages, list) else ("fit",)
    return Trial(text(config.get("experiment")) or experiment, text(plain.get("id")), stages, config)


def missing(runs: pd.DataFrame, grids: Iterable[Grid]) -> pd.DataFrame:
    """A row a stage of a trial that has not been done."""
    there = {(row["experiment"], row["id"]): row for row in runs.to_dict("records")}
    rows = []
    for each in grids:
        for trial in each.trials:
            run = there[trial.home, trial.id]
            form, group = shape(text(at(trial.config, "network", "name"))), text(trial.config.get("group"))
            who = (
                each.experiment,
                each.preset,
                trial.id,
                form.label,
                canonical(group),
                text(trial.config.get("seed")),
            )
            if run["state"] != "done":
                rows.append((*who, "fit", run["state"], run["reason"]))
                continue
            rows += [
                (*who, stage, "waiting", "")
                for stage, mark in _LEFT_BY.items()
                if stage in trial.stages and not run[mark]
            ]
    return pd.DataFrame(rows, columns=list(_MISSING))


def overview(runs: pd.DataFrame, grids: Iterable[Grid]) -> pd.DataFrame:
    """A row a grid: its question, what to expect, and how many of its trials are in which state."""
    state = {(row["experiment"], row["id"]): row["state"] for row in runs.to_dict("records")}
    rows = []
    for each in grids:
        states = [state[trial.home, trial.id] for trial in each.trials]
        counts = (states.count(name) for name in ("done", "running", "failed", "waiting"))
        rows.append((each.experiment, each.preset, each.question, each.expect, len(states), *counts))
    return pd.DataFrame(rows, columns=list(_GRIDS))
