"""What Slurm is asked for, and what its answers are taken for; Slurm itself is four scripts here."""

from __future__ import annotations

import json
import os
import pickle
import re
import signal

import pytest

from bnonly.errors import BadInput
from bnonly.runs import RunFolder
from experiments.engines import Ended, Job, open_engine
from experiments.engines.process import to_json
from experiments.engines.slurm import Slurm
from experiments.engines.slurm_queue import states
from tests.experiments.trials import config, job, until
from tests.warm import Warm

SBATCH = """#!/bin/sh
[ -e refuse ] && { echo "sbatch: error: invalid partition" >&2; exit 1; }
n=$(ls | grep -c '^script')
cp "$1" script$n
echo "Submitted batch job 7$n"
"""
SQUEUE = """#!/bin/sh
[ -e away ] && { echo "slurm_load_jobs error: Unable to contact slurm controller" >&2; exit 1; }
[ -n "$SQUEUE_PARTITION" ] && exit 0
cat states 2>/dev/null || true
"""
SACCT = """#!/bin/sh
echo "$@" >> asked
[ -e accounts ] || { echo "Slurm accounting storage is disabled" >&2; exit 1; }
cat accounts
"""
SCANCEL = '#!/bin/sh\necho "$@" >> cancelled\n'


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """A folder in which the scripts are called: script0 ..., cancelled. `states`, `accounts`: what Slurm answers."""
    place, programs = tmp_path / "place", tmp_path / "bin"
    place.mkdir()
    programs.mkdir()
    scripts = {"sbatch": SBATCH, "squeue": SQUEUE, "sacct": SACCT, "scancel": SCANCEL, "srun": "#!/bin/sh\n"}
    for name, text in scripts.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.chdir(place)
    monkeypatch.setattr("experiments.engines.slurm.GRACE", 0.1)
    return place


def flags(script):
    return dict(re.findall(r"^#SBATCH --([\w-]+)=?(.*)$", script.read_text(), re.MULTILINE))


def test_arrays_and_their_limit(cluster, tmp_path):
    options = {"threads": 3, "gpus": 2, "minutes": 90, "partition": "long", "parameters": {"account": "vision"}}
    with Slurm(slots=2, **options) as engine:
        for seed in range(3):
            engine.submit(job(tmp_path, seed=seed))
        assert not (cluster / "script0").exists()
        assert engine.ended(0) == []
        asked = flags(cluster / "script0")
        expected = {"array": "0-2%2", "time": "90", "cpus-per-task": "3", "gpus-per-node": "2", "partition": "long"}
        expected |= {"account": "vision", "signal": "USR2@90", "no-requeue": ""}
        assert expected.items() <= asked.items()
        assert "--cpus-per-task=3" in (cluster / "script0").read_text().split("srun ")[1]
        engine.submit(job(tmp_path, seed=3))
        assert engine.ended(0) == [] and not (cluster / "script1").exists()  # no slot is free
        (cluster / "states").write_text("70_0|FAILED\n70_1|RUNNING\n70_2|RUNNING\n")
    assert (cluster / "cancelled").read_text().split() == ["70_0", "70_1", "70_2"]


def test_how_jobs_end_without_an_answer(cluster, tmp_path, monkeypatch):
    ends = {
        "NODE_FAIL": "lost",
        "TIMEOUT": "stopped",
        "CANCELLED": "stopped",
        "OUT_OF_MEMORY": "killed",
        "FAILED": "killed",
    }
    monkeypatch.setattr("experiments.engines.slurm._ASK", 0.0)
    with Slurm() as engine:
        jobs = [job(tmp_path, seed=seed) for seed in range(len(ends))]
        for one in jobs:
            engine.submit(one)
        assert engine.ended(0) == []
        (tmp_path / ".submitit" / "70_3_0_log.err").write_text(
            "loading\nslurmstepd: error: Detected 1 oom_kill event\n"
        )
        (cluster / "states").write_text("".join(f"70_{place}|{state}\n" for place, state in enumerate(ends)))
        ended = {one.id: one for one in engine.ended(10)}
    assert [ended[one.id].kind for one in jobs] == list(ends.values())
    assert (
        ended[jobs[3].id].reason
        == "job 70_3 ended early (OUT_OF_MEMORY): slurmstepd: error: Detected 1 oom_kill event"
    )
    assert ended[jobs[0].id].reason == "job 70_0 ended early (NODE_FAIL): it said nothing"


def test_what_slurm_says_of_jobs(cluster, monkeypatch):
    (cluster / "states").write_text("CLUSTER: here\n7_0|RUNNING\n7_1|CANCELLED\n")
    monkeypatch.setenv("SQUEUE_PARTITION", "another")  # a user's own habits
    assert states(["7_0", "7_1", "8"]) == {"7_0": "RUNNING", "7_1": "CANCELLED", "8": "FORGOTTEN"}
    (cluster / "accounts").write_text("8|CANCELLED by 1000\n9|RUNNING\n")
    assert states(["7_0", "8", "9"]) == {"7_0": "RUNNING", "8": "CANCELLED", "9": "FORGOTTEN"}
    assert (cluster / "asked").read_text().splitlines()[-1].endswith("--jobs=8,9")
    (cluster / "away").touch()
    assert states(["7_0"]) is None


def test_a_controller_that_is_away_ends_no_job(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr("experiments.engines.slurm._ASK", 0.0)
    (cluster / "away").touch()
    with Slurm() as engine:
        engine.submit(one := job(tmp_path))
        assert engine.ended(0.1) == []
        (cluster / "away").unlink()
        assert engine.ended(0) == []  # it has yet to be heard of, perhaps
        monkeypatch.setattr("experiments.engines.slurm._LATE", 0.0)
        (ended,) = engine.ended(10)
    assert (ended.id, ended.kind) == (one.id, "lost")
    assert ended.reason == "job 70 is not known to Slurm any more: it said nothing"


def test_an_answer_may_come_later_than_the_end(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr("experiments.engines.slurm._ASK", 0.0)
    with Slurm() as engine:
        engine.submit(one := job(tmp_path))
        (cluster / "states").write_text("70|COMPLETED\n")
        assert engine.ended(1.0) == []
        fields = (one.id, "the milk is sour", "BadInput", "", 1.5)
        (tmp_path / ".submitit" / "70_0_result.pkl").write_bytes(pickle.dumps(("success", fields)))
        assert engine.ended(5.0) == [Ended(*fields)]
        engine.submit(one)
        (cluster / "states").write_text("71|COMPLETED\n")
        monkeypatch.setattr("experiments.engines.slurm._LATE", 0.0)
        (ended,) = engine.ended(10)
    assert ended.kind == "killed" and ended.reason == "job 71 ended early: it said nothing"


def killed(engine):
    """What is left of an engine whose driver is no more."""
    engine._jobs._lock._over.set()
    engine._jobs._lock._file.release()


def test_jobs_of_a_killed_driver_are_taken_over(cluster, tmp_path):
    first, second, third = (job(tmp_path, seed=seed) for seed in range(3))
    before, other, after = Slurm(), Slurm(), Slurm()
    for one in (first, second, third):
        before.submit(one)
    before.ended(0)
    (cluster / "states").write_text("70_0|RUNNING\n70_1|PENDING\n70_2|CANCELLED\n")
    assert not other.has(first)  # its driver lives
    killed(before)
    assert after.has(first) and after.has(second) and not after.has(third)
    changed = Job(first.id, first.config | {"data": {"path": "elsewhere"}}, first.stages)
    assert not after.has(changed)
    with after:
        for one in (first, second, third):
            after.submit(one)
        after.ended(0)
        assert len(list(cluster.glob("script*"))) == 2 and "array" not in flags(cluster / "script1")
        own = {*tmp_path.glob(".submitit/driver-*")} - {tmp_path / ".submitit" / f"{before._jobs._name}.json"}
        assert json.loads(own.pop().read_text()).keys() == {"70_0", "70_1", "71"}
    assert sorted((cluster / "cancelled").read_text().split()) == ["70_0", "70_1", "71"]
    (cluster / "states").write_text("")
    with Slurm() as last:
        assert not last.has(first)
        killed(other)
    assert not list(tmp_path.glob(".submitit/driver-*"))


def test_a_damaged_file_of_a_killed_driver(cluster, tmp_path):
    (tmp_path / ".submitit").mkdir()
    (tmp_path / ".submitit" / "driver-0.json").write_text('{"70": ')
    with Slurm() as engine:
        assert not engine.has(job(tmp_path))
    assert not list(tmp_path.glob(".submitit/driver-*"))


def test_what_slurm_refuses(cluster, tmp_path):
    (cluster / "refuse").touch()
    with Slurm() as engine:
        engine.submit(job(tmp_path))
        with pytest.raises(BadInput, match=r"Slurm refuses the jobs .*invalid partition.*: change partition"):
            engine.ended(0)


def test_a_refusal_is_waited_out_while_others_run(cluster, tmp_path, monkeypatch):
    with Slurm() as engine:
        engine.submit(job(tmp_path))
        engine.ended(0)
        (cluster / "refuse").touch()
        engine.submit(job(tmp_path, seed=1))
        assert engine.ended(0) == []
        (cluster / "refuse").unlink()
        engine.ended(0)
        assert not (cluster / "script1").exists()  # not asked again at once
        monkeypatch.setattr(engine, "_refused_until", 0.0)
        engine.ended(0)
        assert (cluster / "script1").exists()


def test_gpus_are_asked_for_where_a_run_wants_cuda(cluster, tmp_path):
    asked = []
    for place, (device, gpus) in enumerate([("cuda", None), ("auto", None), ("cuda", ()), ("auto", 1)]):
        with Slurm(devices=2, gpus=gpus) as engine:
            one = job(tmp_path)
            engine.submit(Job(one.id, one.config | {"training": {"device": device}}, one.stages))
            engine.ended(0)
        asked.append(flags(cluster / f"script{place}").get("gpus-per-node"))
    assert asked == ["2", None, None, "1"]


def test_without_slurm_or_submitit(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(BadInput, match="engine slurm needs sbatch and srun and squeue and scancel"):
        Slurm().__enter__()
    monkeypatch.setattr("experiments.engines.slurm.find_spec", lambda name: None)
    with pytest.raises(BadInput, match=r"engine slurm needs submitit: pip install 'bnonly\[slurm\]'"):
        Slurm().__enter__()


def test_options_that_cannot_be():
    with pytest.raises(BadInput, match="whole GPUs: leave --per-gpu out"):
        open_engine("slurm", per_gpu=2)
    with pytest.raises(BadInput, match=r"slots, .* are counts"):
        open_engine("slurm", slots=0)
    with pytest.raises(BadInput, match=r"limit of 2 min and a warning 90 s before it, .* at once: give more"):
        open_engine("slurm", minutes=2)


SCRIPT = "import sys; from experiments.engines.slurm import attempt; print(attempt(sys.argv[1], 1, '.'))"


def test_the_warning_before_a_time_limit_stops_an_attempt(tmp_path):
    process = Warm(SCRIPT, [to_json(job(tmp_path, "waits", until="never"))])
    until(lambda: list(tmp_path.glob("fit/*/began")))
    process.send_signal(signal.SIGUSR2)
    said, errors = process.communicate()
    assert "'stopped between two stages', 'stopped', " in said, errors


@pytest.mark.slow
def test_a_run_saves_itself_before_the_time_limit(tmp_path):
    long = job(tmp_path, epochs=5000)
    process, folder = Warm(SCRIPT, [to_json(long)]), RunFolder.of(config(long))
    until(lambda: len(folder.metrics()) > 1)
    process.send_signal(signal.SIGUSR2)
    said, errors = process.communicate()
    assert "'stopped by SIGTERM in epoch" in said and "'Interrupted'" in said, errors
    assert folder.checkpoint.exists() and folder.result() is None
