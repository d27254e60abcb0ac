"""What drivers that were killed left in Slurm's queue, so that the next one takes it over, where it stands.

Each driver has a file beside submitit's, by a name of its own: its jobs by their numbers. It is locked while the
driver lives, also for drivers on other machines.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from bnonly.errors import BnonlyError
from bnonly.files import read_object, write_atomically
from bnonly.locking import FolderLock, in_use
from experiments.engines.slurm_queue import FORGOTTEN, OVER, states


class Jobs:
    """The file of a driver; it may fail to be written, upon which its jobs are only not taken over."""

    def __init__(self, folder: Path):
        self._folder, self._name = folder, f"driver-{secrets.token_hex(4)}"
        self._lock = FolderLock(folder, lambda sentence: None, _of(self._name))
        with suppress(BnonlyError, OSError):
            self._lock.acquire()

    def write(self, jobs: Mapping[str, str]) -> None:
        """jobs: what each does, as text, by their numbers."""
        with suppress(BnonlyError, OSError):
            write_atomically(self._folder / f"{self._name}.json", json.dumps(dict(jobs)).encode())

    def left(self) -> dict[str, str]:
        """Numbers of jobs that wait or run for a driver that is no more, by what they do. Ended ones' files go."""
        dead = {
            path: _read(path)
            for path in self._folder.glob("driver-*.json")
            if path.stem != self._name and not in_use(self._folder, _of(path.stem))
        }
        numbers = [number for jobs in dead.values() for number in jobs]
        if not dead or (known := states(numbers) if numbers else {}) is None:
            return {}
        alive = {number for number, state in known.items() if state not in (*OVER, FORGOTTEN)}
        for path, jobs in dead.items():
            if not alive & jobs.keys():
                self._remove(path.stem)
        return {what: number for jobs in dead.values() for number, what in jobs.items() if number in alive}

    def close(self) -> None:
        """After its last job has ended."""
        self._lock.release()
        self._remove(self._name)

    def _remove(self, name: str) -> None:
        for path in (f"{name}.json", f".{_of(name)}holder", f".{_of(name)}lock"):
            with suppress(OSError):
                (self._folder / path).unlink(missing_ok=True)


def _of(name: str) -> str:
    """Of a folder's several locks, the driver's."""
    return f"{name}."


def _read(path: Path) -> dict[str, str]:
    """Empty for a file that is gone or damaged."""
    return {str(number): str(what) for number, what in (read_object(path) or {}).items()}
