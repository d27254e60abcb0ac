"""Consistency, accuracy and similarity of the runs of `shift`, and their figures. Without torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from bnonly.files import read_object
from experiments.grid import Trial
from experiments.shift_objects import NAME
from experiments.tables import provenance


def files(trials: Sequence[Trial], command: str) -> dict[str, bytes]:
    """The experiment's files by name; none where no run is done."""
    from analysis.figures import csv, png, svg
    from analysis.figures.shift import consistency_by_accuracy, right_by_shift
    from analysis.figures.shift_features import similarity_maps
    from analysis.figures.shift_signal import max_pool_of_a_signal

    table = pd.DataFrame(row for trial in trials if (row := _row(trial, command)))
    if table.empty:
        return {}
    curves = pd.DataFrame(row for trial in trials for row in _curve(trial))
    maps = [found for trial in trials if (found := _maps(trial))]
    drawings = {"shift": consistency_by_accuracy(table), "max_pool": max_pool_of_a_signal()}
    if len(curves):
        drawings["right_by_shift"] = right_by_shift(curves)
    if maps:
        drawings["similarity"] = similarity_maps(maps)
    found = {"shift.csv": csv(table)}
    found |= {f"{name}.csv": csv(drawing.table) for name, drawing in drawings.items() if name != "shift"}
    for name, drawing in drawings.items():
        found |= {f"{name}.png": png(drawing.figure), f"{name}.svg": svg(drawing.figure, drawing.caption).encode()}
    return found


def _own(trial: Trial) -> dict[str, Any]:
    """What a run is, as columns."""
    config = trial.config
    return {
        "network": config.network.name,
        "group": config.group,
        "antialias": config.network.antialias,
        "data": config.data.source,
        "crop": config.data.crop,
        "epochs": config.training.epochs,
        "seed": config.seed,
    }


def _row(trial: Trial, command: str) -> dict[str, Any] | None:
    result, found = trial.folder.result(), trial.folder.shift()
    if result is None or found is None:
        return None
    means = {
        f"{name}{end}": found[name][kind]
        for name in ("consistency", "distinct", "top1", "spread")
        if name in found
        for end, kind in (("", "mean"), ("_se", "se"))
    }
    similar = read_object(trial.folder.path / NAME) or {}
    for name, layer in similar.get("layers", {}).items():
        short = name.replace(" ", "_")
        centre = layer["anchors"].index("centre")
        means |= {f"{short}_cosine": layer["mean"][centre], f"{short}_sd": layer["sd"][centre]}
        means |= {f"{short}_probe": (layer["rows"] + layer["columns"]) / 2}
    return {
        **_own(trial),
        "test_top1": result["test"]["top1"],
        **{name: found["asked"][name] for name in ("border", "most", "pairs")},
        "images": found["images"],
        "unmoved_top1": found.get("unmoved"),
        **means,
        **provenance(trial.config, result, command),
    }


def _curve(trial: Trial) -> list[dict[str, Any]]:
    """A row a shift along the diagonal, down and right at once, for the mean and the first images."""
    found = trial.folder.shift()
    if trial.folder.result() is None or found is None or "offsets" not in found:
        return []
    what = {"mean": found["right"], **{str(number): grid for number, grid in enumerate(found["examples"])}}
    return [
        {**_own(trial), "image": image, "offset": offset, "right": grid[place][place]}
        for image, grid in what.items()
        for place, offset in enumerate(found["offsets"])
    ]


def _maps(trial: Trial) -> dict[str, Any] | None:
    found = read_object(trial.folder.path / NAME)
    return None if found is None or trial.folder.result() is None else {**_own(trial), **found}
