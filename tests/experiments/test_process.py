"""A process for trials: what becomes of jobs that end well, raise, die or are stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from experiments.engines import Job
from experiments.engines.process import TrialProcess
from tests.experiments.trials import job, until


@pytest.fixture
def process(tmp_path):
    process = TrialProcess(1, str(tmp_path))
    yield process
    process.close()


def test_one_process_performs_several(process, tmp_path):
    for name in ("a", "b"):
        assert process.perform(job(tmp_path, "writes", name=name)).reason is None
    first, second = ((job_folder(tmp_path) / name).read_text().split() for name in ("a", "b"))
    assert first == second and first[0] == "1" and int(first[1]) != os.getpid()


def job_folder(out):
    (folder,) = (out / "fit").iterdir()
    return folder


def test_failures_are_told_and_the_next_is_unharmed(process, tmp_path):
    ended = process.perform(job(tmp_path, "raises"))
    assert (ended.reason, ended.kind) == ("the loss is no number at step 7", "TrainingFailed")
    ended = process.perform(job(tmp_path, "breaks"))
    assert (ended.reason, ended.kind) == ("KeyError: 'missing'", "KeyError")
    assert "stubs.py" in ended.log and "Traceback" in ended.log
    ended = process.perform(job(tmp_path, "dies"))
    assert ended.kind == "killed" and "SIGKILL" in str(ended.reason) and "about to die" in ended.log
    assert process.perform(job(tmp_path, "writes", name="a")).reason is None
    one = job(tmp_path)
    ended = process.perform(Job(one.id, dict(one.config) | {"group": "nonsense"}, []))
    assert ended.kind == "ValidationError" and "about to die" not in ended.log


def test_it_stops(process, tmp_path):
    found = []
    thread = threading.Thread(target=lambda: found.append(process.perform(job(tmp_path, "waits", until="never"))))
    thread.start()
    until(lambda: list(tmp_path.glob("fit/*/began")))
    process.stop()
    thread.join(20)
    assert [ended.kind for ended in found] == ["stopped"]
    assert process.perform(job(tmp_path, "writes", name="a")).kind == "stopped"


def test_it_goes_with_its_owner(tmp_path):
    script = "import sys; from experiments.engines.process import *; from tests.experiments.trials import job\n"
    script += "TrialProcess(1, '.').perform(job(sys.argv[1], 'waits', until='never'))"
    owner = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)])
    until(lambda: [path for path in tmp_path.glob("fit/*/began") if path.read_text()])
    pid = int((job_folder(tmp_path) / "began").read_text())
    owner.kill()
    owner.wait()
    until(lambda: not running(pid))


def running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # a zombie that this machine's first process does not collect is dead all the same
    return not subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True).stdout.startswith(b"Z")


def test_a_folder_that_is_not_there_is_named(tmp_path):
    process = TrialProcess(1, str(tmp_path / "elsewhere"))
    ended = process.perform(job(tmp_path, "writes", name="a"))
    assert ended.kind == "lost" and "elsewhere is not there on " in str(ended.reason)
    process.close()


def test_signals_before_a_job_leave_nothing_behind(process, tmp_path):
    assert process.perform(job(tmp_path, "writes", name="a")).reason is None
    pid = int((job_folder(tmp_path) / "a").read_text().split()[1])
    os.kill(pid, signal.SIGUSR2)  # Slurm's, which the owner heeds
    time.sleep(0.2)
    assert running(pid)
    os.kill(pid, signal.SIGTERM)
    until(lambda: process._process.poll() is not None)
    assert process.perform(job(tmp_path, "writes", name="b")).reason is None
