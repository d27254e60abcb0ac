"""Weights that train, pruned and rounded meanwhile: the strongest rivals of a file without weights are trained so."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from bnonly.config.compression import FIRST, LAST, CompressionConfig
from bnonly.config.training import TrainingConfig

_NAME = "trained/"  # as a checkpoint has it
_EVERY = 100  # steps between two choices of what is pruned
# Steps, in standard deviations, with which uniform levels lose least of a normal variable (Max 1960, table II, for
# 2^b levels; of 2^b - 1 they are nearly the same).
_STEP = {2: 0.9957, 3: 0.5860, 4: 0.3352, 5: 0.1881, 6: 0.1041, 7: 0.0569, 8: 0.0308}


def rounded(weights: Tensor, bits: int) -> Tensor:
    """Weights [filters, ...] on 2^bits - 1 equal steps about 0; a filter's step has a size of its own.

    The size is a half-precision number and the outermost step is taken, so that the values tell it: their largest
    magnitude over 2^(bits-1) - 1, exactly. Zeros stay zeros.
    """
    rows, most = weights.detach().flatten(1), 2 ** (bits - 1) - 1
    there = (rows != 0).sum(1).clamp(min=1)
    deviation = (rows.square().sum(1) / there).sqrt()  # of what is not pruned
    size = torch.minimum(rows.abs().amax(1) / most, _STEP[bits] * deviation).half().float()[:, None]
    steps = (rows / torch.where(size > 0, size, 1)).round().clamp(-most, most)
    return (steps * size).view_as(weights)


class Compression:
    """What `compression` asks of the weights that train, step by step.

    Pruning (Zhu and Gupta 2017: a cubic up to the final share, one threshold for the whole network) leaves its state
    in the weights: what is 0 stays 0. Rounding keeps the weights beside those that forward and backward see.
    """

    def __init__(self, net: nn.Module, compression: CompressionConfig, training: TrainingConfig):
        self._share, self._bits, self._epochs = compression.prune, compression.bits, training.epochs
        named = () if compression.off else net.named_parameters()
        self._weights = {_NAME + name: p for name, p in named if p.ndim > 1 and p.requires_grad}
        self._kept: dict[str, Tensor] = {}  # masks
        self._whole: dict[str, Tensor] = {}  # weights, while rounded ones are in their place
        self.settled = False  # whether they are rounded for good

    def before_step(self) -> None:
        """Have forward and backward see rounded weights."""
        if self._share and not self._kept:
            self._kept = {name: weight != 0 for name, weight in self._weights.items()}
        self._round()

    def before_update(self) -> None:
        """Have the optimiser move the weights themselves."""
        with torch.no_grad():
            for name, whole in self._whole.items():
                self._weights[name].copy_(whole)
        self._whole = {}

    def after_step(self, epoch: float, step: int) -> None:
        """Prune. epoch: fractional, at the step's end; step: of the epoch, from 1."""
        if not self._share:
            return
        with torch.no_grad():
            self._zero()
            a_step = (epoch - math.ceil(epoch) + 1) / step  # in epochs
            settles = 0 <= epoch - LAST * self._epochs < a_step + 1e-9  # from here on a mean may be taken
            if step % _EVERY == 0 or settles or epoch == self._epochs:
                self._choose(self._share_at(epoch))
                self._zero()

    @contextmanager
    def shown(self) -> Iterator[None]:
        """The network as it would be stored."""
        self._round()
        try:
            yield
        finally:
            self.before_update()

    @property
    def rounds(self) -> bool:
        """Whether weights are rounded."""
        return self._bits is not None

    def settle(self) -> bool:
        """End with the network as it is stored; whether that changes it."""
        if self._bits is None:
            return False
        self._round()
        self._bits, self._whole, self.settled = None, {}, True
        return True

    def state(self) -> dict[str, Tensor]:
        """Values for a checkpoint in the place of what the network shows, by their names there."""
        return self._whole

    def _round(self) -> None:
        if self._bits is None:
            return
        with torch.no_grad():
            for name, weight in self._weights.items():
                self._whole[name] = weight.clone()
                weight.copy_(rounded(weight, self._bits))

    def _zero(self) -> None:
        for name, kept in self._kept.items():
            self._weights[name].mul_(kept)

    def _choose(self, share: float) -> None:
        """Keep the largest weights, pruned ones being the smallest."""
        sizes = torch.cat([weight.abs().flatten() for weight in self._weights.values()])
        if not (count := round(share * len(sizes))):
            return
        least = sizes.kthvalue(count).values
        self._kept = {name: weight.abs() > least for name, weight in self._weights.items()}

    def _share_at(self, epoch: float) -> float:
        """Of all weights, after so many epochs."""
        done = (epoch / self._epochs - FIRST) / (LAST - FIRST)
        return self._share * (1 - (1 - min(1.0, max(0.0, done))) ** 3)
