"""What random networks' features look like and what they paint. Without torch.

statistics.csv: a row a network, seed, smoothing and layer. paintings.csv: a row a painting, with its losses.
sheet.png: the first seed's paintings, a row a network: features as they are, and smoothed.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import pandas as pd
from PIL import Image

from experiments.grid import Trial
from experiments.style_runs import found, place
from experiments.tables import own_provenance


def files(trials: Sequence[Trial], command: str) -> dict[str, bytes]:
    """The experiment's files by name; none where nothing is done."""
    from analysis.figures import csv, png, svg
    from analysis.figures.transfer import by_layer, sheet

    layers, paintings = [], []
    pictures: dict[tuple[str, bool], bytes] = {}
    for trial in trials:
        for stage in trial.stages:
            facts = found(trial.config, trial.folder, stage.options)
            if facts is None:
                continue
            head = _head(trial, facts["asked"])
            tail = own_provenance(trial.config, facts, command)
            layers += [head | {"depth": depth} | row | tail for depth, row in enumerate(facts["statistics"], 1)]
            if facts["losses"] is not None:
                ends = {"loss_at_content": facts["losses"][0], "loss": facts["losses"][-1]}
                paintings.append(head | ends | tail)
                file = place(trial.folder, stage.options).with_suffix(".png")
                pictures.setdefault((head["kind"], head["smooth"]), file.read_bytes())
    if not layers:
        return {}
    table = pd.DataFrame(layers)
    drawing = by_layer(table)
    made = {"statistics.csv": csv(table), "statistics.png": png(drawing.figure)}
    made["statistics.svg"] = svg(drawing.figure, drawing.caption).encode()
    if paintings:
        opened = {key: Image.open(io.BytesIO(data)).convert("RGB") for key, data in pictures.items()}
        made |= {"paintings.csv": csv(pd.DataFrame(paintings)), "sheet.png": png(sheet(opened))}
    return made


def _head(trial: Trial, asked: dict[str, Any]) -> dict[str, Any]:
    kind = asked["network"] + (", no additions" if not asked["residual"] else "")
    kind += ", settled" if asked["settled"] else ""
    names = ("network", "residual", "settled", "smooth", "size", "steps")
    return {"kind": kind, "seed": trial.config.seed, **{name: asked[name] for name in names}}
