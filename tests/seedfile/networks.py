"""Small networks with trained values and running statistics as training might leave them."""

from __future__ import annotations

from typing import Any

import torch

import bnonly
from bnonly.seedfile.header import Input


def trained(group: str, name: str = "cifar_resnet8", seed: int = 7, **start: Any) -> torch.nn.Module:
    net = bnonly.network(name, seed, **start)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in bnonly.freeze_all_but(net, group):
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
        for layer in net.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                assert layer.running_mean is not None and layer.running_var is not None
                layer.running_mean.copy_(0.3 * torch.randn(layer.num_features, generator=generator))
                layer.running_var.copy_(0.5 + torch.rand(layer.num_features, generator=generator))
    return net


def pictures(side: int, labels: list[str] | None = None) -> Input:
    names = labels or [str(number) for number in range(10)]
    return Input((3, side, side), (0.5, 0.25, 0.125), (1.0, 0.3, 1e-7), tuple(names))
