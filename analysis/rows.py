"""One run's files as rows of the tables of `frames`, whatever state the run is in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from analysis.folders import at, number, text, yaml_mapping
from analysis.settings import DECAY, START, Setting, canonical, schedule, shape
from bnonly.files import read_object

ENVIRONMENT = ("bnonly", "python", "torch", "lightning", "numpy", "device", "device_name", "threads", "git")
CURVE = ("run", "epoch", "loss", "top1", "top5", "train_loss", "train_top1", "gamma_below_0.01")
ABLATION = ("run", "way", "scope", "amount", "seed", "clamped", "share", "top1", "top5", "loss", "intact")
MEASURE = ("run", "layer", "channels", "zero", "zero_outputs", "off", "mostly_off_0.9", "mostly_off_0.99")
MEASURE += ("dead", "effective")

Row = dict[str, Any]


def run_row(path: Path, records: list[dict[str, Any]]) -> Row | None:
    """A run in a line; None for a folder that has gone."""
    result, failure = read_object(path / "result.json"), read_object(path / "failure.json")
    config = at(result, "config")
    config = config if isinstance(config, dict) else yaml_mapping(path / "config.yaml")
    if config is None and not records and failure is None and not path.is_dir():
        return None
    last = records[-1] if records else {}
    test, train = (at(result, name) if result else last.get(name) for name in ("test", "train"))
    gamma = at(result, "gamma") if result else last.get("gamma")
    environment = at(result, "environment")
    state = "done" if result else "failed" if failure else "running"
    speeds = [speed for record in records if (speed := number(record.get("images_per_second"))) > 0]
    seconds = number(at(result, "train_seconds")) if result else sum(number(r.get("seconds")) for r in records)
    return {
        "id": path.name,
        "experiment": text(at(config, "experiment")) or path.parent.name,
        "path": str(path),
        **_names(config or {}),
        **{name: text(at(environment, name)) for name in ENVIRONMENT},
        "trained_parameters": number(at(result, "trained_parameters")),
        "parameters": number(at(result, "parameters")),
        "state": state,
        "epoch": last["epoch"] if records else (number(at(config, "training", "epochs")) if result else np.nan),
        **{name: number(at(test, name)) for name in ("top1", "top5", "loss")},
        "train_top1": number(at(train, "top1")),
        "gamma_below_0.01": below(gamma),
        "minutes": seconds / 60,
        "images_per_second": float(np.median(speeds)) if speeds else np.nan,
        "evaluated": text(at(result, "evaluated"))
        or ("holdout" if number(at(config, "data", "holdout")) > 0 else "test"),
        "finished": text(at(result, "finished")),
        "has_measures": (path / "measures.json").exists(),
        "has_ablation": (path / "ablation.json").exists(),
        "reason": text(at(failure, "reason")) if state == "failed" else "",
        "kind": text(at(failure, "kind")) if state == "failed" else "",
        "attempts": number(at(failure, "attempts")),
        "last": text(at(failure, "last")),
        "log": text(at(failure, "log")) if state == "failed" else "",
    }


def _names(config: Row) -> Row:
    """What a configuration says of its run, by the names of the columns."""
    setting, name = Setting.of(config), text(at(config, "network", "name"))
    form = shape(name)
    return {
        "network": name,
        "label": form.label,
        "family": form.family,
        "depth": form.depth,
        "width": form.width,
        "group": canonical(text(at(config, "group"))),
        "seed": text(at(config, "seed")),  # up to 2^128, which no column of integers holds
        "source": setting.source,
        "epochs": setting.epochs,
        "precision": setting.precision,
        "memory_format": text(at(config, "training", "memory_format")),
        "engine": text(at(config, "training", "engine")) or "modules",
        "setting": setting.label(),
        "setting_but_start": setting.label(START),
        "setting_but_decay": setting.label(DECAY),
        "papers_recipe": setting.papers_recipe,
        "schedule": schedule(config),
        **{field.partition(".")[2]: text(at(config, *field.split("."))) for field in START},
        "weight_decay": number(at(config, "training", "weight_decay")),
        "decay_group": text(at(config, "training", "decay_group")),
    }


def below(gamma: Any) -> float:
    """The share of |gamma| < 0.01, from the record of an epoch or a result; NaN where there is none."""
    thresholds, shares = at(gamma, "thresholds"), at(gamma, "below")
    if not isinstance(thresholds, list) or not isinstance(shares, list) or 0.01 not in thresholds:
        return np.nan
    return number(shares[place]) if (place := thresholds.index(0.01)) < len(shares) else np.nan


def trial_row(experiment: str, id: str, config: Row) -> Row:
    """A trial that has no folder yet, in the columns of `run_row`."""
    no_number = (
        "trained_parameters",
        "parameters",
        "epoch",
        "top1",
        "top5",
        "loss",
        "train_top1",
        "gamma_below_0.01",
    )
    no_number += ("minutes", "images_per_second", "attempts")
    return {
        "id": id,
        "experiment": experiment,
        "path": "",
        **_names(config),
        **dict.fromkeys((*ENVIRONMENT, "evaluated", "finished", "reason", "kind", "last", "log"), ""),
        **dict.fromkeys(no_number, np.nan),
        "state": "waiting",
        "has_measures": False,
        "has_ablation": False,
    }


def curve_rows(records: list[Row]) -> list[tuple[Any, ...]]:
    """A row an epoch, as CURVE but for the run; values as they were read."""
    rows, none = [], {}
    for record in records:
        test, train = record.get("test"), record.get("train")
        test, train = test if type(test) is dict else none, train if type(train) is dict else none
        values = (test.get("loss"), test.get("top1"), test.get("top5"), train.get("loss"), train.get("top1"))
        rows.append((record["epoch"], *values, below(record.get("gamma"))))
    return rows


def ablation_rows(ablation: Row | None) -> list[tuple[Any, ...]]:
    """A row a point of ablation.json, as ABLATION but for the run."""
    points, intact = at(ablation, "points"), number(at(ablation, "intact", "top1"))
    rows = []
    for point in points if isinstance(points, list) else []:
        if isinstance(point, dict):
            names = (text(point.get("way")), text(point.get("scope")), number(point.get("amount")))
            rest = (number(point.get(name)) for name in ("clamped", "share", "top1", "top5", "loss"))
            rows.append((*names, text(point.get("seed")), *rest, intact))
    return rows


def measure_rows(measures: Row | None) -> list[tuple[Any, ...]]:
    """A row a layer of measures.json, and "all", as MEASURE but for the run."""
    relu, dead, effective = (at(measures, part) for part in ("relu", "dead", "effective"))
    layers = at(relu, "layers")
    parts = [("all", at(relu, "all"))] + (list(layers.items()) if isinstance(layers, dict) else [])
    rows = []
    for layer, part in parts if measures else []:
        off = at(part, "mostly_off")
        values = [at(part, name) for name in ("channels", "zero", "zero_outputs", "off")]
        values += [at(off, "0.9"), at(off, "0.99")]
        values += [at(dead, "all", "dead") if layer == "all" else at(dead, "layers", layer, "dead")]
        values += [at(effective, "layers", layer, "effective")]
        rows.append((layer, *map(number, values)))
    return rows
