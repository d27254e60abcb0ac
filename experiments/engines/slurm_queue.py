"""What Slurm says of jobs: squeue, and of those that it has forgotten sacct, where accounting is kept."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Sequence

OVER = frozenset(
    (
        "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED",
        "REVOKED", "TIMEOUT",
    )
)  # fmt: skip
"""States that no job leaves again, unless it is requeued; the rest are of jobs that wait, run or end just now."""
FORGOTTEN = "FORGOTTEN"
"""Of a job that neither squeue nor sacct knows (any more)."""
_PATIENCE = 60.0  # seconds for an answer; a controller that is away makes its commands wait by themselves


def states(numbers: Iterable[str]) -> dict[str, str] | None:
    """Each job's state in Slurm's words, or FORGOTTEN; None where its controller does not answer.

    numbers: of jobs of this user, those of arrays as 7_3. The controller forgets a job MinJobAge seconds after its
    end (300 unless configured otherwise).
    """
    command = ["squeue", f"--user={os.getuid()}", "--states=all", "--array", "--noheader", "--format=%i|%T"]
    if (known := _table(command)) is None:
        return None
    numbers = list(numbers)
    if unknown := [number for number in numbers if number not in known]:
        jobs = ",".join(unknown)
        command = ["sacct", "--allocations", "--noheader", "--parsable2", "--format=JobID,State", f"--jobs={jobs}"]
        kept = _table(command) or {}
        known |= {number: kept[number] for number in unknown if kept.get(number) in OVER}
    return {number: known.get(number, FORGOTTEN) for number in numbers}


def _table(command: Sequence[str]) -> dict[str, str] | None:
    """Lines of number|state; None where the command failed."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("SQUEUE_", "SACCT_"))}
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=_PATIENCE)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode:
        return None
    rows = (line.partition("|") for line in done.stdout.splitlines() if "|" in line)
    return {number.strip(): (state.split() or [""])[0].rstrip("+") for number, _, state in rows}  # CANCELLED by 1000
