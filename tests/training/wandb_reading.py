"""What a mirrored run must hold, read from wandb's files and checked against the run's folder."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from bnonly.runs import RunFolder

Row = dict[str, Any]


def inspected(path: Path) -> list[Row]:
    """The records of a .wandb file, as wandb's own command tells them. Raises where wandb finds a fault in it."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert "incomplete" not in done.stderr, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def files(folder: RunFolder) -> list[Path]:
    """One a session, in order."""
    return sorted((folder.path / "wandb").glob("offline-run-*/*.wandb"))


def history(records: list[Row]) -> list[Row]:
    """The rows, histograms put together again: the command writes `NAME.values` and `NAME.bins`."""
    rows = []
    for record in records:
        if record["type"] == "history":
            row: Row = {}
            for name, value in record["history"]["item"].items():
                parent, dot, part = name.rpartition(".")
                if dot and part in ("_type", "values", "bins"):
                    row.setdefault(parent, {})[part] = value
                else:
                    row[name] = value
            rows.append(row)
    return rows


def summary(records: list[Row]) -> Row:
    """What the updates amount to."""
    updates = [record["summary"]["update"] for record in records if record["type"] == "summary"]
    return {name: value for update in updates for name, value in update.items()}


def assert_mirrors(rows: list[Row], folder: RunFolder) -> None:
    """Every epoch of metrics.jsonl once and in order; sparsity and histograms as gamma's files give them by numpy."""
    records = folder.metrics()
    epochs = [record["epoch"] for record in records]
    assert [row["epoch"] for row in rows] == epochs and [row["_step"] for row in rows] == epochs
    for row, record in zip(rows, records, strict=True):
        for split in ("train", "test"):
            for name, value in (record[split] or {}).items():
                assert row[f"{split}/{name}"] == value
        assert ("train/loss" in row) == (record["epoch"] > 0)
        assert row["lr"] == record["lr"] and row.get("images_per_second") == record["images_per_second"]
        stored = load_file(folder.gamma(record["epoch"]))
        for part, end in (("gamma", ".weight"), ("beta", ".bias")):
            layers = {name.removesuffix(end): value for name, value in stored.items() if name.endswith(end)}
            layers["all"] = np.concatenate(list(layers.values()))
            assert {name for name in row if name.startswith(f"{part}/")} == {f"{part}/{layer}" for layer in layers}
            for layer, values in layers.items():
                _assert_histogram(row[f"{part}/{layer}"], values)
                for threshold in (0.001, 0.01, 0.05, 0.1) if part == "gamma" else ():
                    below = (np.abs(values) < np.float32(threshold)).mean()
                    assert row[f"gamma sparsity {threshold}/{layer}"] == pytest.approx(below, abs=1e-12)


def _assert_histogram(histogram: Row, values: np.ndarray) -> None:
    counts, edges = np.histogram(values.astype(np.float64), 64)
    assert histogram["_type"] == "histogram" and sum(histogram["values"]) == values.size
    assert histogram["values"] == counts.tolist() and histogram["bins"] == pytest.approx(edges.tolist())
