"""Trials on a Ray cluster, or on one that Ray starts on this machine. Needs the extra `ray`.

Each slot is an actor, which keeps its CPUs and its share of a GPU as long as the grid runs, with one process for its
trials: an actor's method cannot be interrupted, a process can. Ray itself retries nothing, so that a grid's count of
attempts means the same in every engine.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from bnonly.data.cores import usable_cores
from bnonly.errors import BadInput
from experiments.engines import Ended, Job
from experiments.engines.process import TrialProcess, with_root

GRACE = 30.0
"""Seconds for runs to save themselves and end."""
_STORE = 128 * 2**20  # bytes; nothing large passes through Ray
_PATIENCE = 3  # seats lost one after another before any was ready, until a job pays for it
_PART = 10_000  # Ray counts GPUs in parts of this size


class Seat(TrialProcess):
    """What an actor is: a process for trials, and the node it is on."""

    def node(self) -> str:
        return import_module("ray").get_runtime_context().get_node_id()


class Ray:
    """slots: trials at once, unless given as many as the cluster has room for. threads: CPUs of a trial, of each of
    its devices; devices: GPUs that a trial takes, or processes where it takes none.

    per_gpu: trials of one device that share a GPU, 1 unless given. gpus: 0 or an empty list keeps trials on CPUs; for
    a cluster started here, how many. address: of a running cluster; unless given RAY_ADDRESS, and without that one is
    started. Raises BadInput.
    """

    slots: int

    def __init__(
        self,
        *,
        slots: int | None = None,
        threads: int = 1,
        devices: int = 1,
        per_gpu: int | None = None,
        gpus: int | Sequence[str] | None = None,
        address: str | None = None,
    ):
        if min(slots or 1, threads, devices, per_gpu or 1) < 1 or 0 in (slots, per_gpu):
            raise BadInput("slots, threads, devices and per_gpu of engine ray are counts: give 1 or more")
        if devices > 1 and per_gpu not in (None, 1):
            raise BadInput(f"trials of {devices} devices take whole GPUs: leave --per-gpu out")
        self._wanted, self._threads, self._cores = slots, threads, threads * devices
        self._share = devices / (per_gpu or 1)  # of GPUs, for a trial
        self._gpus = gpus if isinstance(gpus, int | None) else len(gpus)
        self._address = address or os.environ.get("RAY_ADDRESS") or "local"
        self._queue: list[Job] = []
        self._idle: list[Any] = []
        self._unready = 0  # seats lost since one was ready
        self._seats: dict[Any, str | None] = {}  # actor -> its node, None while Ray looks for one
        self._calls: dict[Any, tuple[Any, Job | None]] = {}  # Ray's reference -> actor, and the job if there is one

    def __enter__(self) -> Ray:
        try:
            ray = self._ray = import_module("ray")  # not by a statement, which type checkers without the extra refuse
        except ImportError as error:
            raise BadInput("engine ray needs ray: pip install 'bnonly[ray]'") from error
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # else Ray reports home
        own: dict[str, Any] = {}
        if self._address == "local":
            cores = self._cores * self._wanted if self._wanted else usable_cores()
            own = {"num_cpus": cores, "include_dashboard": False, "object_store_memory": _STORE}
            own |= {} if self._gpus is None else {"num_gpus": self._gpus}
        try:
            ray.init(
                address=self._address,
                runtime_env={"env_vars": {"PYTHONPATH": with_root()}},  # a checkout on the shared disk; no copies
                log_to_driver=False,
                logging_level=logging.ERROR,
                **own,
            )
        except Exception as error:  # which Ray raises as such where a node takes too long to start
            what = "Ray did not start here" if self._address == "local" else f"no Ray cluster at {self._address}"
            raise BadInput(f"{what} ({_sentence(error)}): see `ray status`, or use --engine local") from error
        try:
            nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
            if self._gpus is None and not any(node.get("GPU") for node in nodes):
                self._gpus = 0
            self.slots = self._wanted or self._room(nodes)
        except BaseException:
            ray.shutdown()
            raise
        return self

    def __exit__(self, *exception: Any) -> None:
        self._queue.clear()
        performing = [call for call, (_, job) in self._calls.items() if job is not None]
        for call in performing:
            self._calls[call][0].stop.remote()
        if performing:
            self._ray.wait(performing, num_returns=len(performing), timeout=GRACE)
        for seat in self._seats:
            self._ray.kill(seat)
        self._ray.shutdown()

    def has(self, job: Job) -> bool:
        return False  # trials end with their driver

    def submit(self, job: Job) -> None:
        self._queue.append(job)

    def ended(self, timeout: float) -> list[Ended]:
        until = time.monotonic() + timeout
        while True:
            self._deal()
            left = max(0.0, until - time.monotonic())
            if not self._calls:
                time.sleep(left)
                return []
            ready, _ = self._ray.wait(list(self._calls), num_returns=1, timeout=left)
            if ready:
                ready, _ = self._ray.wait(list(self._calls), num_returns=len(self._calls), timeout=0)
            over = [ended for call in ready if (ended := self._answered(call)) is not None]
            if over or time.monotonic() >= until:
                self._deal()
                return over

    def _deal(self) -> None:
        """Give jobs to idle seats, and ask Ray for more seats where jobs are left and slots are free."""
        while self._queue and self._idle:
            seat, job = self._idle.pop(), self._queue.pop(0)
            self._calls[seat.perform.remote(job)] = (seat, job)
        waiting = sum(node is None for node in self._seats.values())
        for _ in range(min(len(self._queue) - waiting, self.slots - len(self._seats))):
            gpus = self._share if self._share >= 1 else int(_PART * self._share) / _PART
            actor = self._ray.remote(Seat).options(
                num_cpus=self._cores,
                num_gpus=gpus if self._gpus != 0 else 0,
                max_concurrency=2,  # to be stopped while it performs
                max_restarts=0,
                max_task_retries=0,
            )
            hidden = {"CUDA_VISIBLE_DEVICES": ""} if self._gpus == 0 else {}
            seat = actor.remote(self._threads, str(Path.cwd()), hidden)
            self._seats[seat] = None
            self._calls[seat.node.remote()] = (seat, None)

    def _answered(self, call: Any) -> Ended | None:
        """What a finished call means: a seat that is ready, or a job that is over, its seat perhaps with it."""
        seat, job = self._calls.pop(call)
        try:
            answer = self._ray.get(call)
        except self._ray.exceptions.RayError as error:
            return self._lost(seat, job, error)
        self._idle.append(seat)
        if job is None:
            self._unready = 0
            self._seats[seat] = answer
            return None
        return answer

    def _lost(self, seat: Any, job: Job | None, error: Exception) -> Ended | None:
        """A seat has gone: with its node, for want of memory, or for another reason that Ray names."""
        node = self._seats.pop(seat)
        self._ray.kill(seat)  # should it come back, nobody waits for it
        if job is None:  # it could not even begin: its node was going, or something is wrong that a job must tell
            self._unready += 1
            if self._unready % _PATIENCE or not self._queue:
                return None
            job = self._queue.pop(0)
        where = f"on node {node[:12]}" if node else "before it was ready"
        # A trial's own process may die and its actor will say so; whatever took the actor, the trial is lost with it.
        kind = "killed" if isinstance(error, self._ray.exceptions.OutOfMemoryError) else "lost"
        return Ended(job.id, f"its Ray actor was lost {where} ({_sentence(error)})", kind, str(error))

    def _room(self, nodes: Sequence[Mapping[str, float]]) -> int:
        """Trials at once that nodes of these resources have room for. Raises BadInput for none."""
        rooms = [node.get("CPU", 0) // self._cores for node in nodes]
        if self._gpus != 0:
            rooms = [min(room, node.get("GPU", 0) // self._share) for room, node in zip(rooms, nodes, strict=True)]
        if not (room := int(sum(rooms))):
            share = "" if self._gpus == 0 else f" and {self._share:.3g} GPUs"
            raise BadInput(
                f"no node of the Ray cluster has {self._cores} CPUs{share} for a trial: lower training.threads or "
                "training.devices, or give --slots if nodes are yet to come"
            )
        return room


def _sentence(error: Exception) -> str:
    """The first line of Ray's message."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
