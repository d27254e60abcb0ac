"""A grid on a real Slurm, the one of docs/slurm.md: jobs cancelled, nodes taken away, time limits, drivers killed."""

from __future__ import annotations

import math
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bnonly.errors import BadInput
from bnonly.files import read_object
from bnonly.runs import RunFolder
from experiments.engines.slurm import Slurm
from tests.experiments.slurm_cluster import Cluster, block, missing
from tests.experiments.test_engines import comparable
from tests.experiments.trials import PATIENCE, all_ended, config, job, until

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing()), reason=missing())]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def cluster():
    with Cluster() as cluster:
        yield cluster


@pytest.fixture
def slurm(cluster, monkeypatch):
    """The cluster, empty, for engines of this process, which notice the dead within seconds."""
    monkeypatch.setenv("SLURM_CONF", cluster.environment["SLURM_CONF"])
    monkeypatch.setattr("experiments.engines.slurm._ASK", 2.0)
    yield cluster
    cluster.emptied()
    cluster.node_is_back()


@pytest.fixture
def driver(slurm):
    """Begins `bnonly experiment run`; what it says is in out/said."""
    begun = []

    def begin(out, *flags):
        command = [sys.executable, "-m", "bnonly", "experiment", "run", *flags, "--out", str(out)]
        out.mkdir(exist_ok=True)
        with (out / "said").open("wb") as said:
            begun.append(subprocess.Popen(command, env=slurm.environment, cwd=ROOT, stdout=said, stderr=said))
        return begun[-1]

    yield begin
    for process in begun:
        process.kill()
        process.wait()


def finished(process, out, status=0):
    assert process.wait(4 * PATIENCE) == status, (out / "said").read_text()
    return (out / "said").read_text()


def training(out):
    """How many runs have trained for an epoch and are not done."""
    folders = [RunFolder(path.parent) for path in out.glob("*/*/metrics.jsonl")]
    return sum(len(folder.metrics()) > 1 and folder.result() is None for folder in folders)


def of(out, process):
    """Numbers of the jobs that a driver has as its own."""
    for holder in (out / ".submitit").glob(".driver-*.holder"):
        jobs = out / ".submitit" / f"{holder.stem.removeprefix('.')}.json"
        if (read_object(holder) or {}).get("pid") == process.pid and jobs.exists():
            return list(read_object(jobs) or {})
    return []


def test_a_grid_through_what_happens_on_a_cluster(slurm, driver, tmp_path):
    grid = ("depth", "--set", "network.name=cifar_resnet8", "--set", "training.epochs=30")
    local, out = tmp_path / "local", tmp_path / "out"
    finished(driver(local, *grid, "--slots", "2"), local)

    first = driver(out, *grid, "--engine", "slurm", "--slots", "5")
    until(lambda: training(out) == 2)
    (script,) = (out / ".submitit").glob("*_submission.sh")
    assert "#SBATCH --array=0-4%5\n" in script.read_text()
    assert [len(slurm.queue(state)) for state in ("RUNNING", "PENDING")] == [2, 3]
    slurm.call("scancel", slurm.queue("RUNNING")[0])
    until(lambda: "stopped by SIGTERM in epoch " in (out / "said").read_text())
    assert "and saved; it goes on later" in (out / "said").read_text()

    array = {f"{script.name.partition('_')[0]}_{place}" for place in range(5)}
    until(lambda: {*of(out, first)} - array)  # it waits again, behind the others
    first.kill()
    first.wait()
    left = {*slurm.queue()}
    second = driver(out, *grid, "--engine", "slurm", "--slots", "5")
    until(lambda: of(out, second))
    waiting = {*slurm.queue("PENDING")}
    assert waiting and waiting <= left and waiting <= {*of(out, second)}, "nothing was submitted twice"

    slurm.node_is("drain")
    until(lambda: not slurm.queue("RUNNING"), 4 * PATIENCE)  # two whole runs
    assert slurm.queue("PENDING")
    slurm.node_is_back()
    until(lambda: slurm.queue("RUNNING"))
    second.terminate()
    assert "stopping (SIGTERM): what runs saves itself" in finished(second, out, 130)
    assert not slurm.queue()

    assert " 0 failed in " in finished(driver(out, *grid, "--engine", "slurm", "--slots", "3"), out)
    assert not list((out / ".submitit").glob("*driver-*"))
    results = sorted(local.glob("*/*/result.json"))
    assert len(results) == 5
    for path in results:
        here, there = RunFolder(path.parent), RunFolder(out / path.parent.relative_to(local))
        assert here.final.read_bytes() == there.final.read_bytes()
        assert comparable(here) == comparable(there)


def test_a_node_that_fails_loses_its_jobs_and_they_come_back(slurm, tmp_path):
    saves, waits = (job(tmp_path, "waits", seed=seed, until=str(tmp_path / "go")) for seed in (0, 1))
    deaf = job(tmp_path, "ignores_signals", seed=2, until=str(tmp_path / "go"))
    with Slurm(slots=3) as engine:
        for one in (saves, deaf, waits):
            engine.submit(one)
        until(lambda: engine.ended(0.1) or len(list(tmp_path.glob("fit/*/began"))) == 2)
        (waiting,) = slurm.queue("PENDING")
        slurm.call("scancel", waiting)
        cancelled = all_ended(engine, 1)[waits.id]
        said = f"job {waiting} ended early (CANCELLED): it said nothing"
        assert (cancelled.kind, cancelled.reason) == ("stopped", said)
        slurm.node_is("down")
        ended = all_ended(engine, 2)
        assert ended[saves.id].kind == "stopped", "Slurm said SIGTERM before it killed"
        assert ended[deaf.id].kind == "lost" and "ended early (NODE_FAIL): " in str(ended[deaf.id].reason)
        until(lambda: not RunFolder.of(config(deaf)).in_use())
        until(lambda: not slurm.queue())  # in vain if Slurm began something again by itself
        slurm.node_is_back()
        (tmp_path / "go").touch()
        for one in (saves, deaf, waits):
            engine.submit(one)
        assert all(ended.reason is None for ended in all_ended(engine, 3).values())


def test_a_time_limit(slurm, tmp_path):
    long, deaf = job(tmp_path, epochs=5000), job(tmp_path, "ignores_signals", seed=1, until="never")
    folder = RunFolder.of(config(long))
    with Slurm(slots=2, minutes=60, warning=60) as engine:
        began = time.monotonic()
        for one in (long, deaf):
            engine.submit(one)
        until(lambda: engine.ended(0.1) or (len(folder.metrics()) > 1 and list(tmp_path.glob("fit/*/began"))))
        minutes = math.ceil((time.monotonic() - began) / 60) + 1  # instead of an hour's wait
        for number in slurm.queue("RUNNING"):
            slurm.call("scontrol", "update", f"jobid={number}", f"timelimit={minutes}")
        ended = all_ended(engine, 2)
    assert ended[long.id].kind == "Interrupted" and "stopped by SIGTERM in epoch " in str(ended[long.id].reason)
    assert folder.checkpoint.exists() and folder.result() is None
    assert ended[deaf.id].kind == "stopped" and "ended early (TIMEOUT)" in str(ended[deaf.id].reason)


def test_what_sbatch_refuses(slurm, tmp_path):
    with Slurm(partition="nowhere") as engine:
        engine.submit(job(tmp_path))
        with pytest.raises(BadInput, match=r"Slurm refuses the jobs .*[Ii]nvalid partition.*: change partition"):
            engine.ended(0)


def test_a_driver_that_is_a_job_itself(slurm, tmp_path):
    """Its jobs must not take its own CPUs, memory and numbers for theirs."""
    command = f"{sys.executable} -m bnonly {' '.join(shlex.split(block('the grid'))[1:])}"
    command = command.replace("run groups", "run depth --set network.name=cifar_resnet8 --set group=bn")
    command = command.replace("--out runs", f"--out {tmp_path}")
    slurm.call("sbatch", "--chdir", str(ROOT), "--output", str(tmp_path / "said"), "--wrap", command)
    until(lambda: not slurm.queue())
    assert "1 done, 0 failed" in (tmp_path / "said").read_text()
