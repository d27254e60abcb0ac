"""This machine's cores or GPUs: each trial is a process of its own, forked from a server that has torch loaded.

A process a trial, and not a pool: a crash, a kill or a memory leak ends with the trial, the environment (which GPU)
can differ, and the server's fork costs a fraction of a second. The driver itself imports no torch and touches no GPU.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from bnonly.data.cores import usable_cores
from bnonly.errors import BadInput
from experiments.engines import Ended, Job
from experiments.engines.ends import log_of, size, tail, without_a_word, write_into
from experiments.engines.gpus import visible_gpus

PRELOAD = (
    "torch",
    "lightning",
    "sklearn.datasets",
    "experiments.work",
    "experiments.tasks",
    "bnonly.training.fit",
    "bnonly.training.tracking",
)
PATIENCE = 60.0  # seconds for a trial to save itself and end; fit takes ten at most, wandb may take longer


@dataclass
class _Running:
    job: Job
    process: BaseProcess
    answer: Connection
    place: int
    log: Path
    log_from: int  # bytes that earlier attempts had written


class Local:
    """Trials at once on this machine.

    slots: how many, or None for as many as cores / (threads * devices), on GPUs per_gpu on each. threads: of a trial.
    devices: GPUs, or processes on the CPU, that one trial takes. gpus: what CUDA_VISIBLE_DEVICES calls those to use;
    none: the CPU's cores. Raises BadInput where a trial does not fit.
    """

    def __init__(
        self,
        *,
        slots: int | None = None,
        threads: int = 1,
        devices: int = 1,
        per_gpu: int | None = None,
        gpus: Sequence[str] | None = None,
    ):
        if (slots is not None and slots < 1) or (per_gpu is not None and per_gpu < 1):
            raise BadInput("--slots and --per-gpu count trials at once: give 1 or more")
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
        self._running: dict[int, _Running] = {}  # by sentinel
        self._failed: list[Ended] = []  # that could not be started
        # Windows has no fork; there each trial starts Python and imports torch on its own.
        kinds = multiprocessing.get_all_start_methods()
        self._context: Any = multiprocessing.get_context("forkserver" if "forkserver" in kinds else "spawn")

    def __enter__(self) -> Local:
        if hasattr(self._context, "set_forkserver_preload"):
            self._context.set_forkserver_preload(list(PRELOAD))
        return self

    def __exit__(self, *exception: Any) -> None:
        """Stop what runs: SIGTERM, and after `PATIENCE` seconds, or on Ctrl-C meanwhile, SIGKILL."""
        self._queue.clear()
        try:
            for running in self._running.values():
                _signal(running.process, signal.SIGTERM)
            until = time.monotonic() + PATIENCE
            while self._running and (left := until - time.monotonic()) > 0:
                for sentinel in wait(list(self._running), min(1.0, left)):
                    self._reap(sentinel)
        finally:
            for running in self._running.values():
                _signal(running.process, signal.SIGKILL, whole_group=True)
            for sentinel in list(self._running):
                self._reap(sentinel)

    def submit(self, job: Job) -> None:
        self._queue.append(job)
        self._begin()

    def ended(self, timeout: float) -> list[Ended]:
        if not self._failed:
            wait(list(self._running), timeout)
        over, self._failed = self._failed, []
        over += [self._reap(sentinel) for sentinel in wait(list(self._running), 0)]
        self._begin()
        return over

    def _begin(self) -> None:
        """Start what is queued, as far as there are free places."""
        while self._queue and self._free:
            job = self._queue.popleft()
            log = log_of(job)
            before = size(log)
            answer, tell = self._context.Pipe(duplex=False)
            environment = {**os.environ, **self._places[self._free[0]]}
            process = self._context.Process(target=_child, args=(job, log, environment, tell), name=f"trial {job.id}")
            try:
                process.start()
            except (OSError, EOFError) as error:
                self._failed.append(Ended(job.id, f"no process could be started ({error})", "OSError"))
                continue
            finally:
                tell.close()
            place = self._free.popleft()
            self._running[process.sentinel] = _Running(job, process, answer, place, log, before)

    def _reap(self, sentinel: Any) -> Ended:
        running = self._running.pop(sentinel)
        running.process.join()
        self._free.append(running.place)
        log = tail(running.log, running.log_from)
        said = None
        with suppress(EOFError, OSError):
            said = running.answer.recv() if running.answer.poll() else None
        running.answer.close()
        status = running.process.exitcode or 0
        running.process.close()
        if said is not None:
            reason, kind = said
            return Ended(running.job.id, reason, kind, log if reason else "")
        reason, kind = without_a_word(status, log)
        return Ended(running.job.id, reason, kind, log)


def _signal(process: BaseProcess, kind: signal.Signals, whole_group: bool = False) -> None:
    if process.pid is None:
        return
    with suppress(ProcessLookupError, PermissionError):
        if whole_group and hasattr(os, "killpg"):
            with suppress(ProcessLookupError, PermissionError):  # no group yet
                os.killpg(process.pid, kind)
        os.kill(process.pid, kind)


# What follows happens in the trial's process.


def _child(job: Job, log: Path, environment: Mapping[str, str], tell: Connection) -> None:
    if hasattr(os, "setsid"):
        os.setsid()  # Ctrl-C in the driver's terminal is for the driver, which tells us
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_driver, daemon=True).start()
    os.environ.clear()
    os.environ.update(environment)
    write_into(log)
    from experiments.work import attempt

    said = attempt(job)
    with suppress(OSError):  # the driver has gone
        tell.send((said.reason, said.kind))


def _end_with_driver() -> None:
    """Whatever kills the driver: nothing trains on unseen, so the run saves itself, and the next driver goes on."""
    driver = multiprocessing.parent_process()
    assert driver is not None
    driver.join()  # until the pipe to it breaks
    with suppress(OSError):
        print("bnonly: the driver has gone", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(PATIENCE)
    os.kill(os.getpid(), signal.SIGKILL)
