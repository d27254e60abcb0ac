"""A service of wandb that dies."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from bnonly.training import tracking


def service() -> int:
    """The process of wandb-core that this one started."""
    lists = [task.read_text() for task in Path("/proc/self/task").glob("*/children")]
    children = [int(child) for child in " ".join(lists).split()]
    (pid,) = [child for child in children if b"wandb-core" in Path(f"/proc/{child}/cmdline").read_bytes()]
    return pid


def end(pid: int) -> None:
    """Kill a process that this one started, and let its Popen know, which complains later otherwise."""
    os.kill(pid, signal.SIGKILL)
    for thing in gc.get_objects():
        if type(thing) is subprocess.Popen and thing.pid == pid:
            thing.wait()


@pytest.fixture
def service_dies(monkeypatch):
    """wandb's service is killed once two epochs are logged; with `and_run` the training ends there too."""

    def arrange(and_run: bool) -> None:
        epoch = tracking.Wandb.epoch

        def dying(self, record, net):
            epoch(self, record, net)
            if record["epoch"] == 2:
                end(service())
                monkeypatch.setattr(tracking.Wandb, "epoch", epoch)
                if and_run:
                    raise KeyboardInterrupt

        monkeypatch.setattr(tracking.Wandb, "epoch", dying)

    yield arrange
    with suppress(Exception):  # leave the next test a wandb that can begin
        import wandb

        wandb.teardown()
