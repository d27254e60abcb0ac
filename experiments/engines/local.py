"""This machine's cores or GPUs: a process for each trial at once, forked from a server that has torch loaded.

A process performs trial after trial as long as all goes well (worker.py): a crash or a kill ends one trial, and the
next has a new process. Each belongs to a place, a GPU or a share of the cores, for good, since a process that has
touched CUDA sees no other GPU. The driver itself imports no torch and touches no GPU.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from bnonly.data.cores import usable_cores
from bnonly.errors import BadInput
from experiments.engines import Ended, Job
from experiments.engines.ends import log_of, size, tail, without_a_word
from experiments.engines.gpus import visible_gpus
from experiments.engines.worker import PATIENCE, Answer, serve

PRELOAD = (
    "torch",
    "lightning",
    "sklearn.datasets",
    "experiments.work",
    "experiments.tasks",
    "bnonly.training.fit",
    "bnonly.training.tracking",
)
TRIALS = 50
_UNSAID = Ended("")  # of a process that has died


@dataclass
class _Worker:
    """A process with a place of its own. While it performs: the job, its log, and the bytes that earlier attempts
    had written there. told: how the job ended, where the process ends too."""

    process: BaseProcess
    line: Connection
    place: int
    job: Job
    log: Path
    log_from: int
    told: Ended | None = None
    served: bool = False  # other jobs, before this one


class Local:
    """Trials at once on this machine.

    slots: how many, or None for as many as cores / (threads * devices), on GPUs per_gpu on each. threads: of a trial.
    devices: GPUs, or processes on the CPU, that one trial takes. gpus: what CUDA_VISIBLE_DEVICES calls those to use;
    none: the CPU's cores. trials: that a process performs, one after another, before it is replaced. Raises BadInput
    where a trial does not fit.
    """

    def __init__(
        self,
        *,
        slots: int | None = None,
        threads: int = 1,
        devices: int = 1,
        per_gpu: int | None = None,
        gpus: Sequence[str] | None = None,
        trials: int = TRIALS,
    ):
        if (slots is not None and slots < 1) or (per_gpu is not None and per_gpu < 1):
            raise BadInput("--slots and --per-gpu count trials at once: give 1 or more")
        if not isinstance(trials, int) or trials < 1:
            raise BadInput(f"option trials={trials} of engine local counts the trials of a process: give 1 or more")
        gpus = visible_gpus() if gpus is None else gpus
        if per_gpu is not None and not gpus:
            raise BadInput("--per-gpu is for GPUs, and there are none to use here: use --slots")
        if gpus and devices > len(gpus):
            raise BadInput(f"a trial of {devices} devices does not fit on {len(gpus)} GPUs: lower training.devices")
        groups = [",".join(gpus[i : i + devices]) for i in range(0, len(gpus) - devices + 1, devices)]
        # GPU after GPU, so that few trials spread over all of them.
        self._places = [{"CUDA_VISIBLE_DEVICES": group} for _ in range(per_gpu or 1) for group in groups]
        if not gpus:
            self._places = [{} for _ in range(slots or max(1, usable_cores() // (threads * devices)))]
        elif slots is not None:
            self._places = (self._places * -(-slots // len(self._places)))[:slots]
        self.slots = len(self._places)
        self._free = deque(range(self.slots))
        self._queue: deque[Job] = deque()
        self._trials = trials
        self._running: dict[int, _Worker] = {}  # by sentinel
        self._idle: dict[int, _Worker] = {}  # by place
        self._failed: list[Ended] = []  # that could not be started
        # Windows has no fork; there each process starts Python and imports torch on its own.
        kinds = multiprocessing.get_all_start_methods()
        self._context: Any = multiprocessing.get_context("forkserver" if "forkserver" in kinds else "spawn")

    def __enter__(self) -> Local:
        if hasattr(self._context, "set_forkserver_preload"):
            self._context.set_forkserver_preload(list(PRELOAD))
        return self

    def __exit__(self, *exception: Any) -> None:
        """Stop what runs: SIGTERM, and after `PATIENCE` seconds, or on Ctrl-C meanwhile, SIGKILL."""
        self._queue.clear()
        self._running |= {worker.process.sentinel: worker for worker in self._idle.values()}
        self._idle.clear()
        try:
            for worker in self._running.values():
                with suppress(OSError):  # it has just ended
                    worker.line.send(None)  # no other job, should it end this one well
                _signal(worker.process, signal.SIGTERM)
            until = time.monotonic() + PATIENCE
            while self._running and (left := until - time.monotonic()) > 0:
                for sentinel in wait(list(self._running), min(1.0, left)):
                    self._reap(sentinel)
        finally:
            for worker in self._running.values():
                _signal(worker.process, signal.SIGKILL, whole_group=True)
            for sentinel in list(self._running):
                self._reap(sentinel)

    def has(self, job: Job) -> bool:
        return False  # trials end with their driver

    def submit(self, job: Job) -> None:
        self._queue.append(job)
        self._begin()

    def ended(self, timeout: float) -> list[Ended]:
        if not self._failed:
            wait(self._ears(), timeout)
        over, self._failed = self._failed, []
        ready = set(wait(self._ears(), 0))
        for sentinel, worker in list(self._running.items()):
            if worker.line in ready:
                over += self._hear(worker)
            if sentinel in ready and sentinel in self._running:
                over += self._reap(sentinel)
        self._begin()
        return over

    def _ears(self) -> list[Any]:
        """What becomes ready when something happens."""
        lines = [worker.line for worker in self._running.values() if worker.told is None]
        return [*self._running, *lines]

    def _begin(self) -> None:
        """Start what is queued, as far as there are free places."""
        while self._queue and self._free:
            job, place = self._queue.popleft(), self._free[0]
            log = log_of(job)
            before = size(log)
            try:
                worker = self._worker(place, job, log, before)
            except (OSError, EOFError) as error:
                self._failed.append(Ended(job.id, f"no process could be started ({error})", "OSError"))
                continue
            self._free.popleft()
            self._running[worker.process.sentinel] = worker
            with suppress(OSError):  # it has just died, and its sentinel will say so
                worker.line.send(job)

    def _worker(self, place: int, job: Job, log: Path, before: int) -> _Worker:
        """The process of that place, if there is one and it lives; else a new one. Raises OSError, EOFError."""
        if (worker := self._idle.pop(place, None)) is not None:
            if not wait([worker.process.sentinel], 0):
                return replace(worker, job=job, log=log, log_from=before, served=True)
            _collect(worker)
        line, end = self._context.Pipe()
        environment = {**os.environ, **self._places[place]}
        process = self._context.Process(target=serve, args=(end, environment, self._trials), name=f"place {place}")
        try:
            process.start()
        except (OSError, EOFError):
            line.close()
            raise
        finally:
            end.close()
        return _Worker(process, line, place, job, log, before)

    def _hear(self, worker: _Worker) -> list[Ended]:
        """What a worker says: that its job has ended well; of other ends its own tells."""
        try:
            answer: Answer = worker.line.recv()
        except (EOFError, OSError):  # it has died
            worker.told = _UNSAID
            return []
        if not answer.stays:
            worker.told = answer.ended
            return []
        del self._running[worker.process.sentinel]
        self._idle[worker.place] = worker
        self._free.append(worker.place)
        return [answer.ended]

    def _reap(self, sentinel: Any) -> list[Ended]:
        """How the job of a worker that has ended has ended; one that had not begun waits for another worker."""
        worker = self._running.pop(sentinel)
        self._free.append(worker.place)
        if worker.told is None:
            with suppress(EOFError, OSError):
                worker.told = worker.line.recv().ended if worker.line.poll() else None
        status = _collect(worker)
        log = tail(worker.log, worker.log_from)
        if worker.told is None or worker.told is _UNSAID:
            if worker.served and size(worker.log) == worker.log_from:
                self._queue.appendleft(worker.job)  # the process had died before, unnoticed
                return []
            reason, kind = without_a_word(status, log)
            return [Ended(worker.job.id, reason, kind, log)]
        return [replace(worker.told, log=log) if worker.told.reason else worker.told]


def _collect(worker: _Worker) -> int:
    """The status of a process that has ended."""
    worker.process.join()
    worker.line.close()
    status = worker.process.exitcode or 0
    worker.process.close()
    return status


def _signal(process: BaseProcess, kind: signal.Signals, whole_group: bool = False) -> None:
    if process.pid is None:
        return
    with suppress(ProcessLookupError, PermissionError):
        if whole_group and hasattr(os, "killpg"):
            with suppress(ProcessLookupError, PermissionError):  # no group yet
                os.killpg(process.pid, kind)
        os.kill(process.pid, kind)
