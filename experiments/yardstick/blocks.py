"""Asking sides for blocks in turn: each is a process that lives as long as the comparison. Without torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bnonly.errors import BnonlyError
from experiments.engines.ends import tail, without_a_word
from experiments.engines.process import with_root

PATIENCE = 1800.0  # seconds for any one answer; torch.compile takes minutes on a slow machine
_LEAVING = 5.0
_COMMAND = (sys.executable, "-m", "experiments.yardstick.side")


class SideDied(BnonlyError):
    """A measured process ended, or did not answer, before it had given its figures."""


class Side:
    """One side's process. Use as a context manager: leaving it ends the process, and what it started.

    order: what the process is told first. threads: of its CPU. command: for tests.
    """

    def __init__(self, name: str, order: Mapping[str, Any], threads: int | None, command: Sequence[str] = _COMMAND):
        self.name, self._order, self._threads, self._command = name, order, threads, command

    def __enter__(self) -> Side:
        # Nobody's settings of the allocator, and no more threads than asked for.
        env = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
        env["PYTHONPATH"] = with_root()
        if self._threads:
            env["OMP_NUM_THREADS"] = str(self._threads)
        self._place = TemporaryDirectory()
        self._said = Path(self._place.name) / "said"
        env["TORCHINDUCTOR_CACHE_DIR"] = str(
            Path(self._place.name) / "compiled"
        )  # or the first step would be a later one
        self._began = time.perf_counter()
        with self._said.open("wb") as said:
            self._process: Any = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, env=env
            )
        return self

    def __exit__(self, *exception: object) -> None:
        with suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(_LEAVING)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._place.cleanup()

    def start(self) -> dict[str, Any]:
        """What it says when its first step has ended, and first_step: seconds since its process began. Raises
        SideDied."""
        self._put(self._order)
        answer = self._answer("its start")
        return answer | {"first_step": time.perf_counter() - self._began}

    def ask(self, what: str, **details: Any) -> dict[str, Any]:
        """Raises SideDied."""
        self._put({"do": what, **details})
        return self._answer(f"a {what}" if what == "block" else f"its figure of {what}")

    def _put(self, request: Mapping[str, Any]) -> None:
        with suppress(OSError):  # it has died, and the answer will say so
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()

    def _answer(self, during: str) -> dict[str, Any]:
        late = threading.Timer(PATIENCE, self._process.kill)
        late.start()
        line = self._process.stdout.readline()
        in_time = late.is_alive()
        late.cancel()
        try:
            return json.loads(line)
        except ValueError:
            pass
        self._process.kill()
        status = self._process.wait()
        said = tail(self._said, 0)
        print(said, file=sys.stderr)  # the trial's log
        reason, _ = without_a_word(status, said)
        if not in_time:
            reason = f"no answer within {PATIENCE:.0f} s"
        raise SideDied(f"side {self.name} died in {during}: {reason}")


def in_turns(sides: Sequence[Side], rounds: int, seconds: float) -> dict[str, list[dict[str, Any]]]:
    """Answers to `rounds` blocks of each side, by its name. The order changes from round to round: each side comes
    first in its turn, and every second round runs backwards. Raises SideDied."""
    answers: dict[str, list[dict[str, Any]]] = {side.name: [] for side in sides}
    for number in range(rounds):
        for side in turn(sides, number):
            answers[side.name].append(side.ask("block", seconds=seconds))
    return answers


def turn(sides: Sequence[Side], number: int) -> list[Side]:
    """The sides in the order of a round."""
    first = number // 2 % len(sides)
    order = [*sides[first:], *sides[:first]]
    return order[::-1] if number % 2 else order
