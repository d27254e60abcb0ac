"""Jobs for engines, and waiting for what they do."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bnonly.config import RunConfig
from experiments.engines import Ended, Engine, Job
from tests.training import small

PATIENCE = 400.0


def stage(task: str, **options: Any) -> dict[str, Any]:
    name = task if task == "fit" else f"tests.experiments.stubs:{task}"
    return {"task": name, "options": options}


def job(out: Path | str, task: str = "fit", seed: int = 0, epochs: int = 1, **options: Any) -> Job:
    config = small.config(Path(out), seed=seed, training={"epochs": epochs})
    return Job(config.id, config.plain(), [stage(task, **options)])


def config(job: Job) -> RunConfig:
    return RunConfig.model_validate(dict(job.config))


def until(condition: Callable[[], Any], patience: float = PATIENCE) -> None:
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, "waited for in vain"
        time.sleep(0.05)


def all_ended(engine: Engine, count: int) -> dict[str, Ended]:
    """The next `count` ends, by id."""
    found: list[Ended] = []
    end = time.monotonic() + PATIENCE
    while len(found) < count and time.monotonic() < end:
        found += engine.ended(1.0)
    assert len(found) == count, f"{len(found)} of {count} ended: {found}"
    return {ended.id: ended for ended in found}
