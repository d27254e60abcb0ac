"""Tasks that fail in the ways that trials fail, by name: "tests.experiments.stubs:raises"."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
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


def ignores_signals(config: RunConfig, folder: RunFolder, until: str) -> None:
    """`waits`, and nothing short of SIGKILL ends it before."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    waits(config, folder, until)


def says(config: RunConfig, folder: RunFolder, variable: str) -> None:
    folder.path.mkdir(parents=True, exist_ok=True)
    (folder.path / "said").write_text(os.environ[variable])


def tells(config: RunConfig, folder: RunFolder) -> None:
    """What it finds of its process."""
    import torch

    facts = {
        "pid": os.getpid(),
        "gpus": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "left": os.environ.get("LEFT_BEHIND"),
        "folder": str(Path.cwd()),
        "threads": torch.get_num_threads(),
        "drawn": torch.rand(1).item(),
        "signals": [str(signal.getsignal(kind)) for kind in (signal.SIGINT, signal.SIGTERM)],
    }
    folder.path.mkdir(parents=True, exist_ok=True)
    (folder.path / "told.json").write_text(json.dumps(facts))


def litters(config: RunConfig, folder: RunFolder) -> None:
    """`tells`, and then changes everything that it told of."""
    import torch

    tells(config, folder)
    os.environ["LEFT_BEHIND"] = os.environ["CUDA_VISIBLE_DEVICES"] = "a trial's"
    os.chdir("/")
    torch.set_num_threads(3)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("said by the one that litters")


def leaves_a_process(config: RunConfig, folder: RunFolder) -> None:
    tells(config, folder)
    subprocess.Popen(["sleep", "3"])


def leaves_a_thread(config: RunConfig, folder: RunFolder) -> None:
    tells(config, folder)
    threading.Thread(target=time.sleep, args=[1]).start()
