"""What every engine does alike with a grid's trials, submitit's local executor standing in for Slurm."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bnonly.runs import RunFolder
from experiments.engines import Engine, open_engine
from experiments.work import perform
from tests.experiments.trials import all_ended, config, job, until
from tests.training.small import TIMES

ROOT = Path(__file__).parents[2]


def slurm() -> Engine:
    return open_engine("slurm", slots=2, cluster="local")


def ray() -> Engine:
    pytest.importorskip("ray")
    return open_engine("ray", slots=2)


with_ray = pytest.param(ray, marks=pytest.mark.slow)
any_engine = pytest.mark.parametrize("make", [slurm, with_ray])


@any_engine
def test_ends_are_told_and_no_trial_harms_another(make, tmp_path):
    tasks = {"dies": "killed", "raises": "TrainingFailed", "breaks": "KeyError"}
    jobs = [job(tmp_path, task, seed=seed) for seed, task in enumerate(tasks)]
    jobs.append(job(tmp_path, "writes", seed=3, name="a"))
    with make() as engine:
        assert engine.slots == 2
        for one in jobs:
            engine.submit(one)
        ended = all_ended(engine, len(jobs))
        engine.submit(jobs[3])  # a second attempt
        assert all_ended(engine, 1)[jobs[3].id].reason is None
    assert [ended[one.id].kind for one in jobs] == [*tasks.values(), ""]
    dies, raises, breaks, writes = (ended[one.id] for one in jobs)
    assert "killed by SIGKILL" in str(dies.reason) and "about to die" in dies.log
    assert raises.reason == "the loss is no number at step 7"
    assert breaks.reason == "KeyError: 'missing'" and "stubs.py" in breaks.log
    assert writes.reason is None


@any_engine
def test_the_driver_does_without_torch(make, tmp_path):
    script = f"""
import sys
from tests.experiments import test_engines, trials
with test_engines.{make.__name__}() as engine:
    engine.submit(trials.job(sys.argv[1], "writes", name="a"))
    (ended,) = trials.all_ended(engine, 1).values()
assert ended.reason is None, ended
assert "torch" not in sys.modules, "torch was imported"
"""
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == "", "nothing of its own accord"


@pytest.mark.slow
@any_engine
def test_the_same_grid_gives_the_same_results(make, tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    for seed in range(2):
        perform(job(here, seed=seed))
    with make() as engine:
        for seed in range(2):
            engine.submit(job(there, seed=seed))
        assert all(ended.reason is None for ended in all_ended(engine, 2).values())
    for seed in range(2):
        mine, theirs = (RunFolder.of(config(job(out, seed=seed))) for out in (here, there))
        assert mine.final.read_bytes() == theirs.final.read_bytes()
        assert comparable(mine) == comparable(theirs)


def comparable(folder):
    result = folder.result()
    for name in ("train_seconds", "finished", "sessions"):
        del result[name]
    del result["environment"]["began"], result["config"]["out"]
    return json.loads(json.dumps(result), object_hook=without_times)


def without_times(values):
    return {key: value for key, value in values.items() if key not in TIMES}


@pytest.mark.slow
@any_engine
def test_leaving_stops_a_run_which_saves_itself(make, tmp_path):
    long, waiting = job(tmp_path, epochs=5000), job(tmp_path, "writes", seed=1, name="a")
    folder = RunFolder.of(config(long))
    with make() as engine:
        engine.submit(long)
        until(lambda: engine.ended(0.1) or len(folder.metrics()) > 1)
        engine.submit(waiting)
        began = time.monotonic()
    assert time.monotonic() - began < 60
    assert folder.checkpoint.exists() and folder.result() is None
    with folder.locked():
        pass  # nobody has it any more
    assert not RunFolder.of(config(waiting)).path.exists()
