"""A task that does what a test wants of it, an engine without processes, and an experiment made of both."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from bnonly.config import RunConfig
from bnonly.errors import BadInput, Interrupted
from bnonly.files import write_atomically
from bnonly.runs import RunFolder
from experiments import grid
from experiments.engines import Ended, Job
from experiments.grid import By, Experiment, Stage, Trial
from experiments.work import attempt

NAME = "stub"
TASK = "tests.experiments.stub_grid:work"


def work(config: RunConfig, folder: RunFolder, does: Mapping[str, str] | None = None) -> None:
    """does: by seed, what happens instead of an answer; with " once", at the first attempt only."""
    folder.path.mkdir(parents=True, exist_ok=True)
    with (folder.path / "calls").open("a") as file:
        file.write(f"{os.getpid()}\n")
    what, _, once = (does or {}).get(str(config.seed), "").partition(" once")
    if not once and (does or {}).get(str(config.seed), "").endswith(" once") and calls(folder) > 1:
        what = ""
    match what:
        case "kill":
            print("the last words", file=sys.stderr, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        case "exit":
            os._exit(3)
        case "bad":
            raise BadInput("the milk is sour: buy another")
        case "raise":
            raise RuntimeError("sour\nmilk")
        case "memory":
            raise MemoryError("17 TiB")
        case "full":
            with (config.out / "filler").open("wb") as file:
                while True:
                    file.write(bytes(4096))
                    file.flush()
        case "nothing":
            return
        case "wait":
            _wait(folder)
        case "deaf":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            (folder.path / "deaf").touch()
            time.sleep(600)
        case "stop":
            raise Interrupted("stopped by SIGTERM, and saved: give the same command again to go on")
        case "advance" if (epoch := calls(folder)) < 6:
            with (folder.path / "metrics.jsonl").open("a") as file:
                file.write(json.dumps({"epoch": epoch, "seconds": 1.0}) + "\n")
            raise Interrupted("out of time")
        case "slow":
            time.sleep(0.2)
    facts = {"pid": os.getpid(), "gpus": os.environ.get("CUDA_VISIBLE_DEVICES"), "torch": "torch" in sys.modules}
    write_atomically(folder.path / "mark.json", json.dumps(facts).encode())


def _wait(folder: RunFolder) -> None:
    """Until SIGTERM, upon which something is saved."""
    told: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: told.append(number))
    while not told:
        time.sleep(0.02)
    (folder.path / "saved").touch()
    raise Interrupted("stopped and saved")


def answered(config: RunConfig, folder: RunFolder, options: Mapping[str, Any]) -> bool:
    return (folder.path / "mark.json").exists()


def calls(folder: RunFolder) -> int:
    path = folder.path / "calls"
    return len(path.read_text().splitlines()) if path.exists() else 0


class Here:
    """An engine that performs in this process, when it is asked what ended."""

    def __init__(self, *, slots: int | None = None, **needs: Any):
        self.slots, self._queue, self.needs = slots or 2, deque[Job](), needs

    def __enter__(self) -> Here:
        return self

    def __exit__(self, *exception: Any) -> None:
        self._queue.clear()

    def has(self, job: Job) -> bool:
        return False

    def submit(self, job: Job) -> None:
        self._queue.append(job)

    def ended(self, timeout: float) -> list[Ended]:
        return [attempt(self._queue.popleft())]


def install(seeds: int = 3, does: Mapping[str, str] | None = None, **changes: Any) -> Experiment:
    """Make the experiment `stub` one that there is: a run a seed, whose one stage is `work`."""
    made = Experiment(
        **{
            "question": "Does it run?",
            "expect": "That it does.",
            "axes": {"seed": By(smoke=range(seeds), cpu=range(seeds + 1), paper=range(100))},
            "figures": ("no_such_figure",),
            "fields": {"network.name": "cifar_resnet8"},
            "stages": (Stage(TASK, {"does": dict(does or {})}),),
            **changes,
        }
    )
    module = ModuleType(f"experiments.{NAME}")
    module.EXPERIMENT = made  # type: ignore[attr-defined]
    sys.modules[module.__name__] = module
    grid.EXPERIMENTS = ("depth", NAME)
    return made


def folders(out: Path, preset: str = "smoke") -> list[RunFolder]:
    """Of the stub's runs, in the grid's order."""
    return [trial.folder for trial in grid.trials(NAME, preset, out)]


def drawing(trials: Sequence[Trial], command: str) -> dict[str, bytes]:
    return {"own.txt": f"{len(trials)} by {command}".encode()}
