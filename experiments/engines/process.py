"""A process of its own for trials, one after another: torch is imported once, and a crash takes one trial along.

Jobs go in as lines of JSON and answers come out so. When the way in closes, its owner has gone, and so does the
process, at once: whoever performs the job next must find its folder free.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

from experiments.engines import Ended, Job
from experiments.engines.ends import log_of, opened, size, tail, without_a_word, write_into

ROOT = Path(__file__).parents[2]
_LEAVING = 10.0  # seconds for a process that has nothing more to do

# By these a process takes itself for one of several: Lightning logs nothing where SLURM_PROCID is not 0.
_OTHERS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NTASKS")


class TrialProcess:
    """Performs jobs in a process that it starts when it is needed, and again after one that failed.

    threads: for torch, where a run names none. cwd: what relative paths of a job are relative to. variables: more of
    the process's environment. `stop` may be called from another thread or a signal handler.
    """

    def __init__(self, threads: int, cwd: str, variables: Mapping[str, str] | None = None):
        self._cwd = cwd
        env = {name: value for name, value in os.environ.items() if name not in _OTHERS}
        self._env = env | {"PYTHONPATH": with_root(), "OMP_NUM_THREADS": str(threads)} | dict(variables or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = False

    def perform(self, job: Job) -> Ended:
        """Do the job's stages that are not done; never raises for what happens to them."""
        if self._stopped:
            return Ended(job.id, "stopped before it began", "stopped")
        if not Path(self._cwd).is_dir():
            what = f"{self._cwd} is not there on {socket.gethostname()}"
            return Ended(job.id, f"{what}: every machine needs the grid's folders, on a disk that all share", "lost")
        log = self._cwd / log_of(job)
        start = size(log)
        try:
            process = self._running(log)
        except OSError as error:
            return Ended(job.id, f"no process could be started on {socket.gethostname()} ({error})", "OSError")
        if self._stopped:  # while it was started
            self.stop()
        assert process.stdin is not None and process.stdout is not None
        with suppress(BrokenPipeError):  # it has just died, and the answer will be none
            process.stdin.write(to_json(job).encode() + b"\n")
            process.stdin.flush()
        if not (answer := process.stdout.readline()):
            return self._died(job, self._collect(process), tail(log, start))
        ended = Ended(**json.loads(answer))
        if ended.reason is None:
            return ended
        self._collect(process)
        return replace(ended, log=tail(log, start))

    def stop(self) -> None:
        """Let the job under way save itself and end, by SIGTERM, and take no other."""
        self._stopped = True
        if (process := self._process) is not None:
            process.terminate()

    def close(self) -> None:
        """End the process at once."""
        self._stopped = True
        if self._process is not None:
            self._collect(self._process)

    def _running(self, log: Path) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is not None:
            self._collect(self._process)
        if self._process is None:
            command, pipe = [sys.executable, "-m", __name__], subprocess.PIPE
            said = opened(log)
            try:
                self._process = subprocess.Popen(
                    command, stdin=pipe, stdout=pipe, stderr=said, cwd=self._cwd, env=self._env
                )
            finally:
                os.close(said)
        return self._process

    def _collect(self, process: subprocess.Popen[bytes]) -> int:
        """Its status, once it has ended, as it does by itself or because it is no longer listened to."""
        assert process.stdin is not None and process.stdout is not None
        with suppress(BrokenPipeError):
            process.stdin.close()
        try:
            process.wait(_LEAVING)
        except subprocess.TimeoutExpired:
            process.kill()
        process.stdout.close()
        self._process = None
        return process.wait()

    def _died(self, job: Job, status: int, said: str) -> Ended:
        reason, kind = without_a_word(status, said)
        if kind != "stopped" and (self._stopped or status == -signal.SIGTERM):
            reason, kind = "stopped before there was anything to save", "stopped"
        return Ended(job.id, reason, kind, said)


def with_root() -> str:
    """PYTHONPATH as it is, with this project in front."""
    return os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))


def to_json(job: Job) -> str:
    return json.dumps({"id": job.id, "config": dict(job.config), "stages": [dict(stage) for stage in job.stages]})


def from_json(text: str | bytes) -> Job:
    return Job(**json.loads(text))


def main() -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # until training has its own way to stop
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # Slurm's before a time limit goes to all; the owner heeds it
    answers = os.fdopen(os.dup(1), "w")
    jobs: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    busy = threading.Event()
    threading.Thread(target=_listen, args=(jobs, busy), daemon=True).start()
    from bnonly.data.kept import keep_last  # not for the owner, who has no data

    keep_last()
    with suppress(KeyboardInterrupt):  # stopped with nothing to do
        while (line := jobs.get()) is not None:
            busy.set()
            ended = _performed(from_json(line))
            print(json.dumps(asdict(ended)), file=answers, flush=True)
            busy.clear()
            if ended.reason is not None:
                break  # a process in which something failed is no place for the next trial


def _listen(jobs: queue.SimpleQueue[bytes | None], busy: threading.Event) -> None:
    with open(0, "rb", buffering=0, closefd=False) as lines:  # unbuffered: nothing to lock when the process ends
        for line in lines:
            jobs.put(line)
    if busy.is_set():
        os._exit(1)
    jobs.put(None)


def _performed(job: Job) -> Ended:
    write_into(log_of(job))
    from experiments.work import attempt

    return attempt(job)


if __name__ == "__main__":
    main()
