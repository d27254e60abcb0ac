"""What a run's record and its gammas look like in wandb: names in panels, and histograms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file
from torch import nn

from bnonly.measure.gamma import betas, gammas

BINS = 64

ByLayer = dict[str, NDArray[Any]]


def flat(record: dict[str, Any]) -> dict[str, float]:
    """The numbers of one line of metrics.jsonl: `epoch`, `lr`, `test/top1`, `gamma sparsity 0.01/all` and by layer.

    What was not measured, as a training score before the first step, is left out.
    """
    values = {name: record[name] for name in ("epoch", "lr", "images_per_second") if record[name] is not None}
    for split in ("train", "test"):
        scores = record[split] or {}
        values |= {f"{split}/{name}": value for name, value in scores.items() if value is not None}
    if gamma := record["gamma"]:
        for place, threshold in enumerate(gamma["thresholds"]):
            panel = f"gamma sparsity {threshold:g}"
            values[f"{panel}/all"] = gamma["below"][place]
            values |= {f"{panel}/{name}": fractions[place] for name, fractions in gamma["layers"].items()}
    return values


def of_network(net: nn.Module) -> dict[str, ByLayer]:
    """{"gamma": {layer: [channels]}, "beta": ...} as they are now."""
    both = {"gamma": gammas(net), "beta": betas(net)}
    return {
        name: {layer: values.float().cpu().numpy() for layer, values in layers.items()}
        for name, layers in both.items()
    }


def of_file(path: Path) -> dict[str, ByLayer]:
    """The same, of an epoch kept in the run's folder."""
    stored = load_file(path)
    ends = {"gamma": ".weight", "beta": ".bias"}
    return {
        name: {key.removesuffix(end): values for key, values in stored.items() if key.endswith(end)}
        for name, end in ends.items()
    }


def histograms(values: dict[str, ByLayer]) -> dict[str, Any]:
    """`gamma/all`, `gamma/LAYER` and the same of beta, from the least to the greatest value."""
    import wandb

    made = {}
    for name, layers in values.items():
        if layers:
            layers = {"all": np.concatenate(list(layers.values())), **layers}
        for layer, channels in layers.items():
            counts, edges = np.histogram(channels.astype(np.float64), bins=BINS)
            made[f"{name}/{layer}"] = wandb.Histogram(np_histogram=(counts, edges))
    return made


def again(row: dict[str, Any]) -> dict[str, Any]:
    """A row as wandb's files hold it, as something to log."""
    import wandb

    return {
        name: wandb.Histogram(np_histogram=(value["values"], value["bins"])) if isinstance(value, dict) else value
        for name, value in row.items()
    }
