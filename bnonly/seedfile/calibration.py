"""Running statistics put right for what coding changes in the layers before them."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bnonly.errors import BadInput
from bnonly.networks.folded import is_folded
from bnonly.randomness.plan import BATCH_NORMS, NORMS
from bnonly.seedfile import codecs
from bnonly.seedfile.saving import How, coded_layers

_MOST = 4.0  # times a variance may change: beyond, a channel was as good as constant, and its ratio means nothing


def calibrated(net: nn.Module, how: How, images: Tensor, like: nn.Module | None = None) -> nn.Module:
    """A copy, in eval mode, that loses less by being stored as `how` says. images: float32 [N, 3, H, W], no labels.

    The input of each BatchNorm is measured twice: in the network as it is, or in `like`, which it was before its
    weights were rounded; and in the one that a reader will have, whose earlier layers are coded already. Its running
    mean takes on the difference of the two means, its running variance the ratio of the two variances. Where coding
    changes nothing, nothing changes; gamma, beta and the format stay as they are. The idea is bias correction of
    quantised networks (Nagel et al., ICCV 2019, section 4.2).
    All images pass at once, layer by layer, in the memory of one evaluation. Raises BadInput for a folded network,
    and for one whose normalisation is not BatchNorm alone.
    """
    if is_folded(net):
        raise BadInput("a folded network has no running statistics to calibrate: export the original run")
    net = copy.deepcopy(net).eval()
    if how.form == "affine" or any(isinstance(m, NORMS) and not isinstance(m, BATCH_NORMS) for m in net.modules()):
        raise BadInput("calibration moves running statistics, and this network has other layers than BatchNorm")
    norms: list[Any] = [module for module in net.modules() if isinstance(module, BATCH_NORMS)]
    reference = net if like is None else copy.deepcopy(like).eval()
    for norm, before in zip(norms, _measured(reference, images), strict=True):
        norm.forward = _Coded(norm, how, before)
    try:
        _pass(net, images)
    finally:
        for norm in norms:
            del norm.forward
    return net


def _measured(net: nn.Module, images: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Moments of each BatchNorm's input."""
    found: dict[nn.Module, tuple[Tensor, Tensor]] = {}
    norms = [module for module in net.modules() if isinstance(module, BATCH_NORMS)]
    hooks = [norm.register_forward_pre_hook(lambda norm, x: found.update({norm: _moments(x[0])})) for norm in norms]
    _pass(net, images)
    for hook in hooks:
        hook.remove()
    return [found[norm] for norm in norms]


class _Coded:
    """In place of a BatchNorm's forward: puts its statistics right, then computes with what the reader will have."""

    def __init__(self, norm: Any, how: How, before: tuple[Tensor, Tensor]):
        self.norm, self.how, self.before = norm, how, before

    def __call__(self, x: Tensor) -> Tensor:
        norm = self.norm
        (mean, var), (old_mean, old_var) = _moments(x), self.before
        norm.running_mean += mean - old_mean
        norm.running_var *= torch.where(old_var > 0, var / old_var, 1.0).clamp(1 / _MOST, _MOST)
        weight, bias, mean, var = (
            value.detach().cpu().double().numpy()
            for value in (norm.weight, norm.bias, norm.running_mean, norm.running_var)
        )
        coded, _, _ = coded_layers(weight, bias, mean, var, norm.eps, [len(weight)], self.how)
        values = {name: value.astype(np.float64) for name, value in coded.values.items()}
        if self.how.form == "full":
            values["a"] = codecs.fold(coded.values["weight"], coded.values["var"], norm.eps)
            values["b"] = values["bias"] - values["mean"] * values["a"]
        a, b = (torch.from_numpy(values[name]).to(x).view(-1, *(1,) * (x.ndim - 2)) for name in "ab")
        return x * a + b


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance by channel of [N, C, ...]."""
    var, mean = torch.var_mean(x, [axis for axis in range(x.ndim) if axis != 1], correction=0)
    return mean, var


def _pass(net: nn.Module, images: Tensor) -> None:
    with torch.no_grad():
        net(images)
