"""What a network itself draws while it trains, as dropout does: from the run's seed, the epoch and the step.

Layers ask torch's global generators. Within a step these stand where the seed puts them, and after it where they
were, so that equal runs draw alike in any process, and one that goes on draws what it would have drawn.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from bnonly.measure.accuracy import autocast
from bnonly.randomness import bngen


class Chance:
    """The generators that a network may ask; none of a network that never does, whose steps then pay nothing.

    rank: of this process, whose images are others.
    """

    def __init__(self, net: nn.Module, seed: int, device: torch.device, rank: int = 0):
        self._seed, self._rank = seed, rank
        self._generators = _generators(device) if may_draw(net) else []

    @contextmanager
    def of(self, epoch: int, step: int) -> Iterator[None]:
        """A block that draws what belongs to this step of this epoch, both from 0."""
        if not self._generators:
            yield
            return
        stream = bngen.Stream(self._seed, bngen.stream_number(bngen.DRAWS, step, epoch))
        low, high = stream.words(2 * self._rank + 2)[-2:].tolist()
        with _as_it_was(self._generators):
            for generator in self._generators:
                generator.manual_seed(high << 32 | low)
            yield


def may_draw(net: nn.Module) -> bool:
    """Whether a step might take random numbers. Of torch's and our own layers it is known; of others anything is."""
    return any(
        isinstance(module, _DropoutNd | nn.RReLU)
        or bool(getattr(module, "dropout", 0))
        or not type(module).__module__.startswith(("torch.nn.", "bnonly."))
        for module in net.modules()
    )


def draws(net: nn.Module, images: Tensor, precision: str) -> bool:
    """Whether the network, in the mode it is in, takes random numbers for these images [B, C, H, W]. What it keeps of
    them, as running statistics, changes."""
    generators = _generators(images.device)
    with _as_it_was(generators), torch.no_grad(), autocast(images.device, precision):
        before = [generator.get_state() for generator in generators]
        net(images)
        return any(
            not torch.equal(state, generator.get_state()) for state, generator in zip(before, generators, strict=True)
        )


def _generators(device: torch.device) -> list[torch.Generator]:
    own = [torch.default_generator]
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        own.append(torch.cuda.default_generators[index])
    return own


@contextmanager
def _as_it_was(generators: list[torch.Generator]) -> Iterator[None]:
    before = [generator.get_state() for generator in generators]
    try:
        yield
    finally:
        for generator, state in zip(generators, before, strict=True):
            generator.set_state(state)
