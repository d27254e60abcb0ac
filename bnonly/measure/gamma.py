"""Gamma: how much of it is near zero, layer by layer, and what becomes of a network when that is set to zero."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bnonly.errors import BadInput
from bnonly.measure.levels import THRESHOLDS
from bnonly.networks.folded import is_folded
from bnonly.randomness.plan import NORMS

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


def norm_layers(net: nn.Module) -> dict[str, Any]:
    """Every normalisation layer that has a gamma, by name, in the network's order.

    Raises BadInput for a network of folded form, whose gamma is gone.
    """
    if is_folded(net):
        raise BadInput(
            "this network was stored in folded form, so gamma is gone: store it with form full to look at it"
        )
    return {
        name: layer for name, layer in net.named_modules() if isinstance(layer, NORMS) and layer.weight is not None
    }


def gammas(net: nn.Module) -> dict[str, Tensor]:
    """gamma by layer, each [channels], detached."""
    return {name: layer.weight.detach() for name, layer in norm_layers(net).items()}


def betas(net: nn.Module) -> dict[str, Tensor]:
    """beta by layer, each [channels], detached; layers without one (RMSNorm) are left out."""
    return {
        name: layer.bias.detach()
        for name, layer in norm_layers(net).items()
        if getattr(layer, "bias", None) is not None
    }


def sparsity(net: nn.Module, thresholds: tuple[float, ...] = THRESHOLDS) -> dict[str, Any]:
    """Fractions of |gamma| strictly below each threshold, over all channels and by layer, and gamma's quantiles.

    {"thresholds": [...], "below": [...], "quantiles": {q: gamma}, "layers": {name: [...]}}, fractions in 0..1 in the
    thresholds' order. An empty dictionary for a network without normalisation.
    """
    by_layer = gammas(net)
    if not by_layer:
        return {}
    bounds = torch.tensor(thresholds, device=next(iter(by_layer.values())).device)

    def below(gamma: Tensor) -> Tensor:
        return (gamma.abs()[:, None] < bounds).double().mean(0)

    everything = torch.cat(list(by_layer.values())).float()
    fractions = torch.stack([below(everything), *(below(gamma) for gamma in by_layer.values())]).tolist()
    levels = torch.tensor(QUANTILES, device=everything.device)
    return {
        "thresholds": list(thresholds),
        "below": fractions[0],
        "quantiles": dict(zip(map(str, QUANTILES), everything.quantile(levels).tolist(), strict=True)),
        "layers": dict(zip(by_layer, fractions[1:], strict=True)),
    }


def distribution(values: Mapping[str, Tensor], thresholds: Sequence[float] = ()) -> dict[str, Any]:
    """How the values of gamma, or of beta, lie: over all channels and by layer.

    values: by layer, as `gammas` and `betas` give them. {"all": facts, "layers": {name: facts}}; facts are channels,
    mean, std (of the population), min, max, quantiles {q: value}, and, where thresholds are given, "below": the
    fractions of absolute values strictly below each. Computed in float64. An empty dictionary where there are none.
    """
    if not values:
        return {}
    by_layer = {name: value.flatten() for name, value in values.items()}
    found = {
        "all": _spread(torch.cat(list(by_layer.values())), thresholds),
        "layers": {name: _spread(value, thresholds) for name, value in by_layer.items()},
    }
    return found | ({"thresholds": list(thresholds)} if thresholds else {})


def _spread(values: Tensor, thresholds: Sequence[float]) -> dict[str, Any]:
    # Bounds in the values' own precision: 0.1 in float32 is not below the 0.1 that was asked for.
    below = [float((values.abs() < bound).double().mean()) for bound in thresholds]
    values = values.double()
    levels = np.quantile(values.cpu().numpy(), QUANTILES)  # torch's takes 16 M values at most
    return {
        "channels": values.numel(),
        "mean": float(values.mean()),
        "std": float(values.std(correction=0)),
        "min": float(values.min()),
        "max": float(values.max()),
        "quantiles": dict(zip(map(str, QUANTILES), levels.tolist(), strict=True)),
    } | ({"below": below} if thresholds else {})


@contextmanager
def zeroed(net: nn.Module, chosen: Mapping[str, Tensor]) -> Iterator[None]:
    """Within the block the chosen gammas are 0; afterwards gamma is as it was, to the bit.

    chosen: by layer, bool, of gamma's shape; layers that are not named keep theirs. Beta stays, so a channel without
    gamma puts out its beta.
    """
    values = {name: gamma for name, gamma in gammas(net).items() if name in chosen}
    before = {name: gamma.clone() for name, gamma in values.items()}
    try:
        for name, gamma in values.items():
            gamma.masked_fill_(chosen[name].to(gamma.device), 0)
        yield
    finally:
        for name, gamma in values.items():
            gamma.copy_(before[name])


@contextmanager
def clamped(net: nn.Module, threshold: float) -> Iterator[int]:
    """Within the block every |gamma| < threshold is 0; afterwards gamma is as it was. Yields the channels clamped.

    Raises BadInput for a negative threshold or a network without gamma.
    """
    if not threshold >= 0:
        raise BadInput(f"a threshold of {threshold} is impossible: it bounds |gamma|, so it is at least 0")
    small = {name: gamma.abs() < threshold for name, gamma in gammas(net).items()}
    if not small:
        raise BadInput(f"{type(net).__name__} has no gamma to clamp")
    with zeroed(net, small):
        yield sum(int(chosen.sum()) for chosen in small.values())
