"""The real wandb, offline: its files hold the run, after kills too, and its faults stop nothing."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from bnonly.runs import RunFolder
from bnonly.training import tracking
from bnonly.training.fit import fit
from tests.training import small
from tests.training import wandb_reading as reading

linux = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the service's process in /proc")


@pytest.fixture(autouse=True)
def _nobody(tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.delenv("WANDB_SERVICE", raising=False)  # of this process, which others would join


def config(out, **changes):
    training = {"keep_gamma_every": 1, "optimizer_options": {"nesterov": True}, **changes.pop("training", {})}
    return small.config(out, **{"tracking": "auto", **changes}, training=training)


def tracked(run) -> RunFolder:
    with tracking.mirror(run) as listeners:
        return fit(run, listeners)


def test_offline_files_hold_the_run(tmp_path):
    run = config(tmp_path, experiment="width", seed=3)
    folder = tracked(run)
    (path,) = reading.files(folder)
    records = reading.inspected(path)
    reading.assert_mirrors(reading.history(records), folder)

    (said,) = [record["run"] for record in records if record["type"] == "run"]
    assert (said["project"], said["run_group"], said["job_type"]) == ("bnonly", "width", "fit")
    assert (said["run_id"], said["display_name"]) == (run.id, f"cifar_resnet8 bn seed 3 {run.id}")
    assert said["tags"] == ["bn", "cifar_resnet8", "digits"]
    own = {name: value for name, value in said["config"]["update"].items() if name != "_wandb"}
    assert own == run.plain() and own["network"]["name"] == "cifar_resnet8"

    axes = [record["metric"] for record in records if record["type"] == "metric"]
    assert [axis["step_metric"] for axis in axes if axis.get("glob_name") == "*"] == ["epoch"]

    summary, result = reading.summary(records), folder.result()
    assert result is not None
    best = max(folder.metrics(), key=lambda record: record["test"]["top1"])
    assert summary["test/top1"] == result["test"]["top1"] and summary["epoch"] == 3
    assert summary["test/best_top1"] == best["test"]["top1"] and summary["test/best_epoch"] == best["epoch"]
    assert (summary["trained_parameters"], summary["parameters"]) == (672, result["parameters"])
    facts = {name: value for name, value in result["environment"].items() if name != "began"}
    assert summary["environment"] == facts and facts["device"] == "cpu"
    assert records[-1]["type"] == "exit" and records[-1]["exit"].get("exit_code", 0) == 0


def assert_whole_over_two_sessions(folder: RunFolder) -> None:
    sessions = [reading.inspected(path) for path in reading.files(folder)]
    assert len(sessions) == 2
    reading.assert_mirrors([row for records in sessions for row in reading.history(records)], folder)
    ids = {record["run"]["run_id"] for records in sessions for record in records if record["type"] == "run"}
    assert ids == {folder.path.name}
    assert reading.summary(sessions[1])["test/top1"] == folder.metrics()[3]["test"]["top1"]


@linux
def test_cut_off_and_gone_on_no_epoch_is_missing_or_said_twice(tmp_path, service_dies):
    run = config(tmp_path)
    service_dies(and_run=True)
    with pytest.raises(KeyboardInterrupt):
        tracked(run)
    assert RunFolder.of(run).result() is None
    assert_whole_over_two_sessions(tracked(run))


# As when a node goes down: wandb's service and the process, which small.die kills.
KILLED = """
import tests.training.conftest as test
from bnonly.training import tracking
plain = fit.fit
def mirrored(run):
    with tracking.mirror(run) as listeners: return plain(run, listeners)
fit.fit = mirrored
epoch = tracking.Wandb.epoch
def dying(self, record, net):
    epoch(self, record, net)
    if record["epoch"] == 2:
        os.kill(test.service(), signal.SIGKILL)
        die()
tracking.Wandb.epoch = dying
"""


@linux
@pytest.mark.slow
def test_killed_and_gone_on_no_epoch_is_missing_or_said_twice(tmp_path):
    run = config(tmp_path)
    process = small.run_process(run, KILLED)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL, errors
    assert_whole_over_two_sessions(tracked(run))


@linux
@pytest.mark.slow
def test_a_process_whose_wandb_died_ends_quietly(tmp_path):
    process = small.run_process(config(tmp_path), KILLED.replace("die()", "pass"))
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0 and "Traceback" not in errors, errors


@linux
def test_wandbs_service_killed_in_the_middle_changes_nothing(tmp_path, service_dies, capsys):
    service_dies(and_run=False)
    folder = tracked(config(tmp_path / "killed"))
    assert capsys.readouterr().err.count("wandb is left out of this run") == 1
    other = fit(config(tmp_path / "whole", tracking="off"))
    assert small.state(folder) == small.state(other) and small.metrics(folder) == small.metrics(other)
    after = tracked(config(tmp_path / "after", training={"epochs": 1}))  # another run in this process has a new one
    reading.assert_mirrors(reading.history(reading.inspected(reading.files(after)[0])), after)


def test_a_wandb_folder_that_cannot_be_written_changes_nothing(tmp_path, capsys):
    run = config(tmp_path / "blocked", training={"epochs": 1})
    folder = RunFolder.of(run)
    folder.path.mkdir(parents=True)
    (folder.path / "wandb").write_text("in the way")
    tracked(run)
    assert capsys.readouterr().err.count("wandb is left out of this run") == 1
    other = fit(config(tmp_path / "whole", tracking="off", training={"epochs": 1}))
    assert small.state(folder) == small.state(other) and small.metrics(folder) == small.metrics(other)


def test_a_server_out_of_reach_means_offline(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.delenv("WANDB_MODE")
    folder = tracked(config(tmp_path, training={"epochs": 1}))
    assert capsys.readouterr().err.count("http://127.0.0.1:9 cannot be reached") == 1
    assert len(reading.files(folder)) == 1
