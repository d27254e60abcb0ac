"""Trials as processes of this machine: crashes, kills, GPUs, drivers that die; and real runs."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from bnonly.config import RunConfig
from bnonly.errors import BadInput
from bnonly.runs import RunFolder
from bnonly.training.fit import fit
from experiments import grid
from experiments.engines import Job, local
from experiments.engines.gpus import visible_gpus
from experiments.engines.local import Local
from experiments.grid import Stage
from tests.experiments import stub_grid
from tests.training import small
from tests.warm import Warm

# A driver as a process of its own, with its engine; its trials train nothing.
DRIVER = """
import json, sys
from tests.experiments import stub_grid
from experiments import driver
from experiments.engines import local
driver._TURN = 0.1
local.PRELOAD = ("experiments.work", "tests.experiments.stub_grid")
stub_grid.install(*json.loads(sys.argv[1]))
from bnonly.cli import main
sys.exit(main(["experiment", "run", "stub", *sys.argv[2:]]))
"""


@pytest.fixture(autouse=True)
def _stub(monkeypatch):
    monkeypatch.setattr(grid, "EXPERIMENTS", grid.EXPERIMENTS)
    monkeypatch.setitem(sys.modules, "experiments.stub", None)


def driver(out, seeds=3, does=None, *flags):
    return Warm(DRIVER, [json.dumps([seeds, does or {}]), "--out", str(out), *flags])


def job(out: Path, seed: int, does: str = "", stage: str = stub_grid.TASK) -> Job:
    config = RunConfig.model_validate({"out": out, "seed": seed, "network": {"name": "cifar_resnet8"}})
    options = {"does": {str(seed): does}} if stage == stub_grid.TASK else {}
    return Job(config.id, config.plain(), [{"task": stage, "options": options}])


def folder_of(job: Job) -> RunFolder:
    return RunFolder.of(RunConfig.model_validate(dict(job.config)))


def mark(job: Job) -> dict:
    return json.loads((folder_of(job).path / "mark.json").read_text())


def until(condition, seconds=100.0):
    """Wait for it; what it gave."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.05)
    return found


def alive(pid: int) -> bool:
    with suppress(OSError):
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0]
    return False


def ends(engine, count):
    found = {}
    while len(found) < count:
        found |= {ended.id: ended for ended in engine.ended(60.0)}
    return found


def test_a_crash_hurts_no_other(tmp_path):
    does = ["", "kill", "exit", "raise", "bad", ""]
    jobs = [job(tmp_path, seed, what) for seed, what in enumerate(does)]
    with Local(slots=3, gpus=()) as engine:
        for each in jobs:
            engine.submit(each)
        found = ends(engine, len(jobs))
    said = [(found[each.id].kind, found[each.id].reason) for each in jobs]
    assert said == [
        ("", None),
        ("killed", "its process was killed by SIGKILL (by hand, or by the system for want of memory)"),
        ("lost", "its process ended with status 3 and without a word"),
        ("RuntimeError", "RuntimeError: sour"),
        ("BadInput", "the milk is sour: buy another"),
        ("", None),
    ]
    assert found[jobs[1].id].log.endswith("the last words")
    assert "Traceback" in found[jobs[3].id].log and "Traceback" not in found[jobs[4].id].log
    assert os.getpid() not in {mark(jobs[place])["pid"] for place in (0, 5)}


def test_leaving_stops_what_runs(tmp_path):
    jobs = [job(tmp_path, seed, "wait") for seed in range(2)]
    with Local(slots=2, gpus=()) as engine:
        for each in jobs:
            engine.submit(each)
        until(lambda: all(stub_grid.calls(folder_of(each)) for each in jobs))
        time.sleep(0.3)
        assert engine.ended(0.0) == []
    assert all((folder_of(each).path / "saved").exists() for each in jobs)


def test_each_trial_sees_its_gpus_alone(tmp_path):
    jobs = [job(tmp_path, seed) for seed in range(4)]
    with Local(per_gpu=2, gpus=("0", "GPU-5e")) as engine:
        assert engine.slots == 4
        for each in jobs:
            engine.submit(each)
        ends(engine, 4)
    assert [mark(each)["gpus"] for each in jobs] == ["0", "GPU-5e", "0", "GPU-5e"]


@pytest.mark.parametrize(
    ("options", "slots"),
    [
        ({"gpus": ()}, 8),
        ({"gpus": (), "threads": 3}, 2),
        ({"gpus": (), "threads": 99}, 1),
        ({"gpus": (), "threads": 2, "devices": 2}, 2),
        ({"gpus": (), "slots": 5, "threads": 8}, 5),
        ({"gpus": "0123"}, 4),
        ({"gpus": "0123", "devices": 2, "per_gpu": 3}, 6),
        ({"gpus": "0123", "slots": 2}, 2),
    ],
)
def test_slots(options, slots, monkeypatch):
    monkeypatch.setattr(local, "usable_cores", lambda: 8)
    assert Local(**options).slots == slots


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"slots": 0}, "give 1 or more"),
        ({"per_gpu": 2, "gpus": ()}, "there are none to use here"),
        ({"gpus": "01", "devices": 3}, "does not fit on 2 GPUs"),
    ],
)
def test_slots_that_cannot_be(options, says):
    with pytest.raises(BadInput, match=says):
        Local(**options)


def test_gpus_are_those_that_are_visible(monkeypatch, tmp_path):
    for named, found in (("", []), ("2,0", ["2", "0"]), ("1,-1,3", ["1"]), ("MIG-7", ["MIG-7"])):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
        assert visible_gpus() == found
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'GPU 0: A (UUID: x)'\necho '  MIG 1g Device'\necho 'GPU 1: A (UUID: y)'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert visible_gpus() == ["0", "1"]
    tool.write_text("#!/bin/sh\necho 'no devices were found'\nexit 6\n")
    assert visible_gpus() == []


def test_a_killed_driver_leaves_nothing_running_and_the_next_one_goes_on(tmp_path):
    first = driver(tmp_path, 3, {"1": "wait", "2": "wait"}, "--slots", "2")
    stub_grid.install(3)
    done, *waiting = stub_grid.folders(tmp_path)
    pids = [int(until(lambda f=f: stub_grid.calls(f)) and (f.path / "calls").read_text()) for f in waiting]
    assert (done.path / "mark.json").exists()
    time.sleep(0.3)
    first.kill()
    first.communicate()
    assert first.returncode == -signal.SIGKILL
    until(lambda: not any(map(alive, pids)))
    assert all((folder.path / "saved").exists() for folder in waiting)
    again = driver(tmp_path, 3)
    _, said = again.communicate()
    assert again.returncode == 0, said
    assert "3 runs, 2 of them to do" in said
    assert [stub_grid.calls(folder) for folder in (done, *waiting)] == [1, 2, 2]


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_a_driver_that_is_told_to_stop(tmp_path, kind):
    process = driver(tmp_path, 3, {"0": "wait", "1": "wait"}, "--slots", "2")
    stub_grid.install(3)
    folders = stub_grid.folders(tmp_path)
    until(lambda: stub_grid.calls(folders[0]) and stub_grid.calls(folders[1]))
    time.sleep(0.3)
    process.send_signal(kind)
    out, said = process.communicate()
    assert (process.returncode, out) == (130, ""), said
    assert said.splitlines()[-1].startswith("bnonly: stopped by ") and "the same command again" in said
    assert [(folder.path / "saved").exists() for folder in folders] == [True, True, False]
    assert not any(folder.failure() for folder in folders)


def test_a_second_ctrl_c_kills(tmp_path):
    process = driver(tmp_path, 1, {"0": "deaf"})
    stub_grid.install(1)
    (folder,) = stub_grid.folders(tmp_path)
    until(lambda: (folder.path / "deaf").exists())
    pid = int((folder.path / "calls").read_text())
    process.send_signal(signal.SIGINT)
    until(lambda: "stopping (Ctrl-C)" in process.stderr.readline())
    assert alive(pid)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=50)  # less than the engine's patience
    assert process.returncode == 130 and not alive(pid)


def test_a_killed_worker_is_tried_again(tmp_path):
    process = driver(tmp_path, 2, {"0": "kill once", "1": "kill"}, "--slots", "2")
    _, said = process.communicate()
    assert process.returncode == 1, said
    stub_grid.install(2)
    once, ever = stub_grid.folders(tmp_path)
    assert (stub_grid.calls(once), once.failure()) == (2, None)
    failure = ever.failure()
    assert (failure["attempts"], failure["kind"]) == (3, "killed") and "the last words" in failure["log"]
    assert said.count("again later") == 3 and "Traceback" not in said


# Real runs.


def tiny(seeds: int, **training) -> None:
    fields = {"network.name": "cifar_resnet8", "tracking": "off", "data.source": "digits"}
    training = {"epochs": 1, "batch_size": 512} | training
    # As axes, since the preset would win over fields.
    axes = {"seed": range(seeds)} | {f"training.{name}": [value] for name, value in training.items()}
    stub_grid.install(fields=fields, stages=(Stage("fit"),), axes=axes)


def test_the_same_files_as_without_a_grid_and_a_torn_result_is_made_again(tmp_path):
    from bnonly.cli import main

    tiny(2)
    assert main(["experiment", "run", "stub", "--out", str(tmp_path / "grid"), "--slots", "2"]) == 0
    for trial in grid.trials(stub_grid.NAME, "smoke", tmp_path / "alone"):
        alone, made = fit(trial.config), RunFolder(tmp_path / "grid" / "stub" / trial.id)
        assert small.state(made) == small.state(alone) and small.metrics(made) == small.metrics(alone)
        result = made.result()
        assert result is not None and result["environment"]["threads"] == 1
    torn = made.path / "result.json"
    whole = json.loads(torn.read_text())
    torn.write_bytes(torn.read_bytes()[:100])
    assert main(["experiment", "run", "stub", "--out", str(tmp_path / "grid")]) == 0
    again = json.loads(torn.read_text())
    assert again["test"] == whole["test"] and small.state(made) == small.state(alone)


def test_a_run_under_way_saves_itself_when_the_driver_is_told_to_stop(tmp_path, capsys):
    from bnonly.cli import main

    tiny(1, epochs=500)

    def tell():
        (lines,) = until(lambda: list(tmp_path.glob("stub/*/metrics.jsonl")))
        until(lambda: len(lines.read_text().splitlines()) > 2)
        os.kill(os.getpid(), signal.SIGTERM)

    telling = threading.Thread(target=tell)
    telling.start()
    status = main(["experiment", "run", "stub", "--out", str(tmp_path)])
    telling.join()
    assert status == 130 and "give the same command again" in capsys.readouterr().err
    (folder,) = stub_grid.folders(tmp_path)
    assert folder.checkpoint.exists() and folder.failure() is None and folder.result() is None
    assert not folder.in_use() and "Traceback" not in folder.log.read_text()


@pytest.mark.slow
def test_a_thousand_runs(tmp_path, monkeypatch, capsys):
    """Each really fitted; meanwhile some of their processes are killed."""
    from bnonly.cli import main

    count, killed, attempt = int(os.environ.get("BNONLY_TRIALS", "1000")), [], Local.submit

    def submit(self, job):
        attempt(self, job)
        if len(killed) < count // 100 and int(job.id, 16) % 50 == 0:
            running = list(self._running.values())[-1]
            time.sleep(0.2)
            os.kill(running.process.pid, signal.SIGKILL)
            killed.append(job.id)

    monkeypatch.setattr(Local, "submit", submit)
    tiny(count, batch_size=1437)
    began = time.monotonic()
    assert main(["experiment", "run", "stub", "--out", str(tmp_path)]) == 0
    with capsys.disabled():
        print(f"\n{count} runs, {len(killed)} killed, in {time.monotonic() - began:.0f} s")
    folders = stub_grid.folders(tmp_path)
    assert len(folders) == count and all(folder.result() for folder in folders)
    assert not list(tmp_path.glob("*/*/failure.json"))
