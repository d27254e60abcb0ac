"""A trial's log, and what the end of a process means that did not tell."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

from bnonly.errors import Interrupted
from bnonly.files import now
from bnonly.runs import RunFolder
from experiments.engines import Job

_LOG_LINES, _LOG_BYTES = 20, 4096  # of a log's end that is kept as the reason's company


def log_of(job: Job) -> Path:
    return RunFolder(Path(job.config["out"]) / job.config["experiment"] / job.id).log


def opened(log: Path) -> int:
    """The log, to append to, as a file's number; nowhere if that cannot be."""
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        return os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    except OSError:
        return os.open(os.devnull, os.O_WRONLY)


def write_into(log: Path) -> None:
    """This process's standard output and error go to the trial's log."""
    file = opened(log)
    sys.stdout.flush()
    for number in (1, 2):
        os.dup2(file, number)
    os.close(file)
    began = now()
    with suppress(OSError):  # a full disk; the run itself will say so
        print(f"--- process {os.getpid()}, {began}", file=sys.stderr, flush=True)
        faulthandler.enable()


def size(log: Path) -> int:
    """Bytes there are, which earlier attempts wrote."""
    return log.stat().st_size if log.exists() else 0


def tail(log: Path, start: int) -> str:
    """The last lines of a log from `start` on."""
    try:
        with log.open("rb") as file:
            file.seek(max(start, os.fstat(file.fileno()).st_size - _LOG_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    return "\n".join(lines[-_LOG_LINES:])


def without_a_word(status: int, log: str) -> tuple[str, str]:
    """Reason and kind of an end that was not told of. status: as subprocess has it, a signal's below 0."""
    last = log.splitlines()[-1] if log else ""
    if status == Interrupted.status:  # the rescue of a run that was told to stop in a long step
        return last.removeprefix("bnonly: ") or "stopped", "stopped"
    if status >= 0:
        said = last.removeprefix("bnonly: ") if last.startswith("bnonly: ") else ""
        return said or f"its process ended with status {status} and without a word", "lost"
    with suppress(ValueError):
        name = signal.Signals(-status).name
        why = {"SIGKILL": " (by hand, or by the system for want of memory)", "SIGTERM": " before it could save"}
        return f"its process was killed by {name}{why.get(name, '')}", "killed"
    return f"its process was killed by signal {-status}", "killed"
