"""Processes that perform trial after trial: what stays, what does not, and when one is replaced."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from bnonly.runs import RunFolder
from experiments.engines import worker
from experiments.engines.local import Local
from tests.experiments.trials import all_ended, config, job, until


def told(job):
    return json.loads((RunFolder.of(config(job)).path / "told.json").read_text())


def performed(engine, *jobs):
    """One after another; what each told, and how it ended."""
    ends = []
    for each in jobs:
        engine.submit(each)
        ends += all_ended(engine, 1).values()
    return [told(each) for each in jobs], ends


def test_trials_share_a_process_and_nothing_else(tmp_path):
    jobs = [job(tmp_path, task, seed) for seed, task in enumerate(["tells", "litters", "tells"])]
    with Local(slots=1, gpus=()) as engine:
        (first, second, third), ends = performed(engine, *jobs)
    assert [(ended.reason, ended.seconds > 0) for ended in ends] == [(None, True)] * 3
    assert first == second == third
    assert first["pid"] != os.getpid() and first["left"] is None
    logs = [RunFolder.of(config(each)).log.read_text() for each in jobs]
    assert ["litters" in log for log in logs] == [False, True, False]
    assert [log.count("--- process") for log in logs] == [1, 1, 1]


def test_a_process_is_replaced_after_some_trials(tmp_path):
    with Local(slots=1, gpus=(), trials=2) as engine:
        found, _ = performed(engine, *(job(tmp_path, "tells", seed) for seed in range(5)))
    pids = [facts["pid"] for facts in found]
    assert pids[0] == pids[1] and pids[2] == pids[3] and len(set(pids)) == 3


@pytest.mark.parametrize("leaves", ["leaves_a_process", "leaves_a_thread"])
def test_a_process_in_which_something_was_left_is_replaced(tmp_path, leaves):
    with Local(slots=1, gpus=()) as engine:
        (first, second), ends = performed(engine, job(tmp_path, leaves), job(tmp_path, "tells", 1))
    assert first["pid"] != second["pid"] and not any(ended.reason for ended in ends)


def test_too_much_memory_is_something_left(monkeypatch):
    monkeypatch.setattr(worker, "_has_children", lambda: False)  # as this process may
    memory = [5 << 28]  # a test's own hoard may come from memory that an earlier test has left to the process
    monkeypatch.setattr(worker, "resident", lambda field: memory[0])
    place = worker._Place({})
    assert place.tidied()
    memory[0] += worker._MUCH
    assert not place.tidied()
    memory[0] -= 1
    assert place.tidied()


def test_a_process_that_dies_with_nothing_to_do_costs_no_trial(tmp_path):
    with Local(slots=1, gpus=()) as engine:
        (first,), _ = performed(engine, job(tmp_path, "tells"))
        os.kill(first["pid"], signal.SIGKILL)
        until(lambda: not engine.ended(0.0) and _gone(first["pid"]))
        (second,), (ended,) = performed(engine, job(tmp_path, "tells", 1))
    assert ended.reason is None and second["pid"] != first["pid"]


def test_a_process_keeps_its_gpu(tmp_path):
    jobs = [job(tmp_path, "litters", seed) for seed in range(6)]
    with Local(per_gpu=1, gpus=("0", "GPU-5e")) as engine:
        for each in jobs:
            engine.submit(each)
        all_ended(engine, len(jobs))
    assert {told(each)["gpus"] for each in jobs} == {"0", "GPU-5e"}
    assert len({(told(each)["gpus"], told(each)["pid"]) for each in jobs}) == 2


def test_leaving_ends_processes_that_have_nothing_to_do(tmp_path):
    with Local(slots=1, gpus=()) as engine:
        (first,), _ = performed(engine, job(tmp_path, "tells"))
        began = time.monotonic()
    assert _gone(first["pid"]) and time.monotonic() - began < 30


def _gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] == "Z"


@pytest.mark.slow
def test_a_grid_costs_little_more_than_its_runs():
    """The measured figure stands in experiments/results/speed; this is a bound that a busy machine keeps, too."""
    from experiments.overhead import grid

    wall, seconds = grid(200, 2, 50)
    assert wall * 2 < 1.6 * seconds
