"""One process at a time in a folder, on one machine or on several that share a disk.

On one machine the kernel's file lock decides, and is free when its holder dies. Some network file systems keep no
such locks between machines, so the holder also touches a file every few seconds: another machine that sees it touched
stays away. No clock is compared with another.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from bnonly.errors import BadInput, InUse, RunRefused
from bnonly.files import write_atomically

BEAT = 10.0  # seconds between two touches
DEAD = 35.0  # seconds without one after which another machine's holder is taken for dead


class FolderLock:
    """The right to write into a folder, from `acquire` to `release`.

    say: told where a wait is needed. what: of a folder's several locks, which know nothing of each other.
    """

    def __init__(self, folder: Path, say: Callable[[str], None], what: str = ""):
        from filelock import FileLock

        self._folder, self._say = folder, say
        self._holder, lock = _files(folder, what)
        self._file = FileLock(lock)
        self._own = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "machine": _machine(),
            "token": secrets.token_hex(8),
        }
        self._over = threading.Event()

    def acquire(self) -> None:
        """Raises InUse, naming process and host, where another has the folder; BadInput where nobody can."""
        from filelock import Timeout

        locks = True
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            # Not at once: whoever asks `in_use` has the lock for an instant.
            self._file.acquire(timeout=0.1, poll_interval=0.02)
        except Timeout:
            raise InUse(f"{self._folder} is in use by {self._named()}: wait for it, or stop it first") from None
        except NotImplementedError:  # a file system without locks; the touches are all there is
            locks = False
        except OSError as error:
            raise BadInput(f"{self._folder} cannot be written ({error.strerror}): choose another --out") from error
        try:
            there = self._surely_read()
            if there and not (locks and there.get("machine") == self._own["machine"]):
                self._watch()
            write_atomically(self._holder, json.dumps(self._own).encode())
            if there:
                self.check()
        except BaseException:
            self._file.release()
            raise
        threading.Thread(target=self._beat, daemon=True).start()

    def release(self) -> None:
        self._over.set()
        with suppress(OSError):  # on a disk gone bad; the kernel's lock is what counts
            if self._read() == self._own:
                self._holder.unlink()
        self._file.release()

    def check(self) -> None:
        """Raise where the folder has vanished or been taken over since, so that nothing is written into it."""
        there = self._surely_read()
        if there == self._own:
            return
        if there is None:
            raise BadInput(
                f"{self._folder} has vanished under the run (moved or deleted?): put it back and give the same "
                "command again to go on from what was saved in it"
            )
        raise RunRefused(f"{self._folder} was taken over by {self._named()} while this process was not heard of")

    def _watch(self) -> None:
        """Return when the holder has not touched its file for long enough. Raises InUse when it does."""
        self._say(f"{self._folder} was last used by {self._named()}: watching for {DEAD:.0f} s whether it still is")
        before, until = self._touched(), time.monotonic() + DEAD
        while time.monotonic() < until:
            time.sleep(min(1.0, DEAD / 10))
            if self._touched() not in (before, 0):
                raise InUse(f"{self._folder} is in use by {self._named()}: wait for it, or stop it first")

    def _beat(self) -> None:
        while not self._over.wait(BEAT):
            with suppress(OSError):  # a file server may be away for a while
                if self._read() != self._own:
                    return  # check() says so before the next write
                os.utime(self._holder)

    def _touched(self) -> int:
        try:
            with self._holder.open("rb") as file:  # opened, since network file systems remember a bare stat
                return os.fstat(file.fileno()).st_mtime_ns
        except OSError:
            return 0

    def _read(self) -> dict[str, object] | None:
        """Who holds the folder: None for nobody, empty if that is not to be understood. Raises OSError."""
        try:
            return dict(json.loads(self._holder.read_bytes()))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError):
            return {}

    def _surely_read(self) -> dict[str, object] | None:
        """`_read`, patient with a file server that is away; raises BadInput where it stays away."""
        for patience in (1, 2, 4, 0):
            try:
                return self._read()
            except OSError as error:
                failure = error
            time.sleep(patience * BEAT / 10)
        raise BadInput(f"{self._holder} cannot be read ({failure.strerror}): is the disk in order?") from failure

    def _named(self) -> str:
        with suppress(OSError):
            there = self._read() or {}
            if {"pid", "host"} <= set(there):
                return f"process {there['pid']} on {there['host']}"
        return "another process"


def in_use(folder: Path, what: str = "") -> bool:
    """Whether a living process has the folder, asked without taking it.

    Where another machine was the last to have it and its lock does not reach this one, a touch within the last
    `DEAD` seconds counts, by two clocks: good enough to look away for a while, not to write.
    """
    holder, lock = _files(folder, what)
    if _locked(lock):
        return True
    try:
        touched, there = holder.stat().st_mtime, json.loads(holder.read_bytes())
    except (OSError, ValueError):
        return False
    here = isinstance(there, dict) and there.get("machine") == _machine()
    return not here and abs(time.time() - touched) < DEAD


def _locked(path: Path) -> bool:
    try:
        import fcntl
    except ImportError:
        return False
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared, and given back at once with the file
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _files(folder: Path, what: str) -> tuple[Path, Path]:
    """The holder's file and the lock's."""
    return folder / f".{what}holder", folder / f".{what}lock"


def _machine() -> str:
    """A name that no other running machine has."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return socket.gethostname()
