"""A side's end of the pipe: it steps when it is asked to, and sleeps in between.

Requests and answers are lines of JSON. {"do": "block", "seconds": s} -> {"images", "seconds"}: steps until s have
passed; {"do": "saved"} -> {"bytes"}: what autograd keeps in one step; {"do": "memory"} -> {"peak", "of", "before"}.
The first answer, {"ready": true, ...}, comes unasked, when the first step has ended. Whoever asks no more has gone.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from experiments.memory import resident


class Saved:
    """Within the block, what autograd keeps for backward: each storage once, parameters and buffers not counted."""

    def __init__(self, net: nn.Module):
        own = {value.untyped_storage().data_ptr() for value in (*net.parameters(), *net.buffers())}
        self._kept: dict[int, torch.UntypedStorage] = {}  # held, so that no address is given out twice

        def pack(value: Tensor) -> Tensor:
            storage = value.untyped_storage()
            if storage.data_ptr() not in own:
                self._kept[storage.data_ptr()] = storage
            return value

        self._hooks = saved_tensors_hooks(pack, lambda value: value)

    def __enter__(self) -> Saved:
        self._hooks.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._hooks.__exit__(*exception)

    @property
    def bytes(self) -> int:
        return sum(storage.nbytes() for storage in self._kept.values())


class Pace:
    """Call `stepped` after each step; it returns when the next one is wanted.

    drain: steps before a block's clock starts, for batches that other processes have prepared meanwhile. facts: for
    the first answer.
    """

    def __init__(
        self,
        device: torch.device,
        net: nn.Module | None = None,
        drain: int = 0,
        facts: Mapping[str, Any] | None = None,
    ):
        self._device, self._net, self._drain, self._facts = device, net, drain, facts or {}
        self._before = self._now()
        self._doing: dict[str, Any] = {"do": "ready"}
        self._images, self._to_drain, self._since = 0, 0, 0.0
        self._saved: Saved | None = None

    def stepped(self, images: int) -> None:
        """One step over so many images has ended, or is on its way through the GPU."""
        if self._to_drain:
            self._to_drain -= 1
            if not self._to_drain:
                self._start()
            return
        self._images += images
        doing = self._doing["do"]
        if doing == "block" and time.perf_counter() - self._since < self._doing["seconds"]:
            return
        self._wait_for_device()
        if doing == "block":
            tell({"images": self._images, "seconds": time.perf_counter() - self._since})
        elif self._saved is not None:
            self._saved.__exit__()
            tell({"bytes": self._saved.bytes})
            self._saved = None
        else:
            tell({"ready": True, **self._facts})
        self._next()

    def _next(self) -> None:
        while (doing := asked())["do"] == "memory":
            tell(self._memory())
        self._doing = doing
        if self._doing["do"] == "saved":
            assert self._net is not None, "only networks keep something for backward"
            self._saved = Saved(self._net)
            self._saved.__enter__()
        elif self._drain:
            self._to_drain = self._drain
        else:
            self._start()

    def _start(self) -> None:
        self._wait_for_device()
        self._images, self._since = 0, time.perf_counter()

    def _wait_for_device(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def _memory(self) -> dict[str, Any]:
        if self._device.type == "cuda":
            return {"peak": torch.cuda.max_memory_allocated(self._device), "of": "allocated", "before": self._before}
        return {"peak": resident("VmHWM"), "of": "resident", "before": self._before}

    def _now(self) -> int | None:
        if self._device.type == "cuda":
            return torch.cuda.memory_allocated(self._device)
        return resident("VmRSS")


_answers: list[Any] = []


def speak() -> None:
    """Keep standard output for answers: what libraries print goes to standard error from now on."""
    _answers[:] = [os.fdopen(os.dup(1), "w")]
    os.dup2(2, 1)


def tell(answer: dict[str, Any]) -> None:
    try:
        print(json.dumps(answer), file=_answers[0], flush=True)
    except BrokenPipeError:
        os._exit(0)


def asked() -> dict[str, Any]:
    """The next request. Does not return where nobody asks any more."""
    if not (line := sys.stdin.readline()):
        os._exit(0)  # at once, from wherever in somebody's loop this is
    return json.loads(line)
