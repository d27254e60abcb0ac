"""Filters drawn anew: those that BatchNorm has switched off get another chance.

A filter and the gamma and beta of its channel are redrawn together, from the next round of the seed's streams, so a
network stays known by its seed and the round of each filter. Running statistics of the channel begin again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from bnonly.errors import BadInput
from bnonly.networks import Origin, origin_of
from bnonly.randomness import bngen
from bnonly.randomness.entry import Entry
from bnonly.randomness.plan import BATCH_NORMS, plan
from bnonly.randomness.values import values_of_rounds
from bnonly.trainable import ScalarTrained

Way = Literal["small", "random", "none"]
Masks = Mapping[str, NDArray[np.bool_]]
MOST = 255  # rounds


@dataclass(frozen=True)
class _Pair:
    """A convolution's weight, and the norm behind it."""

    weight: Entry
    gamma: Entry
    beta: Entry


def rounds_of(net: nn.Module) -> dict[str, NDArray[np.uint8]]:
    """How often each filter was drawn anew, uint8 [filters], by its weight's name."""
    known: dict[str, NDArray[np.uint8]] = getattr(net, "rounds", {})
    return {pair.weight.name: known.get(pair.weight.name, _never(pair)).copy() for pair in _pairs(net)}


def chosen(net: nn.Module, way: Way, below: float = 0.01) -> dict[str, NDArray[np.bool_]]:
    """The filters to be drawn anew, bool [filters], by their weight's name.

    small: those with |gamma| < below. random: as many of each layer as that would be, whichever they are, drawn from
    the network's seed. none: none.
    """
    parameters, pairs, found = dict(net.named_parameters()), _pairs(net), {}
    seed, rounds = _origin(net).seed, rounds_of(net)
    for pair in pairs:
        small = parameters[pair.gamma.name].detach().abs().cpu().numpy() < below
        if way == "random":
            turn = int(rounds[pair.weight.name].max()) + 1
            order = bngen.permutation(seed, bngen.stream_number(bngen.REGROWN, pair.weight.index, turn), len(small))
            small = np.isin(np.arange(len(small)), order[: int(small.sum())])
        found[pair.weight.name] = small if way != "none" else np.zeros_like(small)
    return found


def redraw(net: nn.Module, masks: Masks) -> int:
    """Draw these filters anew, each from its next round; returns how many there are.

    Raises BadInput for a network without a seed, one whose random:K trains, and a filter that was drawn too often.
    """
    if any(isinstance(layer, ScalarTrained) for layer in net.modules()):
        raise BadInput("scalars of random:K train, which would come back: freeze_all_but(net, 'none') before redraw")
    rounds = rounds_of(net)
    for name, mask in masks.items():
        if (rounds[name][mask] == MOST).any():
            raise BadInput(f"a filter of {name} was drawn anew {MOST} times, which is as often as a round can count")
        rounds[name][mask] += 1
    _put(net, rounds, masks)
    object.__setattr__(net, "rounds", rounds)
    return int(sum(mask.sum() for mask in masks.values()))


def _put(net: nn.Module, rounds: Mapping[str, NDArray[np.uint8]], masks: Masks) -> None:
    origin, parameters = _origin(net), dict(net.named_parameters())
    with torch.no_grad():
        for pair in _pairs(net):
            mask, own = masks[pair.weight.name], rounds[pair.weight.name]
            if not mask.any():
                continue
            for entry in (pair.weight, pair.gamma, pair.beta):
                drawn = values_of_rounds(entry, origin.seed, origin.start, own)[mask]
                parameters[entry.name][torch.from_numpy(mask)] = torch.from_numpy(drawn).to(parameters[entry.name])
            norm = net.get_submodule(pair.gamma.name.rpartition(".")[0])
            assert isinstance(norm, BATCH_NORMS)
            if norm.running_mean is not None and norm.running_var is not None:
                norm.running_mean[torch.from_numpy(mask)] = 0
                norm.running_var[torch.from_numpy(mask)] = 1


def _pairs(net: nn.Module) -> list[_Pair]:
    """Convolutions whose BatchNorm follows in the plan. Raises BadInput where there is none."""
    norms = {path for path, layer in net.named_modules() if isinstance(layer, BATCH_NORMS)}
    entries, found = plan(net), []
    for weight, gamma, beta in zip(entries, entries[1:], entries[2:], strict=False):
        path = gamma.name.rpartition(".")[0]
        if len(weight.shape) > 2 and path in norms and gamma.shape == weight.shape[:1] and beta.role == "beta":
            found.append(_Pair(weight, gamma, beta))
    if not found:
        raise BadInput(
            f"{type(net).__name__} has no convolution with a BatchNorm behind it, so no filter to draw anew"
        )
    return found


def _never(pair: _Pair) -> NDArray[np.uint8]:
    return np.zeros(pair.weight.shape[0], np.uint8)


def _origin(net: nn.Module) -> Origin:
    if (origin := origin_of(net)) is None:
        raise BadInput(f"{type(net).__name__} has no seed to draw filters from: make it by bnonly.network")
    return origin
