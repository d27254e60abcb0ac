"""The processes that train one run together: who they are, what they add up, how they start and end.

The first process owns the run's folder and speaks to the user. The others grow the same network from the seed, take
their share of every batch, and write nothing. `fit` starts them itself; under torchrun they are there already.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

import torch
import torch.distributed as dist
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from torch import Tensor
from torch._C._distributed_c10d import PrefixStore, TCPStore

from bnonly.config import RunConfig
from bnonly.data.batches import Share
from bnonly.errors import BadInput, TrainingFailed

_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_GRACE = 20.0  # seconds for a process to notice by itself that another one has ended


@dataclass(frozen=True)
class Team:
    """One process among those of a run.

    local_rank, local_count: on this machine. port: of the first one's store, for processes that `fit` started; None
    for the first and under torchrun.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    local_count: int = 1
    port: int | None = None
    external: bool = False  # started by torchrun

    @classmethod
    def of(cls, config: RunConfig) -> Team:
        """As torchrun says, else the first of `training.devices` on this machine. Raises BadInput if they differ."""
        wanted = config.training.devices
        if not all(name in os.environ for name in _TORCHRUN):
            return cls(0, wanted, 0, wanted)
        rank, count, local_rank, local_count = (int(os.environ[name]) for name in _TORCHRUN[:4])
        if count != wanted:
            raise BadInput(f"torchrun started {count} processes, and training.devices is {wanted}: make them equal")
        return cls(rank, count, local_rank, local_count, external=True)

    @property
    def first(self) -> bool:
        return self.rank == 0

    @property
    def share(self) -> Share:
        return Share(self.rank, self.count)

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all processes, in place and on all of them."""
        if self.count > 1:
            dist.all_reduce(values)
        return values

    def take_from_first(self, values: Iterable[Tensor]) -> None:
        """Overwrite each of the tensors by the first process's."""
        if self.count > 1:
            for value in values:
                dist.broadcast(value, 0)

    def agrees(self, values: list[int], device: torch.device) -> bool:
        """Whether all processes have the same whole numbers."""
        if self.count == 1:
            return True
        mine = torch.tensor(values, device=device)
        all_of_them = [torch.empty_like(mine) for _ in range(self.count)]
        dist.all_gather(all_of_them, mine)
        return all(torch.equal(mine, other) for other in all_of_them)

    @contextmanager
    def assembled(self, config: RunConfig, device: torch.device) -> Iterator[None]:
        """Within the block the processes can add up; the first one starts those that nobody else has started.

        Raises TrainingFailed where one of them ends early.
        """
        if self.count == 1:
            yield
            return
        backend = "nccl" if device.type == "cuda" else "gloo"
        where: dict[str, Any] = {"device_id": device} if device.type == "cuda" else {}
        if self.external:
            with _group(backend, **where):
                yield
            return
        store = TCPStore("127.0.0.1", self.port or 0, self.count, self.first, wait_for_workers=False)
        with _Members(self, config, store) if self.first else _nobody() as members:
            store.set(f"here/{self.rank}", "")
            if members is not None:
                members.wait_until_here()
            where |= {"store": PrefixStore("run", store), "rank": self.rank, "world_size": self.count}
            with _group(backend, **where):
                yield


ALONE = Team()


class Environment(ClusterEnvironment):
    """What Lightning asks about the processes, answered from the team; it starts none itself."""

    def __init__(self, team: Team):
        super().__init__()
        self._team = team

    @staticmethod
    def detect() -> bool:
        return False

    @property
    def creates_processes_externally(self) -> bool:
        return True

    @property
    def main_address(self) -> str:
        return "127.0.0.1"  # not asked for: the process group stands before Lightning comes

    @property
    def main_port(self) -> int:
        return self._team.port or 0

    def world_size(self) -> int:
        return self._team.count

    def global_rank(self) -> int:
        return self._team.rank

    def local_rank(self) -> int:
        return self._team.local_rank

    def node_rank(self) -> int:
        return self._team.rank // self._team.local_count

    def set_world_size(self, size: int) -> None:
        pass

    def set_global_rank(self, rank: int) -> None:
        pass


class _Members:
    """The other processes, started and watched by the first."""

    def __init__(self, team: Team, config: RunConfig, store: TCPStore):
        self._team, self._config, self._store = team, config, store
        self._processes: list[subprocess.Popen[str]] = []
        self._said: list[IO[str]] = []
        self._over = threading.Event()

    def __enter__(self) -> _Members:
        for rank in range(1, self._team.count):
            order = {
                "rank": rank,
                "count": self._team.count,
                "port": self._store.port,
                "config": self._config.plain(),
            }
            said = tempfile.TemporaryFile("w+")  # closed by __exit__
            command = [sys.executable, "-m", "bnonly.training.member"]
            # A session of its own: a terminal's Ctrl-C is for the first, which tells the others.
            member = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=said, stderr=said, text=True, start_new_session=True
            )
            self._processes.append(member)
            self._said.append(said)
            assert member.stdin is not None
            member.stdin.write(json.dumps(order) + "\n")
            member.stdin.flush()  # and left open: when it closes, the member knows that we are gone
        threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: Any) -> None:
        self._over.set()
        failure = self._failure() if isinstance(error, RuntimeError | TrainingFailed) else None
        for member in self._processes:
            if kind is not None:
                member.kill()
            assert member.stdin is not None
            member.stdin.close()
            member.wait()
        for said in self._said:
            said.close()
        if failure is not None:  # a collective broke because the other side was gone
            raise TrainingFailed(failure) from error

    def wait_until_here(self) -> None:
        """Return when every process has come to the store. Raises TrainingFailed where one has ended instead."""
        for rank in range(1, self._team.count):
            while not self._store.check([f"here/{rank}"]):
                if (failure := self._failure()) is not None:
                    raise TrainingFailed(failure)
                time.sleep(0.05)

    def _failure(self) -> str | None:
        """The last words of a process that has ended; waits a little, as one end follows from another."""
        for _ in range(10):
            for place, member in enumerate(self._processes):
                if member.poll():
                    self._said[place].seek(0)
                    words = self._said[place].read().strip().splitlines() or [f"exit status {member.returncode}"]
                    reason = words[-1].removeprefix("bnonly: ")
                    return f"process {place + 2} of {self._team.count} ended: {reason}"
            if not self._over.is_set():
                return None
            time.sleep(0.2)
        return None

    def _watch(self) -> None:
        """End this process where it does not notice that another is gone (nccl may wait for minutes)."""
        while not self._over.wait(1.0):
            if any(member.poll() for member in self._processes):
                if self._over.wait(_GRACE):
                    return
                print(f"bnonly: {self._failure()}; what was saved is kept", file=sys.stderr, flush=True)
                os._exit(TrainingFailed.status)


@contextmanager
def _group(backend: str, **where: Any) -> Iterator[None]:
    """torch's process group, for the block."""
    dist.init_process_group(backend, **where)
    try:
        yield
    finally:
        dist.destroy_process_group()


@contextmanager
def _nobody() -> Iterator[None]:
    yield None
