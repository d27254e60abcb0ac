"""What Slurm is asked for, and what its answers are taken for; Slurm itself is four scripts here."""

from __future__ import annotations

import os
import re
import signal

import pytest

from bnonly.errors import BadInput
from bnonly.runs import RunFolder
from experiments.engines import Job, open_engine
from experiments.engines.process import to_json
from experiments.engines.slurm import Slurm
from tests.experiments.trials import config, job, until
from tests.warm import Warm

SBATCH = """#!/bin/sh
[ -e refuse ] && { echo "sbatch: error: invalid partition" >&2; exit 1; }
n=$(ls | grep -c '^script')
cp "$1" script$n
echo "Submitted batch job 7$n"
"""
SACCT = "#!/bin/sh\necho 'JobID|State|NodeList'; cat states 2>/dev/null || true\n"
SCANCEL = '#!/bin/sh\necho "$@" >> cancelled\n'


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """A folder in which the scripts are called: script0 ..., cancelled; `states` holds what sacct says."""
    place, programs = tmp_path / "place", tmp_path / "bin"
    place.mkdir()
    programs.mkdir()
    for name, text in {"sbatch": SBATCH, "sacct": SACCT, "scancel": SCANCEL, "srun": "#!/bin/sh\n"}.items():
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
        expected |= {"account": "vision", "signal": "USR2@90"}
        assert expected.items() <= asked.items()
        assert "--cpus-per-task=3" in (cluster / "script0").read_text().split("srun ")[1]
        engine.submit(job(tmp_path, seed=3))
        assert engine.ended(0) == [] and not (cluster / "script1").exists()  # no slot is free
        (cluster / "states").write_text("70_0|COMPLETED|n1\n70_1|RUNNING|n1\n70_2|RUNNING|n2\n")
    assert (cluster / "cancelled").read_text().split()[-2:] == ["70_1", "70_2"]


def test_how_jobs_end_without_an_answer(cluster, tmp_path, monkeypatch):
    ends = {
        "NODE_FAIL": "lost",
        "TIMEOUT": "stopped",
        "CANCELLED by 1000": "stopped",
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
        (cluster / "states").write_text("".join(f"70_{place}|{state}|n1\n" for place, state in enumerate(ends)))
        ended = {one.id: one for one in engine.ended(10)}
    assert [ended[one.id].kind for one in jobs] == list(ends.values())
    assert (
        ended[jobs[3].id].reason
        == "job 70_3 ended early (OUT_OF_MEMORY): slurmstepd: error: Detected 1 oom_kill event"
    )
    assert ended[jobs[0].id].reason == "job 70_0 ended early (NODE_FAIL): it said nothing"


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
    with pytest.raises(BadInput, match="engine slurm needs sbatch and srun and sacct and scancel"):
        Slurm().__enter__()
    monkeypatch.setattr("experiments.engines.slurm.find_spec", lambda name: None)
    with pytest.raises(BadInput, match=r"engine slurm needs submitit: pip install 'bnonly\[slurm\]'"):
        Slurm().__enter__()


def test_options_that_cannot_be():
    with pytest.raises(BadInput, match="whole GPUs: leave --per-gpu out"):
        open_engine("slurm", per_gpu=2)
    with pytest.raises(BadInput, match=r"slots, .* are counts"):
        open_engine("slurm", slots=0)


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
