"""Where a grid's trials run: on this machine's cores or GPUs, on Ray, on Slurm. Engines are told trials and say which
have ended; what came of them stands in the runs' folders, so every engine needs a disk that all its workers share.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

from bnonly.errors import BadInput

ENGINES = {
    "local": "experiments.engines.local:Local",
    "ray": "experiments.engines.ray:Ray",
    "slurm": "experiments.engines.slurm:Slurm",
}


@dataclass(frozen=True)
class Job:
    """One attempt at a trial, as plain values: what a process elsewhere needs to perform it.

    config: the run's, as RunConfig.plain() gives it. stages: {"task", "options"} each.
    """

    id: str
    config: Mapping[str, Any]
    stages: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Ended:
    """An attempt is over: `reason` is None where the process ended well, else one sentence, with what `kind` of end
    (an error's class name, or "killed", "lost", "stopped") and the last lines it said. seconds: spent in its stages,
    as far as the process could tell.
    """

    id: str
    reason: str | None = None
    kind: str = ""
    log: str = ""
    seconds: float = 0.0


class Engine(Protocol):
    """Use as a context manager: leaving it stops what still runs, with SIGTERM so that runs save themselves."""

    slots: int
    """Trials at once."""

    def __enter__(self) -> Engine: ...

    def __exit__(self, *exception: Any) -> None: ...

    def has(self, job: Job) -> bool:
        """Whether a driver that was killed left the job under way; `submit` then takes that one over."""
        ...

    def submit(self, job: Job) -> None:
        """Take one more job; it begins when a slot is free."""
        ...

    def ended(self, timeout: float) -> list[Ended]:
        """What ended since the last call; waits up to `timeout` seconds for the first one."""
        ...


def open_engine(name: str, **options: Any) -> Engine:
    """The engine of that name, made with these options. Raises BadInput for an unknown engine or option."""
    if name not in ENGINES:
        raise BadInput(f"unknown engine {name!r}: there are {', '.join(ENGINES)}")
    module, _, kind = ENGINES[name].partition(":")
    make = getattr(import_module(module), kind)
    try:
        return make(**options)
    except TypeError as error:
        if "unexpected keyword argument" not in str(error):
            raise
        raise BadInput(f"engine {name} has no such option ({str(error).rpartition(' ')[2]})") from None
