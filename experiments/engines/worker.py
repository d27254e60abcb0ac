"""What the local engine's processes do: trials, one after another, each of which finds the process as the first did.

Nothing of a trial stays but what makes the next one faster: what is imported, the data set, torch's own caches. A
process in which a trial failed, or left another process or too much memory behind, serves no other.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from bnonly.data.kept import keep_last
from experiments.engines import Ended, Job
from experiments.engines.ends import log_of, write_into
from experiments.memory import resident

PATIENCE = 60.0  # seconds for a trial to save itself and end; fit takes ten at most, wandb may take longer
_FREE, _MUCH = 1 << 28, 1 << 30  # bytes more than at first: from here on freed memory is given back; too much


@dataclass(frozen=True)
class Answer:
    """How a trial ended, and whether its process takes another."""

    ended: Ended
    stays: bool


def serve(line: Connection, environment: Mapping[str, str], trials: int) -> None:
    """Perform jobs that come along the line, an Answer each, until None comes or it breaks; at most `trials`."""
    if hasattr(os, "setsid"):
        os.setsid()  # Ctrl-C in the driver's terminal is for the driver, which tells us
    threading.Thread(target=_end_with_driver, daemon=True).start()
    gc.freeze()  # torch alone makes half a million objects, which no collection need look at again
    place, keeps = _Place(environment), trials > 1
    keep_last(keeps)
    for left in reversed(range(trials)):
        place.prepare()
        if (job := _next(line)) is None:
            return
        ended = _performed(job)
        stays = ended.reason is None and left > 0 and place.tidied()
        with suppress(OSError):  # the driver has gone
            line.send(Answer(ended, stays))
        if not stays:
            return


def _next(line: Connection) -> Job | None:
    try:
        return line.recv()
    except (EOFError, OSError):  # the driver has gone
        return None


def _performed(job: Job) -> Ended:
    write_into(log_of(job))
    from experiments.work import attempt

    ended = attempt(job)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # on a full disk
            stream.flush()
    return ended


class _Place:
    """What a process is to a trial, as it was at first."""

    def __init__(self, environment: Mapping[str, str]):
        self._environment, self._folder = dict(environment), Path()
        with suppress(OSError):  # it was deleted, which is nothing to a trial
            self._folder = Path.cwd()
        self._torch: Any = None  # threads and state of the random numbers
        self._memory = resident("VmRSS") or 0

    def prepare(self) -> None:
        """Before a trial: environment, folder, signals, torch's threads and random numbers as at first; no log."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for number in (1, 2):
            os.dup2(nowhere, number)
        os.close(nowhere)
        os.environ.clear()
        os.environ.update(self._environment)
        with suppress(OSError):
            os.chdir(self._folder)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if (torch := sys.modules.get("torch")) is not None:
            if self._torch is None:
                self._torch = torch.get_num_threads(), torch.get_rng_state()
            threads, random = self._torch
            if torch.get_num_threads() != threads:
                torch.set_num_threads(threads)
            torch.set_rng_state(random)

    def tidied(self) -> bool:
        """After a trial: give memory back, and say whether the next one finds the process as this one did."""
        gc.collect()
        if (torch := sys.modules.get("torch")) is not None and torch.cuda.is_initialized():
            torch.cuda.empty_cache()
        if (resident("VmRSS") or 0) - self._memory > _FREE:
            from bnonly.training.allocator import give_back_freed_memory

            give_back_freed_memory()
        alone = all(thread.daemon or thread is threading.main_thread() for thread in threading.enumerate())
        return alone and not _has_children() and (resident("VmRSS") or 0) - self._memory < _MUCH


def _has_children() -> bool:
    """Whether a process that was started here has not been waited for."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except (ChildProcessError, AttributeError):  # none, or Windows, where nobody can say
        return False
    return True


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
