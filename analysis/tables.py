"""Run folders as tidy tables. Reads runs that are still going on."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
from safetensors.numpy import load_file

from bnonly.runs import RunFolder


def curves(runs: Iterable[RunFolder]) -> pd.DataFrame:
    """A row an epoch and run: run, network, group, seed, epoch, split, loss, top1, top5."""
    rows = []
    for run in runs:
        if (config := run.config()) is None:
            continue
        who = {"run": config.id, "network": config.network.name, "group": config.group, "seed": config.seed}
        for record in run.metrics():
            for split in ("train", "test"):
                if record[split] is not None:
                    rows.append({**who, "epoch": record["epoch"], "split": split, **record[split]})
    return pd.DataFrame(rows)


def gammas(run: RunFolder, epoch: int) -> pd.DataFrame:
    """A row a channel of a kept epoch: layer, gamma, beta. Empty where that epoch was not kept."""
    path = run.gamma(epoch)
    if not path.exists():
        return pd.DataFrame(columns=["layer", "gamma", "beta"])
    values = load_file(path)
    layers = [name.removesuffix(".weight") for name in values if name.endswith(".weight")]
    parts = []
    for layer in layers:
        gamma = values[f"{layer}.weight"]
        beta = values.get(f"{layer}.bias", np.full_like(gamma, np.nan))
        parts.append(pd.DataFrame({"layer": layer, "gamma": gamma, "beta": beta}))
    return pd.concat(parts, ignore_index=True)
