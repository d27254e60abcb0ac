"""Tasks that fail in the ways that trials fail, by name: "tests.experiments.stubs:raises"."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from bnonly.config import RunConfig
from bnonly.errors import TrainingFailed
from bnonly.runs import RunFolder


def writes(config: RunConfig, folder: RunFolder, name: str) -> None:
    """Also says how many threads it was given, which process it is in, and prints where an answer might be read."""
    print("printed by a task")
    folder.path.mkdir(parents=True, exist_ok=True)
    (folder.path / name).write_text(f"{os.environ['OMP_NUM_THREADS']} {os.getpid()}")


def raises(config: RunConfig, folder: RunFolder) -> None:
    raise TrainingFailed("the loss is no number at step 7")


def breaks(config: RunConfig, folder: RunFolder) -> None:
    {}["missing"]


def dies(config: RunConfig, folder: RunFolder) -> None:
    print("about to die", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


def waits(config: RunConfig, folder: RunFolder, until: str) -> None:
    """Begins by writing `began`; ends when there is a file of that name."""
    folder.path.mkdir(parents=True, exist_ok=True)
    with (folder.path / "began").open("a") as file:
        file.write(f"{os.getpid()}\n")
    while not Path(until).exists():
        time.sleep(0.1)


def says(config: RunConfig, folder: RunFolder, variable: str) -> None:
    folder.path.mkdir(parents=True, exist_ok=True)
    (folder.path / "said").write_text(os.environ[variable])
