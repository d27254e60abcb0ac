"""The task of `peak_memory`, and its table. Without torch until it is performed.

peak.json in the trial's folder; peak_memory.csv: a row a network and side. bytes of the process: resident on a CPU,
allocated on a GPU. peak_bytes: at most; before_bytes: with network and images in place, before the first step;
saved_bytes: kept by autograd for backward, parameters and buffers not counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from bnonly.config import RunConfig
from bnonly.files import read_object, write_object
from bnonly.progress import track
from bnonly.runs import RunFolder
from experiments.grid import Trial
from experiments.stagefile import kept
from experiments.yardstick.answers import on
from experiments.yardstick.blocks import Side
from experiments.yardstick.images import title
from experiments.yardstick.sides import config_of
from experiments.yardstick.task import alone

NAME, VERSION = "peak.json", 1
_MADE = ("device", "device_name", "cpu_capability", "threads", "torch", "lightning", "numpy", "git")


def answered(config: RunConfig, folder: RunFolder, options: Mapping[str, Any]) -> bool:
    return kept(folder.path / NAME, config, VERSION, on=on(config), asked=list(options["sides"])) is not None


def measure(config: RunConfig, folder: RunFolder, *, sides: Sequence[str]) -> None:
    """Start each side, have it do two steps, and ask what it held. Raises SideDied."""
    from bnonly.training.environment import environment, pick_device

    found = {}
    with alone(folder):
        for name in track(sides, len(sides), f"{config.network.name}: steps of {len(sides)} sides"):
            own = config_of(name, config)
            order = {"side": name, "config": own.plain(), "precisions": [own.training.precision]}
            with Side(name, order, config.training.threads) as side:
                facts = side.start()
                side.ask("block", seconds=0)
                # Memory before the hooks: what they hold is theirs.
                found[name] = facts | side.ask("memory") | {"saved": side.ask("saved")["bytes"]}
                found[name]["precision"] = own.training.precision
    made = environment(pick_device(config.training.device))
    made["threads"] = config.training.threads or made["threads"]
    facts = {"version": VERSION, "run": config.id, "on": on(config), "asked": list(sides)}
    facts |= {"images": title(config), "sides": found, "made": made}
    write_object(folder.path / NAME, facts)


def files(trials: Sequence[Trial], command: str) -> dict[str, bytes]:
    """The experiment's files by name; none where nothing was measured."""
    from analysis.figures import csv

    rows = [row for trial in trials for row in _rows(trial, command)]
    return {"peak_memory.csv": csv(pd.DataFrame(rows))} if rows else {}


def _rows(trial: Trial, command: str) -> list[dict[str, Any]]:
    config, facts = trial.config, read_object(trial.folder.path / NAME) or {}
    return [
        {
            "network": config.network.name,
            "group": config.group,
            "batch": config.training.batch_size,
            "images": facts["images"],
            "side": name,
            "precision": own["precision"],
            "peak_bytes": own["peak"],
            "peak_gib": round(own["peak"] / 2**30, 2) if own["peak"] else None,
            "before_bytes": own["before"],
            "saved_bytes": own["saved"],
            "of": own["of"],
            **{key: facts["made"][key] for key in _MADE},
            "command": command,
        }
        for name, own in facts.get("sides", {}).items()
    ]
