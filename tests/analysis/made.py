"""Run folders as training leaves them, with made-up numbers: no network is built, no torch imported."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from bnonly.config import RunConfig
from bnonly.networks.registry import parse

ENVIRONMENT = {
    "bnonly": "0.1.0",
    "python": "3.11.7",
    "torch": "2.15.0",
    "lightning": "2.6.6",
    "numpy": "2.4.6",
    "device": "cpu",
    "device_name": "A Processor",
    "cpu_capability": "AVX2",
    "threads": 2,
    "git": "0123456789ab",
}
TOP1 = (0.40, 0.43, 0.50)
"""Of bn in ResNet-14, by seed, in the small laboratory of conftest."""
THRESHOLDS = [0.001, 0.01, 0.05, 0.1]
LEVELS = {"all": 0.92, "bn": 0.5, "bn+output": 0.55, "output": 0.3, "random:2": 0.27, "none": 0.1}


def config(
    out: Path, network: str, group: str, seed: int = 0, *, epochs: int = 3, experiment: str = "made", **more: Any
) -> RunConfig:
    """A run's configuration; more: sections to merge, as training={"weight_decay": 0}, start={"gamma": "ones"}."""
    data = {"source": "cifar10"} | more.pop("data", {})
    training = {"epochs": epochs} | more.pop("training", {})
    plain = {"out": out, "experiment": experiment, "group": group, "seed": seed, "data": data, "training": training}
    return RunConfig.model_validate(plain | {"network": {"name": network} | more.pop("start", {})} | more)


def write_run(
    run: RunConfig,
    *,
    top1: float | None = None,
    below: float = 0.25,
    ended: int | None = None,
    gammas: bool = True,
    extras: bool = False,
) -> Path:
    """A run's folder. top1: the last epoch's; ended: epochs that have, all unless given, and then no result.

    extras: ablation.json and measures.json too.
    """
    path, epochs = run.out / run.experiment / run.id, run.training.epochs
    path.mkdir(parents=True)
    chance = np.random.default_rng([zlib.crc32(f"{run.network.name} {run.group}".encode()), run.seed])
    entries = [entry for entry in parse(run.network.name).entries() if entry.role == "gamma"]
    layers = {entry.name.removesuffix(".weight"): entry.size for entry in entries}
    depth = parse(run.network.name).arguments["depth"]
    if top1 is None:
        level = LEVELS.get(run.group, 0.4)
        top1 = float(level + (0.9 - level) * np.log(depth / 8) / 6 + chance.normal(0, 0.01))
    (path / "config.yaml").write_text(run.to_yaml())
    of_layers = json.dumps({name: [0.0, 0.25, 0.3125, 0.375] for name in layers}, separators=(",", ":"))
    lines = []
    for epoch in range((epochs if ended is None else ended) + 1):
        here = 0.1 + (top1 - 0.1) * (1 - np.exp(-3 * epoch / epochs)) / (1 - np.exp(-3))
        score = {"loss": 2.3 - 2 * here, "top1": here, "top5": min(1.0, here + 0.3)}
        gamma = {"thresholds": THRESHOLDS, "below": [below / 2, below * epoch / epochs, 0.3, 0.4]}
        record = {"epoch": epoch, "step": 391 * epoch, "lr": 0.1, "train": score if epoch else None, "test": score}
        record |= {"gamma": gamma | {"quantiles": {"0.5": 0.3}, "layers": "@"}, "seconds": 30.0}
        lines.append(json.dumps(record | {"images_per_second": 1600.0 if epoch else None}, separators=(",", ":")))
    text = "\n".join(lines).replace('"@"', of_layers)
    (path / "metrics.jsonl").write_text(text + "\n")
    if ended is not None:
        return path
    last = json.loads(lines[-1])
    trained = _trained(run, entries)
    result = {"id": run.id, "experiment": run.experiment, "config": run.plain(), "evaluated": "test"}
    result |= {"train": last["train"], "test": last["test"], "gamma": gamma}
    result |= {"trained_parameters": trained, "parameters": sum(e.size for e in parse(run.network.name).entries())}
    result |= {"train_seconds": 30.0 * epochs, "finished": "2026-11-01T10:00:00Z", "environment": ENVIRONMENT}
    if gammas:
        (path / "gamma").mkdir()
        spread = 1.0 if run.group == "bn" else 0.3
        values = {}
        for name, size in layers.items():
            gamma_values = chance.normal(0.3, spread, size).astype(np.float32)
            gamma_values[: round(below * size)] = 0.001
            values |= {f"{name}.weight": gamma_values, f"{name}.bias": np.zeros(size, np.float32)}
        save_file(values, path / "gamma" / f"epoch-{epochs:03d}.safetensors")
    if extras:
        (path / "ablation.json").write_text(json.dumps(_ablation(run, top1, below)))
        (path / "measures.json").write_text(json.dumps(_measures(run, layers, below)))
    (path / "result.json").write_text(json.dumps(result, indent=2) + "\n")
    return path


def write_grid(
    out: Path, runs: list[RunConfig], *, experiment: str = "made", stages: tuple[str, ...] = ("fit",)
) -> Path:
    """The file in which a grid's driver says what it is about."""
    trials = [
        {"id": run.id, "network": run.network.name, "group": run.group, "seed": run.seed, "stages": list(stages)}
        | {"config": run.plain()}
        for run in runs
    ]
    grid = {"version": 1, "experiment": experiment, "preset": "cpu", "question": "What is asked?", "expect": "This."}
    path = out / experiment / "grid.cpu.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(grid | {"figures": ["accuracy_by_depth"], "set": [], "trials": trials}))
    return path


def _trained(run: RunConfig, entries: list[Any]) -> int:
    """Right for bn and all, and something for the others."""
    channels = sum(entry.size for entry in entries)
    whole = sum(entry.size for entry in parse(run.network.name).entries())
    return {"all": whole, "output": 650, "none": 0}.get(run.group, 2 * channels)


def _ablation(run: RunConfig, top1: float, below: float) -> dict[str, Any]:
    points = []

    def add(way: str, amount: float, share: float, accuracy: float, seed: int | None = None) -> None:
        row = {"way": way, "scope": "network", "amount": amount, "seed": seed, "clamped": round(1000 * share)}
        points.append(row | {"share": share, "top1": accuracy, "top5": 1.0, "loss": 1.0})

    for threshold, share in zip((0.0, *THRESHOLDS), (0, below / 2, below, below + 0.1, below + 0.2), strict=True):
        add("below", threshold, share, top1 * (1 if share <= below else 0.9))
    for share in np.linspace(0, 1, 11).tolist():
        add("smallest", share, share, max(0.1, top1 * (1 - max(0, share - below) ** 2)))
        add("largest", share, share, max(0.1, top1 * np.exp(-8 * share)))
        for seed in (0, 1):
            add("random", share, share, max(0.1, top1 * np.exp(-4 * share) + 0.01 * seed), seed)
    return {"version": 1, "run": run.id, "images": 10000, "precision": "fp32", "environment": ENVIRONMENT} | {
        "made": "2026-11-01T11:00:00Z", "seconds": 9.0, "channels": 1000, "points": points,
        "intact": {"top1": top1, "top5": 1.0, "loss": 1.0},
    }  # fmt: skip


def _measures(run: RunConfig, layers: dict[str, int], below: float) -> dict[str, Any]:
    off = below if run.group == "bn" else below / 4
    part = {
        "zero": 0.5 + off / 2,
        "zero_outputs": 0.4 + off / 2,
        "off": off,
        "mostly_off": {"0.9": off + 0.05, "0.99": off + 0.02},
    }
    relu = {"all": {"channels": sum(layers.values())} | part}
    relu["layers"] = {name: {"channels": size} | part for name, size in layers.items()}
    dead = {"all": {"channels": sum(layers.values()), "dead": 3}, "layers": {}}
    return {"version": 1, "run": run.id, "images": 10000, "precision": "fp32", "environment": ENVIRONMENT} | {
        "made": "2026-11-01T11:00:00Z", "seconds": 9.0, "relu": relu, "dead": dead, "effective": {"layers": {}},
    }  # fmt: skip
