"""Run folders as tidy tables, a subject each: what every figure and the report are made from. Without torch.

`read` takes runs as they are: finished, going on, failed, half-written, vanishing. Of the files of a run it opens
only what a figure needs, so that 500 runs of 160 epochs are read in seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from analysis import neighbours
from analysis.folders import epochs, find, numbers
from analysis.gammas import gammas
from analysis.rows import ABLATION, CURVE, MEASURE, ablation_rows, curve_rows, measure_rows, run_row, trial_row
from analysis.trials import Grid, grid, missing, overview
from bnonly.errors import BadInput
from bnonly.files import read_object

_NUMBERS = (
    "depth",
    "width",
    "epochs",
    "epoch",
    "attempts",
    "trained_parameters",
    "parameters",
    "top1",
    "top5",
    "loss",
)
_NUMBERS += ("train_top1", "gamma_below_0.01", "minutes", "images_per_second", "weight_decay")
_WORDS = ("run", "layer", "way", "scope", "seed")
_WHO = ("key", "network", "label", "family", "depth", "width", "group", "setting", "source", "papers_recipe")
_WHO += ("epochs", "precision", "device", "device_name", "state", "epoch", "evaluated")


@dataclass(frozen=True)
class Frames:
    """Tidy tables of runs; `run` of the other tables is `key` of `runs`. Shares and accuracies are in 0..1.

    runs        a row a run, and a row a trial that has none yet. state: done, running (begun and not finished, going
                on or stopped), failed, waiting; top1 and its kind are final, of unfinished runs the last epoch's
    curves      a row an epoch and run: test loss, top1, top5, and train_loss, train_top1, gamma_below_0.01
    gammas      a row a channel at the last epoch: run, layer, place, gamma; see `analysis.gammas`
    ablations   a row a point of ablation.json, beside the intact top1
    measures    a row a layer of measures.json, and one of layer "all"
    missing     a row a stage of a trial that has not been done
    grids       a row a grid file: its question, and its trials by state
    notes       what could not be read, a sentence each
    neighbours  what there is of each of `analysis.neighbours`, by its name
    """

    runs: pd.DataFrame
    curves: pd.DataFrame
    gammas: pd.DataFrame
    ablations: pd.DataFrame
    measures: pd.DataFrame
    missing: pd.DataFrame
    grids: pd.DataFrame
    notes: tuple[str, ...]
    neighbours: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def done(self) -> pd.DataFrame:
        """The finished runs, a seed of a network, group and setting once."""
        return finished(self.runs)

    @property
    def table(self) -> pd.DataFrame:
        """`runs` to be read by others: without what a terminal said."""
        return self.runs.drop(columns=["key", "log"])

    def of_runs(self, table: pd.DataFrame, *, unfinished: bool = False) -> pd.DataFrame:
        """Another table with the columns that name its runs; `run_seed` is theirs. Of finished runs, or of all."""
        runs = self.runs if unfinished else self.done
        who = runs[[*_WHO, "seed"]].rename(columns={"seed": "run_seed", "epoch": "last_epoch"})
        return table.merge(who, left_on="run", right_on="key").drop(columns="key")


def finished(runs: pd.DataFrame) -> pd.DataFrame:
    """cifar_resnet14 and cifar_wrn14_1 of a seed are the same numbers, as copies of a run are."""
    done = runs[(runs["state"] == "done") & runs["top1"].notna() & (runs["network"] != "")]
    shape = done["label"].where(done["depth"].isna(), done["depth"].astype(str) + "x" + done["width"].astype(str))
    return done[~done.assign(shape=shape).duplicated(["setting", "family", "shape", "group", "seed"])]


def read(paths: Iterable[Path]) -> Frames:
    """The tables of all runs in these folders. Raises BadInput where there is no folder, or no run in any."""
    paths = list(paths)
    found = find(paths)
    rows: list[dict[str, Any]] = []
    curves, ablations, measures = [], [], []
    notes = []
    for place, path in enumerate(found.runs):
        key, records = str(place), epochs(path / "metrics.jsonl")
        if (row := run_row(path, records)) is None:
            continue  # taken away since it was found
        rows.append({"key": key} | row)
        if not row["network"]:
            notes.append(f"{path} holds no configuration that can be read")
        curves += [(key, *values) for values in curve_rows(records)]
        if row["has_ablation"]:
            ablations += [(key, *values) for values in ablation_rows(read_object(path / "ablation.json"))]
        if row["has_measures"]:
            measures += [(key, *values) for values in measure_rows(read_object(path / "measures.json"))]
    grids = {path: grid(path) for path in found.grids}
    notes += [f"{path} is no grid that can be read" for path, each in grids.items() if each is None]
    whole = [each for each in grids.values() if each is not None and each.trials]
    beside = neighbours.read(found, {Path(row["path"]): row["experiment"] for row in rows}, notes)
    if not (rows := [*rows, *_waiting(rows, whole)]) and not beside:
        raise BadInput(f"{', '.join(map(str, paths))}: no run is in there, only trials that train nothing")
    runs = _runs(rows)
    if copies := int(runs.loc[runs["state"] == "done"].duplicated(["experiment", "id"]).sum()):
        notes.append(f"{copies} {'folder is a copy' if copies == 1 else 'folders are copies'} of a run: counted once")
    return Frames(
        runs,
        _frame(CURVE, curves),
        gammas(finished(runs)),
        _frame(ABLATION, ablations),
        _frame(MEASURE, measures),
        missing(runs, whole),
        overview(runs, whole),
        tuple(notes),
        beside,
    )


def _waiting(rows: list[dict[str, Any]], grids: list[Grid]) -> list[dict[str, Any]]:
    """A row for each trial of a grid that has no folder yet."""
    there = {(row["experiment"], row["id"]) for row in rows}
    waiting = {}
    for each in grids:
        for trial in each.trials:
            if (name := (trial.home, trial.id)) not in there:
                waiting[name] = {"key": "/".join(name)} | trial_row(*name, trial.config)
    return list(waiting.values())


def _frame(names: tuple[str, ...], rows: list[tuple[Any, ...]]) -> pd.DataFrame:
    columns = list(zip(*rows, strict=True)) or [()] * len(names)
    made = {
        name: pd.Series(values, dtype="str") if name in _WORDS else numbers(list(values))
        for name, values in zip(names, columns, strict=True)
    }
    return pd.DataFrame(made)


def _runs(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Sorted by what they are, so that the order of folders does not show."""
    frame = pd.DataFrame(rows, columns=["key", *trial_row("", "", {})])
    frame = frame.astype(dict.fromkeys(_NUMBERS, float))
    by = ["family", "depth", "width", "group", "setting", "seed", "experiment", "id", "path"]
    order = frame[by].assign(seed=frame["seed"].str.zfill(40)).sort_values(by, kind="stable").index
    return frame.loc[order].reset_index(drop=True)
