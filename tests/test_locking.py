"""One process in a folder, also where two machines see it and the file system knows no locks between them."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

import pytest
from filelock import FileLock

from bnonly import locking
from bnonly.errors import BadInput, RunRefused
from bnonly.locking import FolderLock, in_use


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(locking, "BEAT", 0.05)
    monkeypatch.setattr(locking, "DEAD", 0.6)


class Machine:
    """Another machine, on a network file system whose locks end at its walls."""

    def __init__(self, name, folder, monkeypatch):
        self.name, self.folder, self.patch, self.said = name, folder, monkeypatch, []

    def lock(self):
        self.patch.setattr(locking.socket, "gethostname", lambda: self.name)
        self.patch.setattr(locking, "_machine", lambda: f"boot of {self.name}")
        self.patch.setattr(FileLock, "acquire", lambda *_, **__: None)
        self.patch.setattr(FileLock, "release", lambda *_, **__: None)
        return FolderLock(self.folder, self.said.append)


@pytest.fixture
def machines(tmp_path, monkeypatch):
    return [Machine(name, tmp_path / "run", monkeypatch) for name in ("node7", "node8")]


def test_a_living_holder_on_another_machine_is_named(machines):
    first = machines[0].lock()
    first.acquire()
    with pytest.raises(RunRefused, match=rf"in use by process {os.getpid()} on node7: wait for it"):
        machines[1].lock().acquire()
    assert "watching for" in machines[1].said[0]
    first.check()
    first.release()
    second = machines[1].lock()
    second.acquire()  # at once: the first has gone in order
    assert len(machines[1].said) == 1
    second.release()


def test_a_dead_holder_on_another_machine_is_followed_after_a_while(machines):
    first = machines[0].lock()
    first.acquire()
    first._over.set()  # its machine lost power
    time.sleep(0.2)
    second, began = machines[1].lock(), time.monotonic()
    second.acquire()
    assert time.monotonic() - began >= 0.6
    with pytest.raises(RunRefused, match=r"was taken over by process \d+ on node8"):
        first.check()
    first.release()
    second.check()  # the first one's end frees nothing of the second's
    second.release()


def test_clocks_that_differ_or_jump_change_nothing(machines, monkeypatch):
    first = machines[0].lock()
    first.acquire()
    touch, jumps = os.utime, iter(range(10**6))

    def jumping(path):
        touch(path, (next(jumps) % 3 * 1e8, next(jumps) % 7 * 1e8))

    monkeypatch.setattr(locking.os, "utime", jumping)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    with pytest.raises(RunRefused, match="on node7"):
        machines[1].lock().acquire()
    first.release()


def test_on_one_machine_the_kernels_lock_decides_at_once(tmp_path):
    folder, said = tmp_path / "run", []
    lock = FolderLock(folder, said.append)
    lock.acquire()
    with pytest.raises(RunRefused, match=f"process {os.getpid()} on "):
        FolderLock(folder, said.append).acquire()
    lock._over.set()
    lock._file.release()  # as the kernel does for a killed process
    (again := FolderLock(folder, said.append)).acquire()
    assert said == []
    again.release()
    assert not (folder / ".holder").exists()


def test_a_file_system_without_locks(tmp_path, monkeypatch):
    def none(*_, **__):
        raise NotImplementedError("FileSystem does not appear to support flock")

    monkeypatch.setattr(FileLock, "acquire", none)
    said = []
    lock = FolderLock(tmp_path, said.append)
    lock.acquire()
    with pytest.raises(RunRefused, match="in use by process"):
        FolderLock(tmp_path, said.append).acquire()
    lock.release()


def test_a_folder_that_vanished_or_came_back_as_another_is_noticed(tmp_path):
    lock = FolderLock(tmp_path / "run", print)
    lock.acquire()
    (tmp_path / "run").rename(tmp_path / "elsewhere")
    with pytest.raises(BadInput, match="has vanished under the run"):
        lock.check()
    (other := FolderLock(tmp_path / "run", print)).acquire()
    with pytest.raises(RunRefused, match="was taken over"):
        lock.check()
    lock.release()
    other.check()
    other.release()


def test_a_file_server_that_is_away_for_a_while_does_not_end_the_beats(tmp_path, monkeypatch):
    lock = FolderLock(tmp_path, print)
    touch, read, away, touched = os.utime, Path.read_bytes, threading.Event(), threading.Event()

    def reading(path):
        if away.is_set() and path.name == ".holder":
            raise OSError(5, "Input/output error")
        return read(path)

    def touching(path):
        touch(path)
        touched.set()

    monkeypatch.setattr(Path, "read_bytes", reading)
    monkeypatch.setattr(locking.os, "utime", touching)
    lock.acquire()
    away.set()
    with pytest.raises(BadInput, match=r"cannot be read \(Input/output error\)"):
        lock.check()
    away.clear()
    touched.clear()
    assert touched.wait(10)
    lock.check()
    lock.release()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'"x"', json.dumps({"host": "h"}).encode()])
def test_a_damaged_holder_is_nobody(tmp_path, content):
    (tmp_path / ".holder").write_bytes(content)
    lock = FolderLock(tmp_path, print)
    lock.acquire()
    lock.check()
    lock.release()


def test_whether_a_folder_is_in_use_is_asked_without_taking_it(tmp_path):
    folder, said = tmp_path / "run", []
    assert not in_use(folder)
    lock = FolderLock(folder, said.append)
    lock.acquire()
    assert in_use(folder) and not in_use(folder, "another")
    lock.check()  # still ours
    lock.release()
    assert not in_use(folder)
    lock.acquire()  # nor does having asked keep anybody off
    lock.release()


def test_another_machines_folder_is_in_use_as_long_as_it_is_touched(machines, monkeypatch):
    first = machines[0].lock()
    first.acquire()
    monkeypatch.setattr(locking, "_machine", lambda: "boot of node8")
    time.sleep(0.8)
    assert in_use(first._folder)
    first._over.set()  # its machine lost power
    time.sleep(0.8)
    assert not in_use(first._folder)
