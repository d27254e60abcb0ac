"""What random networks' features look like, and what they paint. From the style-DIGEST.json files, and the paintings
beside them, that the experiment `style` leaves in its trials' folders.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd
from PIL import Image

from analysis.folders import of_kind
from analysis.neighbours.kept import File, Kept, Made, fields
from analysis.neighbours.shown import Neighbour, Part, Sheet, Shown, largest, made_on, moments

_ASKED = ("network", "residual", "settled", "smooth", "size", "steps")
_SETTING = ("size", "steps")
PHOTOGRAPHS = ("content", "style")  # that paintings begin with
_LARGEST, _KEPT = 4096, 512  # pixels a side, of a painting on the disk and here


class _Options(File):
    network: str
    residual: bool
    settled: bool
    smooth: bool
    size: int
    steps: int


class _Layer(File):
    layer: str
    channels: int
    positions: int
    max: float
    entropy: float
    gram_max: float
    gram_entropy: float


class Looked(Made):
    """Of style-DIGEST.json. losses: before the first step and after each one."""

    version: Literal[1]
    run: str
    asked: _Options
    statistics: list[_Layer]
    losses: list[float] | None


@dataclass(frozen=True)
class Styles:
    """layers: a row a network, seed, smoothing and stage. paintings: a row a painting. pictures: the first seed's, by
    size and steps, then kind and smoothing. photographs: what they began with, by size and name."""

    layers: pd.DataFrame
    paintings: pd.DataFrame
    pictures: dict[tuple[int, int], dict[tuple[str, bool], Image.Image]]
    photographs: dict[int, dict[str, Image.Image]]


def read(trials: Sequence[Kept]) -> Styles | None:
    """None where nothing is done; a painting that is no picture is left out and said."""
    layers, paintings = [], []
    pictures: dict[tuple[int, int], dict[tuple[str, bool], Image.Image]] = {}
    photographs: dict[int, dict[str, Image.Image]] = {}
    for trial in trials:
        for name, facts in _done(trial):
            head, tail = _head(trial, facts.asked), trial.own_provenance(facts)
            layers += [
                head | {"depth": depth} | row.model_dump() | tail for depth, row in enumerate(facts.statistics, 1)
            ]
            if facts.losses:
                ends = {"loss_at_content": facts.losses[0], "loss": facts.losses[-1]}
                paintings.append(head | ends | tail)
                own = pictures.setdefault((facts.asked.size, facts.asked.steps), {})
                key = (head["kind"], facts.asked.smooth)
                if key not in own and (picture := _shown(trial, _painting(name))) is not None:
                    own[key] = picture
                if (size := facts.asked.size) not in photographs:
                    photographs[size] = _photographs(trial, size)
    return Styles(pd.DataFrame(layers), pd.DataFrame(paintings), pictures, photographs) if layers else None


def _shown(trial: Kept, name: str) -> Image.Image | None:
    """A picture of the trial's folder; one that is none is said."""
    if (picture := _picture(trial.bytes_of(name))) is None:
        trial.odd.append(f"{trial.path / name} is no picture that can be shown")
    return picture


def _photographs(trial: Kept, size: int) -> dict[str, Image.Image]:
    """Those that the trial's folder holds, by name."""
    files = {name: f"{name}-{size}.png" for name in PHOTOGRAPHS}
    shown = {name: _shown(trial, file) for name, file in files.items() if file in trial.files}
    return {name: picture for name, picture in shown.items() if picture is not None}


def _done(trial: Kept) -> list[tuple[str, Looked]]:
    """What is whole, by name: plain networks first, residual ones before those without additions."""
    found = []
    for name in of_kind("style", trial.files):
        facts = trial.load(name, Looked)
        mine = facts is not None and facts.run == trial.config.id
        if facts and mine and (not facts.asked.steps or _painting(name) in trial.files):
            found.append((name, facts))
    return sorted(found, key=lambda each: _order(each[1].asked))


def _order(asked: _Options) -> tuple[Any, ...]:
    plain_ones = not asked.network.startswith("vgg")
    return (plain_ones, asked.network, not asked.residual, not asked.settled, asked.smooth, asked.size, asked.steps)


def _painting(name: str) -> str:
    return f"{name.removesuffix('.json')}.png"


def _head(trial: Kept, asked: _Options) -> dict[str, Any]:
    kind = asked.network + (", no additions" if not asked.residual else "") + (", settled" if asked.settled else "")
    return {"kind": kind, "seed": trial.config.seed, **fields(asked, _ASKED)}


def _picture(data: bytes) -> Image.Image | None:
    """A PNG's pixels, RGB, and nothing else that its file may hold; None where it is none or of no likely size."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # of a picture that would fill the memory
            with Image.open(io.BytesIO(data), formats=("PNG",)) as opened:
                if max(opened.size) > _LARGEST:
                    return None
                pixels = opened.convert("RGB")
    except (OSError, ValueError, SyntaxError, Warning, Image.DecompressionBombError, struct.error, zlib.error):
        return None
    pixels.thumbnail((_KEPT, _KEPT))
    return Image.frombytes("RGB", pixels.size, pixels.tobytes())


def show(found: Styles) -> Shown:
    from analysis.figures.style import plain
    from analysis.figures.transfer import by_layer, sheet

    layers, others = largest(found.layers, _SETTING)
    size, steps = int(layers["size"].iloc[0]), int(layers["steps"].iloc[0])
    drawn = by_layer(layers)
    parts = [Part("Features of random networks, stage by stage", "statistics", drawn)]
    tables = {"statistics": found.layers}
    paintings = found.paintings
    if len(paintings):
        tables["paintings"] = paintings
        paintings = paintings[(paintings["size"] == size) & (paintings["steps"] == steps)]
    if pictures := found.pictures.get((size, steps)):
        kinds = list(dict.fromkeys(plain(kind) for kind, _ in pictures))
        caption = (
            f"{steps} steps of L-BFGS from the photograph of a temple (the content) towards the style of a flower, "
            f"{size} pixels a side, the first seed; features as they are, or smoothed by a softmax over each layer."
        )
        alt = f"Contact sheet of paintings, a row a network, from above: {'; '.join(kinds)}. {caption}"
        parts.insert(0, Part("Contact sheet", "sheet", Sheet(sheet(pictures, found.photographs[size]), alt, caption)))
    text = [
        "Pictures painted by the Gram matrices of random networks' features (Gatys et al., CVPR 2016), with and "
        "without the softmax of Wang, Li and Vasconcelos (CVPR 2021). Losses of the two are not comparable. Maximum "
        "and entropy are those of the last stage, mean ± one sample standard deviation over seeds.",
        made_on(layers),
        *([others] if others else []),
    ]
    return Shown(parts, tables, text, _kinds(layers, paintings))


def _kinds(layers: pd.DataFrame, paintings: pd.DataFrame) -> pd.DataFrame:
    """A row a network and smoothing."""
    rows = []
    for (kind, smooth), own in layers.groupby(["kind", "smooth"], sort=False):
        last = own[own["depth"] == own["depth"].max()]
        row = {"network": kind, "features": "softmax" if smooth else "as they are", "n": last["seed"].nunique()}
        row |= {"maximum": moments(last["max"], ".3g"), "entropy / log n": moments(last["entropy"], ".2f")}
        if len(paintings):
            done = paintings[(paintings["kind"] == kind) & (paintings["smooth"] == smooth)]
            row |= {"loss at the content": moments(done["loss_at_content"], ".4g")}
            row |= {"loss in the end": moments(done["loss"], ".4g")}
        rows.append(row)
    return pd.DataFrame(rows)


NEIGHBOUR = Neighbour(
    "style",
    "Style transfer",
    ("statistics", "paintings", "sheet"),
    lambda experiment, files: bool(of_kind("style", files)),
    read,
    show,
)
