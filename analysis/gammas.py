"""Gamma by channel, from the files of finished runs, as many of them as figures show."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
from safetensors import SafetensorError
from safetensors.numpy import load_file

from bnonly.runs import RunFolder

MOST_SEEDS = 5
"""Of a network, group and setting, the seeds whose gammas are read."""
MOST_RUNS = 200
"""Files that are opened in all; runs of other groups than bn and all give way."""


def gammas(done: pd.DataFrame) -> pd.DataFrame:
    """A row a channel: run, layer, gamma at the last epoch, and the layer's place from the input on.

    done: finished runs, as `Frames.done`.
    """
    alike = done.groupby(["setting", "network", "group"]).cumcount()
    some = done[(alike < MOST_SEEDS) & done["epoch"].notna()]
    # The figures compare bn with all.
    some = some.assign(rank=~some["group"].isin(("bn", "all"))).sort_values("rank", kind="stable").head(MOST_RUNS)
    parts = []
    for key, path, epoch in zip(some["key"], some["path"], some["epoch"], strict=True):
        for place, (layer, values) in enumerate(_read(RunFolder(Path(path)).gamma(int(epoch))).items()):
            parts.append((key, layer, place, values))
    if not parts:
        return pd.DataFrame({"run": [], "layer": [], "place": [], "gamma": []})
    lengths = [len(values) for *_, values in parts]
    keys, layers, places, values = zip(*parts, strict=True)
    return pd.DataFrame(
        {
            "run": _repeated(keys, lengths),
            "layer": _repeated(layers, lengths),
            "place": np.repeat(np.array(places), lengths),
            "gamma": np.concatenate(values),
        }
    )


def _repeated(texts: tuple[str, ...], lengths: list[int]) -> pd.Categorical:
    codes, known = pd.factorize(np.array(texts, dtype=object))
    return pd.Categorical(pd.Index(known).take(np.repeat(codes, lengths)), categories=known)


def _read(path: Path) -> dict[str, np.ndarray]:
    """gamma by layer, each [channels], in the network's order; none from a file that is torn or not there."""
    try:
        values = load_file(path)
    except (OSError, SafetensorError, ValueError):
        return {}
    layers = {name.removesuffix(".weight"): value for name, value in values.items() if name.endswith(".weight")}
    good = {name: value.astype(np.float32) for name, value in layers.items() if value.ndim == 1}
    return {name: good[name] for name in sorted(good, key=_place) if np.isfinite(good[name]).all()}


def _place(layer: str) -> list[tuple[int, str]]:
    """layer2 before layer10, and a block's shortcut behind its layers: how names stand in a network."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", layer)]
