"""One torch thread a worker, and no file outside the test's own folder."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

# Scripts that run tests in the background have it ignored, and so would every process that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ["OMP_NUM_THREADS"] = "1"  # of the processes that tests start, too
os.environ["WANDB_MODE"] = "offline"


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _no_authors_server(monkeypatch):
    """Whoever asks for the authors' address gets one of this machine that nothing listens at."""
    monkeypatch.setattr("bnonly.data.cifar.published", lambda name: ("http://127.0.0.1:9/" + name, "0" * 32))


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("BNONLY_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(autouse=True)
def _patience(monkeypatch):
    """A busy machine's slow stop after SIGTERM would otherwise end pytest itself, as it ends a run."""
    monkeypatch.setattr("bnonly.training.rescue.PATIENCE", 600.0)


@pytest.fixture
def disk(tmp_path):
    """A disk of its own, of four megabytes."""
    place = tmp_path / "disk"
    place.mkdir()
    try:
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)], capture_output=True)
    except FileNotFoundError:
        pytest.skip("there is no mount here")
    if mounted.returncode:
        pytest.skip("this user cannot mount a disk")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)
