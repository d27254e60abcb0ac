"""This process's memory, as Linux counts it."""

from __future__ import annotations

from pathlib import Path

_STATUS = Path("/proc/self/status")


def resident(field: str) -> int | None:
    """Bytes of a field of /proc/self/status: VmRSS, resident now, or VmHWM, at most so far. None on other systems."""
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return None
    found = next((int(line.split()[1]) for line in lines if line.startswith(f"{field}:")), None)
    return None if found is None else 1024 * found
