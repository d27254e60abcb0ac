"""Networks with trained-looking BatchNorms, of which some channels are dead, and their logits in float64."""

from __future__ import annotations

import copy
from fnmatch import fnmatch

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

import bnonly
from bnonly.networks.residual import ResNet


def randomised(net, seed=0, share=0.0):
    """The network in eval mode, gamma, beta, statistics and biases random, this share of the gammas exactly 0."""
    generator = torch.Generator().manual_seed(seed)
    for layer in net.eval().modules():
        if isinstance(layer, _BatchNorm):
            shape = (layer.num_features,)
            layer.weight.data = torch.randn(shape, generator=generator)
            layer.weight.data *= torch.rand(shape, generator=generator) >= share
            layer.bias.data = torch.randn(shape, generator=generator) / 2
            layer.running_mean = torch.randn(shape, generator=generator) / 3
            layer.running_var = torch.rand(shape, generator=generator) + 0.5
        elif isinstance(layer, (nn.Conv2d, nn.Linear)) and layer.bias is not None:
            layer.bias.data = torch.randn(layer.bias.shape, generator=generator) / 2
    return net


def dead(net, pattern, beta=None):
    """Gamma 0 in all BatchNorms of that name; beta: its sign there, if given."""
    found = [layer for name, layer in net.named_modules() if isinstance(layer, _BatchNorm) and fnmatch(name, pattern)]
    assert found, pattern
    for layer in found:
        layer.weight.data.zero_()
        if beta is not None:
            layer.bias.data = layer.bias.data.abs() * beta
    return net


def network(name, seed=0, share=0.0, **options):
    return randomised(bnonly.network(name, seed=seed, **options), seed, share)


def small_imagenet(block, seed=0, share=0.0):
    """The parts of an ImageNet ResNet, 7x7 stem and pool too, eight channels wide and a block a stage."""
    stem = nn.Conv2d(3, 8, 7, 2, 3, bias=False)
    net = ResNet(block, (1, 1, 1, 1), 8, 10, stem, nn.MaxPool2d(3, 2, 1)).to_empty(device="cpu")
    generator = torch.Generator().manual_seed(seed)
    for parameter in net.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) / parameter[0].numel() ** 0.5
    return randomised(net, seed, share)


def images(size, count=2, channels=3):
    return torch.randn(count, channels, size, size, generator=torch.Generator().manual_seed(size))


def exact(net, x):
    """The network's logits, computed in float64."""
    with torch.no_grad():
        return copy.deepcopy(net).double()(x.double())


def distance(net, x, expected):
    """max|logits - expected| in units of max|expected|."""
    with torch.no_grad():
        got = net(x)
    assert got.shape == expected.shape
    return float((got.double() - expected).abs().max() / expected.abs().max())
