"""Runs of seconds, and processes that die where they are told to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bnonly.config import RunConfig
from bnonly.runs import RunFolder
from tests.warm import Warm

TIMES = ("seconds", "images_per_second")


def config(out: Path, **changes: Any) -> RunConfig:
    """ResNet-8 on digits, three epochs of six steps."""
    training = {"epochs": 3, "batch_size": 256, "device": "cpu", "threads": 1, **changes.pop("training", {})}
    values = {"out": out, "network": {"name": "cifar_resnet8"}, "tracking": "off", "training": training}
    return RunConfig.model_validate(values | changes)


def metrics(folder: RunFolder) -> list[dict[str, Any]]:
    """What must be equal between two runs: everything but times."""
    return [{key: value for key, value in record.items() if key not in TIMES} for record in folder.metrics()]


def state(folder: RunFolder) -> dict[str, bytes]:
    """Trained values and buffers at the end, and gamma on the way, as bytes."""
    kept = [folder.final, *sorted((folder.path / "gamma").iterdir())]
    return {path.name: path.read_bytes() for path in kept}


def run_process(run: RunConfig, prelude: str = "", env: Mapping[str, str] | None = None) -> Warm:
    """`fit` in a process of its own, after `prelude` has prepared its end."""
    script = f"""
import json, os, signal, sys
def die(): os.kill(os.getpid(), signal.SIGKILL)
from bnonly.config import RunConfig
from bnonly.runs import RunFolder
from tests.warm import Warm
from bnonly.training import checkpoint, fit, module
import torch
torch.set_num_threads(1)
{prelude}
fit.fit(RunConfig.model_validate(json.loads(sys.argv[1])))
"""
    return Warm(script, [json.dumps(run.plain())], env=env)
