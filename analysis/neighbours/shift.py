"""Shift stability: consistency, accuracy and the right class's probability under shifts, and how features of an
object depend on its place. From shift.json (`bnonly shift`) and similarity.json (the experiment `shift`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from pydantic import FiniteFloat, model_validator

from analysis.neighbours.kept import File, Kept, fields
from analysis.neighbours.shown import Neighbour, Part, Shown
from analysis.settings import shape
from analysis.wording import percent

_FOUND, _LOOK = "shift.json", "similarity.json"
_MEANS = ("consistency", "distinct", "top1", "spread")
_MOST_LISTED = 50

Map = tuple[tuple[FiniteFloat, ...], ...]


class _Mean(File):
    mean: FiniteFloat
    se: FiniteFloat | None


class _Asked(File):
    border: str
    most: int
    pairs: int


class Shifted(File):
    """Of shift.json; offsets and what comes after it where every shift was shown."""

    asked: _Asked
    images: int
    consistency: _Mean
    top1: _Mean
    distinct: _Mean | None = None
    spread: _Mean | None = None
    unmoved: FiniteFloat | None = None
    offsets: tuple[int, ...] = ()
    right: Map = ()
    examples: tuple[Map, ...] = ()

    @model_validator(mode="after")
    def _square(self) -> Shifted:
        for grid in (self.right, *self.examples) if self.offsets else ():
            if np.shape(grid) != (len(self.offsets), len(self.offsets)):
                raise ValueError("a map is not offsets x offsets")
        return self


class Layer(File):
    """Of one layer in similarity.json; maps [anchors, places, places], mean and sd [anchors]."""

    anchors: list[str]
    maps: list[Map]
    mean: list[FiniteFloat]
    sd: list[FiniteFloat | None]
    rows: FiniteFloat
    columns: FiniteFloat
    unconverged: int

    @model_validator(mode="after")
    def _whole(self) -> Layer:
        places = len(self.maps[0]) if self.maps else 0
        if not places or np.shape(self.maps) != (len(self.anchors), places, places):
            raise ValueError("maps are not anchors x places x places")
        if not len(self.mean) == len(self.sd) == len(self.anchors) or not {"top left", "centre"} <= {*self.anchors}:
            raise ValueError("an anchor is missing")
        return self


class Look(File):
    """Of similarity.json; side, patch, stride in pixels."""

    objects: int
    side: int
    patch: int
    stride: int
    layers: dict[str, Layer]

    @model_validator(mode="after")
    def _logits(self) -> Look:
        if "logits" not in self.layers:
            raise ValueError("there are no logits")
        return self


@dataclass(frozen=True)
class Shifts:
    """table: a row a run. curves: a row a run, image and shift along the diagonal. looks: similarity.json with what
    the run is, each."""

    table: pd.DataFrame
    curves: pd.DataFrame
    looks: list[dict[str, Any]]


def read(runs: Sequence[Kept]) -> Shifts | None:
    """Of the finished runs; None where none was shown shifted images."""
    rows, curves, looks = [], [], []
    for run in runs:
        if (result := run.result()) is None:
            continue
        own, look = _own(run), run.load(_LOOK, Look)
        if look is not None:
            looks.append(own | look.model_dump())
        if (found := run.load(_FOUND, Shifted)) is None:
            continue
        rows.append(
            {
                **own,
                "test_top1": result.test.top1,
                **fields(found.asked, ("border", "most", "pairs")),
                "images": found.images,
                "unmoved_top1": found.unmoved,
                **_means(found),
                **(_similar(look) if look else {}),
                **run.provenance(result),
            }
        )
        curves += [own | {"run": run.config.id} | point for point in _curve(found)]
    return Shifts(pd.DataFrame(rows), pd.DataFrame(curves), looks) if rows else None


def _own(run: Kept) -> dict[str, Any]:
    """What a run is, as columns."""
    config = run.config
    return {
        "network": config.network.name,
        "group": config.group,
        "antialias": config.network.antialias,
        "data": config.data.source,
        "crop": config.data.crop,
        "epochs": config.training.epochs,
        "seed": config.seed,
        "setting": run.setting("network.antialias", "data.crop"),
    }


def _means(found: Shifted) -> dict[str, float | None]:
    given = {name: mean for name in _MEANS if (mean := getattr(found, name)) is not None}
    return {
        f"{name}{end}": getattr(mean, kind)
        for name, mean in given.items()
        for end, kind in (("", "mean"), ("_se", "se"))
    }


def _similar(look: Look) -> dict[str, float | None]:
    means: dict[str, float | None] = {}
    for name, layer in look.layers.items():
        short, centre = name.replace(" ", "_"), layer.anchors.index("centre")
        means |= {f"{short}_cosine": layer.mean[centre], f"{short}_sd": layer.sd[centre]}
        means |= {f"{short}_probe": (layer.rows + layer.columns) / 2}
    return means


def _curve(found: Shifted) -> list[dict[str, Any]]:
    """Along the diagonal, down and right at once, the mean and the first images."""
    if not found.offsets or not found.right:
        return []
    what = {"mean": found.right, **{str(number): grid for number, grid in enumerate(found.examples)}}
    return [
        {"image": image, "offset": offset, "right": grid[place][place]}
        for image, grid in what.items()
        for place, offset in enumerate(found.offsets)
    ]


def show(found: Shifts) -> Shown:
    from analysis.figures.shift import consistency_by_accuracy, right_by_shift
    from analysis.figures.shift_features import similarity_maps
    from analysis.figures.shift_signal import max_pool_of_a_signal

    drawn = consistency_by_accuracy(found.table)
    parts = [Part("Consistency against accuracy", "shift", drawn)]
    tables = {"shift": found.table.drop(columns="setting")}
    if len(found.curves):
        drawn = right_by_shift(found.curves)
        parts.append(Part("The right class, shift by shift", "right_by_shift", drawn))
        tables["right_by_shift"] = drawn.table.drop(columns=["setting", "run"])
    if found.looks:
        drawn = similarity_maps(found.looks)
        parts.append(Part("Features of an object, place by place", "similarity", drawn))
        tables["similarity"] = drawn.table
    drawn = max_pool_of_a_signal()
    parts.append(Part("Why: a signal that max-pooling tears apart", "max_pool", drawn))
    tables["max_pool"] = drawn.table
    text = [
        "Consistency is how often two shifts of a test image get the same answer (Zhang, ICML 2019), ± one standard "
        "error over images; accuracy is that of the images as they are. A filter before all subsampling adds no "
        "parameter. `bnonly shift RUN` measures it."
    ]
    listed = found.table.head(_MOST_LISTED)
    if len(found.table) > _MOST_LISTED:
        text.append(f"The first {_MOST_LISTED} of {len(found.table)} runs; shift.csv has all.")
    return Shown(parts, tables, text, _worded(listed))


def _worded(table: pd.DataFrame) -> pd.DataFrame:
    rows = table.to_dict("records")
    shown = {
        "run": table["run"],
        "network": [shape(row["network"]).label for row in rows],
        "group": table["group"],
        "filter": table["antialias"],
        "setting": table["setting"],
        "crop": table["crop"],
        "seed": table["seed"].astype(str),
        "shifts": [f"{row['most']} px, {row['border']}" for row in rows],
        "test top-1": table["test_top1"].map(percent),
        "consistency": [percent(row["consistency"], row["consistency_se"]) for row in rows],
    }
    if "logits_probe" in table:
        shown["place guessed"] = ["-" if pd.isna(value) else f"{value:.0%}" for value in table["logits_probe"]]
    return pd.DataFrame(shown)


NEIGHBOUR = Neighbour(
    "shift",
    "Shift stability",
    ("shift", "right_by_shift", "similarity", "max_pool"),
    lambda experiment, files: _FOUND in files,
    read,
    show,
)
