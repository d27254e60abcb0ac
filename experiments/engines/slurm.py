"""Trials as jobs of a Slurm cluster, by submitit: arrays of a limited width. Needs the extra `slurm`.

submitit pickles a call and its result into OUT/.submitit. Both are this project's own data on the grid's own disk,
and of plain kinds: `attempt` by its name, a text, a tuple of texts.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import astuple
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from bnonly.errors import BadInput
from experiments.engines import Ended, Job
from experiments.engines.process import TrialProcess, from_json, to_json, with_root
from experiments.engines.slurm_left import Jobs
from experiments.engines.slurm_queue import FORGOTTEN, OVER, states

LARGEST_ARRAY = 1000
"""Slurm's own default of MaxArraySize is 1001."""
GRACE = 60.0
"""Seconds for jobs to save themselves and end; Slurm itself kills after KillWait, 30 s by default."""
_LOG = 4096  # bytes of what submitit or Slurm wrote that are kept
_LOOK, _ASK = 0.5, 60.0  # seconds between looks at the disk, and between questions to Slurm
_EARLY = 60  # seconds by which Slurm may send a signal too early (its manual, of sbatch --signal)
_LATE = 15.0  # seconds by which a shared disk may show an answer later than Slurm says that the job is over
_STOPPED, _LOST = ("TIMEOUT", "DEADLINE", "PREEMPTED", "CANCELLED"), ("NODE_FAIL", "BOOT_FAIL", FORGOTTEN)
_ENDS = dict.fromkeys(_STOPPED, "stopped") | dict.fromkeys(_LOST, "lost")


class Slurm:
    """slots: trials at once, an array's limit; 64 unless given. What is submitted between two calls of `ended` is one
    array.

    threads: CPUs of a trial, of each of its devices. devices: GPUs that a trial takes whose training.device is cuda,
    or processes. gpus: how many it takes, whatever its training.device says. minutes: time limit of an attempt;
    `warning` seconds before it, a run is told to save itself and ends as "stopped". parameters: further ones of
    sbatch, as {"account": "vision", "mem": "8G"}. cluster: "local" runs jobs as processes of this machine, without
    Slurm. Raises BadInput.
    """

    def __init__(
        self,
        *,
        slots: int | None = None,
        threads: int = 1,
        devices: int = 1,
        per_gpu: int | None = None,
        gpus: int | Sequence[str] | None = None,
        minutes: int = 24 * 60,
        partition: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        warning: int = 90,
        cluster: Literal["slurm", "local"] = "slurm",
    ):
        if min(slots or 1, threads, devices, minutes, warning) < 1 or slots == 0:
            raise BadInput("slots, threads, devices, minutes and warning of engine slurm are counts: give 1 or more")
        if warning + _EARLY >= 60 * minutes:
            raise BadInput(
                f"with a time limit of {minutes} min and a warning {warning} s before it, which Slurm may give "
                f"{_EARLY} s too early, a run might be told to stop at once: give more minutes, or a smaller warning"
            )
        if per_gpu not in (None, 1):
            raise BadInput(
                "Slurm gives a job whole GPUs: leave --per-gpu out (a cluster that shares them has a --gres for it, "
                "to be given with --option parameters={gres: ...})"
            )
        self.slots, self._threads, self._devices, self._minutes, self._warning = (
            slots or 64, threads, devices, minutes, warning,
        )  # fmt: skip
        self._gpus = gpus if isinstance(gpus, int | None) else len(gpus)
        self._partition, self._parameters, self._cluster = partition, dict(parameters or {}), cluster
        self._collected: list[Job] = []
        self._under_way: dict[str, tuple[Job, Any]] = {}  # by submitit's number
        self._doubtful: dict[str, float] = {}  # since when Slurm says that a job is over whose answer is not here
        self._jobs: Jobs | None = None
        self._left: dict[str, str] = {}
        self._asked, self._refused_until = time.monotonic(), 0.0

    def __enter__(self) -> Slurm:
        if find_spec("submitit") is None:
            raise BadInput("engine slurm needs submitit: pip install 'bnonly[slurm]'")
        needed = ("sbatch", "srun", "squeue", "scancel") if self._cluster == "slurm" else ()
        if missing := [name for name in needed if shutil.which(name) is None]:
            raise BadInput(
                f"engine slurm needs {' and '.join(missing)}: start it on a machine that submits to a Slurm cluster, "
                "or use --engine local"
            )
        return self

    def __exit__(self, *exception: Any) -> None:
        self._collected.clear()
        self._cancel()
        until = time.monotonic() + GRACE
        while self._under_way and time.monotonic() < until:
            self._over(ask_after=_LOOK * 10)
            time.sleep(_LOOK)
        if self._jobs is not None:
            self._jobs.close()

    def has(self, job: Job) -> bool:
        if self._jobs is None and self._cluster == "slurm":
            self._jobs = Jobs(_folder(job))
            self._left = self._jobs.left()
        return bool(self._left) and self._what(job) in self._left

    def submit(self, job: Job) -> None:
        self._collected.append(job)

    def ended(self, timeout: float) -> list[Ended]:
        until = time.monotonic() + timeout
        self._flush()
        while not (over := self._over(_ASK)) and (left := until - time.monotonic()) > 0:
            time.sleep(min(_LOOK, left))
        return over

    def _over(self, ask_after: float) -> list[Ended]:
        # A job that wrote its answer is known by it; to learn of one that died, Slurm is asked, for all at once.
        over = []
        for folder in {task.paths.folder for _, task in self._under_way.values()}:
            with suppress(OSError):  # not the owner's; a network disk then shows answers some seconds later
                folder.chmod(folder.stat().st_mode)  # a change makes it forget what it remembers of the folder
        for number, (job, task) in list(self._under_way.items()):
            if task.paths.result_pickle.exists():
                over.append(self._done(number, _answer(job, task)))
            elif self._cluster == "local" and task.done():
                over.append(self._done(number, _without_answer(job, task)))
        if self._cluster == "slurm" and self._under_way and time.monotonic() - self._asked > ask_after:
            self._asked = time.monotonic()
            for number, state in (states(self._under_way) or {}).items():
                job, task = self._under_way[number]
                if state in (*OVER, FORGOTTEN) and not self._may_come(number, task, state):
                    over.append(self._done(number, _without_answer(job, task, state)))
        return over

    def _may_come(self, number: str, task: Any, state: str) -> bool:
        """Whether there is an answer by now, or a shared disk may yet show one."""
        since = self._doubtful.setdefault(number, time.monotonic())
        late = state in ("COMPLETED", FORGOTTEN) and time.monotonic() - since < _LATE
        return late or task.paths.result_pickle.exists()

    def _done(self, number: str, ended: Ended) -> Ended:
        del self._under_way[number]
        self._doubtful.pop(number, None)
        return ended

    def _flush(self) -> None:
        """Submit what was collected, as far as the limit allows: arrays do not know of one another."""
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        self._take_over()
        free = self.slots - len(self._under_way)
        if not self._collected or free <= 0 or time.monotonic() < self._refused_until:
            return
        count = LARGEST_ARRAY if self._cluster == "slurm" else free
        batch = self._collected[:count]
        try:
            with _importable():
                executor = self._executor(batch, free)
                tasks = executor.map_array(attempt, *zip(*map(self._call, batch), strict=True))
        except (FailedJobError, FailedSubmissionError) as error:
            if not self._under_way:
                raise BadInput(
                    f"Slurm refuses the jobs ({' '.join(str(error).split())}): change partition, time limit or "
                    "parameters"
                ) from error
            self._refused_until = time.monotonic() + _ASK  # a limit on submitted jobs, perhaps; some will end
            return
        del self._collected[:count]
        self._under_way |= {task.job_id: (job, task) for job, task in zip(batch, tasks, strict=True)}
        self._write()

    def _take_over(self) -> None:
        """Of what was collected, jobs that a driver left under way when it was killed."""
        from submitit import SlurmJob

        taken = [job for job in self._collected if self.has(job)]
        for job in taken:
            number = self._left.pop(self._what(job))
            self._under_way[number] = job, SlurmJob(_folder(job), number)
            self._collected.remove(job)
        if taken:
            self._write()

    def _write(self) -> None:
        if self._jobs is not None:
            self._jobs.write({number: self._what(job) for number, (job, _) in self._under_way.items()})

    def _what(self, job: Job) -> str:
        return json.dumps(self._call(job))

    def _call(self, job: Job) -> tuple[str, int, str]:
        return to_json(job), self._threads, str(Path.cwd())

    def _executor(self, batch: Sequence[Job], limit: int) -> Any:
        import submitit

        folder = _folder(batch[0])
        if self._cluster == "local":
            local = submitit.LocalExecutor(folder)
            local.update_parameters(timeout_min=self._minutes, signal_delay_s=self._warning)
            return local
        values: dict[str, Any] = {
            "job_name": "bnonly",
            "time": self._minutes,
            "signal_delay_s": self._warning,
            "cpus_per_task": (cores := self._threads * self._devices),
            "srun_args": [f"--cpus-per-task={cores}"],  # since 22.05 srun does not take it from sbatch
            "array_parallelism": limit,
            # Else Slurm itself runs the jobs of a node that failed again, beside those that the driver begins.
            "additional_parameters": {"no_requeue": True} | self._parameters,
        }
        wants = any(str(job.config["training"]["device"]).startswith("cuda") for job in batch)
        if gpus := self._gpus if self._gpus is not None else self._devices * wants:
            values["gpus_per_node"] = gpus
        if self._partition:
            values["partition"] = self._partition
        slurm = submitit.SlurmExecutor(folder)
        slurm.update_parameters(**values)
        return slurm

    def _cancel(self) -> None:
        if self._cluster == "slurm" and self._under_way:
            subprocess.run(["scancel", *self._under_way], stderr=subprocess.DEVNULL)
        for number, (_, task) in self._under_way.items() if self._cluster == "local" else ():
            if not task.done():
                os.kill(int(number), signal.SIGTERM)  # submitit's own way to cancel kills a second later


def attempt(text: str, threads: int, cwd: str) -> tuple[str, str | None, str, str, float]:
    """One attempt at a job, on the node; an Ended's fields."""
    process = TrialProcess(threads, cwd)
    for kind in (signal.SIGTERM, signal.SIGUSR2):  # the latter comes before the time limit and before a preemption
        signal.signal(kind, lambda number, frame: process.stop())
    try:
        ended = process.perform(from_json(text))
    finally:
        process.close()
    return astuple(ended)


def _folder(job: Job) -> Path:
    return Path(job.config["out"]).absolute() / ".submitit"


def _answer(job: Job, task: Any) -> Ended:
    try:
        return Ended(*task.result())
    except Exception as error:  # submitit's, or one of the node: `attempt` itself raises none
        said = str(error).strip()[-_LOG:]
        return Ended(job.id, f"job {task.job_id} failed: {_last(said)}", "killed", said)


def _without_answer(job: Job, task: Any, state: str = "") -> Ended:
    """By Slurm's word for the end, and what it or submitit wrote last."""
    said = ""
    with suppress(OSError):
        said = task.paths.stderr.read_bytes()[-_LOG:].decode(errors="replace").strip()
    how = f"ended early ({state})" if state in _ENDS or state == "OUT_OF_MEMORY" else "ended early"
    if state == FORGOTTEN:
        how = "is not known to Slurm any more"
    return Ended(job.id, f"job {task.job_id} {how}: {_last(said)}", _ENDS.get(state, "killed"), said)


def _last(said: str) -> str:
    return said.splitlines()[-1].strip() if said else "it said nothing"


@contextmanager
def _importable() -> Iterator[None]:
    """Jobs take over this environment, and must find this project in it."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = with_root()
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
