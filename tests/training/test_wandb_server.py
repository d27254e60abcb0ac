"""What arrives at a server: of an offline run that `wandb sync` sends, and of runs that are online."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from bnonly.runs import RunFolder
from bnonly.training import tracking
from bnonly.training.fit import fit
from tests.training import small, wandb_server
from tests.training import wandb_reading as reading
from tests.training.test_wandb import KILLED, config, linux, tracked


class Stops:
    """A listener that ends the run after its second epoch."""

    def begin(self, images, record, sums, net):
        pass

    def step(self, epoch, step, sums):
        pass

    def epoch(self, record, net):
        if record["epoch"] == 2:
            raise RuntimeError("that is enough")


@pytest.fixture
def server(tmp_path, monkeypatch):
    import wandb

    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "settings"))
    with wandb_server.running() as server:
        monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.delenv("WANDB_MODE")
        wandb.teardown()  # wandb reads its environment once
        yield server
        wandb.teardown()


def synced(folder: RunFolder) -> None:
    """`wandb sync RUN/wandb/offline-run-*`, as docs/tracking.md has it."""
    environment = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
    runs = sorted(map(str, (folder.path / "wandb").glob("offline-run-*")))
    command = [sys.executable, "-m", "wandb", "sync", *runs]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "ERROR" not in done.stderr and "Traceback" not in done.stderr, done.stderr


def assert_arrived(server: wandb_server.Server, folder: RunFolder, run) -> None:
    reading.assert_mirrors(server.history(run.id), folder)
    said = server.runs[run.id]
    assert (said["project"], said["groupName"], said["jobType"]) == ("bnonly", run.experiment, "fit")
    assert said["tags"] == ["bn", "cifar_resnet8", "digits"]
    settings = {name: entry["value"] for name, entry in json.loads(said["config"]).items() if name != "_wandb"}
    assert settings == run.plain()
    assert server.summary[run.id]["test/top1"] == folder.metrics()[-1]["test"]["top1"]
    assert server.summary[run.id]["trained_parameters"] == 672


@linux
def test_offline_sessions_are_synced_to_one_whole_run(tmp_path, server, service_dies):
    run = config(tmp_path, tracking="offline", experiment="depth")
    service_dies(and_run=True)
    with pytest.raises(KeyboardInterrupt):
        tracked(run)
    folder = tracked(run)
    assert len(reading.files(folder)) == 2 and not server.said
    synced(folder)
    assert_arrived(server, folder, run)


@linux
def test_online_sessions_make_one_whole_run(tmp_path, server, service_dies):
    run = config(tmp_path, tracking="auto")
    service_dies(and_run=True)
    with pytest.raises(KeyboardInterrupt):
        tracked(run)
    assert_arrived(server, tracked(run), run)


def test_a_run_goes_online_when_somebody_logs_in_between(tmp_path, server, monkeypatch):
    run = config(tmp_path, tracking="auto")
    with monkeypatch.context() as context:
        context.delenv("WANDB_API_KEY")
        with pytest.raises(RuntimeError), tracking.mirror(run) as (listener,):
            fit(run, (listener, Stops()))
    assert not server.said
    assert_arrived(server, tracked(run), run)


@linux
@pytest.mark.slow
def test_killed_online_and_gone_on(tmp_path, server, monkeypatch):
    monkeypatch.delenv("WANDB_SERVICE", raising=False)
    run = config(tmp_path, tracking="online")
    process = small.run_process(run, KILLED)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL, errors
    assert_arrived(server, tracked(run), run)
