"""Filters drawn anew: which ones, from where, and that nothing else changes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import bnonly
from bnonly.errors import BadInput
from bnonly.randomness import bngen
from bnonly.randomness.plan import plan
from bnonly.regrow import chosen, redraw, rounds_of

SEED = 11


@pytest.fixture
def net():
    """A ResNet-8 as if trained: gammas around 1, three of one layer near zero."""
    net = bnonly.network("cifar_resnet8", SEED)
    with torch.no_grad():
        for layer in net.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.weight.add_(1)
                layer.bias.add_(0.5)
                layer.running_mean.fill_(3)
        net.layer2[0].bn1.weight[[1, 4, 30]] = torch.tensor([0.0, -0.0099, 0.009])
        net.layer2[0].bn1.weight[5] = -0.01
    return net


def state(net):
    return {name: value.clone() for name, value in net.state_dict().items()}


def test_switched_off_filters_take_the_next_round_of_their_streams(net):
    before, masks = state(net), chosen(net, "small", 0.01)
    assert redraw(net, masks) == 3
    entries = {entry.name: entry for entry in plan(net)}
    weight, gamma = entries["layer2.0.conv1.weight"], entries["layer2.0.bn1.weight"]
    drawn = bngen.he_weights(SEED, bngen.stream_number(0, weight.index, 1), weight.size, weight.fan_in)
    units = bngen.gamma_unit(SEED, bngen.stream_number(0, gamma.index, 1), gamma.size)
    after, rows = state(net), [1, 4, 30]
    assert np.array_equal(after[weight.name][rows].numpy(), drawn.reshape(weight.shape)[rows])
    assert np.array_equal(after[gamma.name][rows].numpy(), units[rows])
    assert (after["layer2.0.bn1.bias"][rows] == 0).all() and (after["layer2.0.bn1.running_mean"][rows] == 0).all()
    others = [row for row in range(32) if row not in rows]
    for name, value in after.items():
        if name.startswith(("layer2.0.conv1", "layer2.0.bn1")) and value.ndim:
            value, before[name] = value[others], before[name][others]
        assert torch.equal(value, before[name]), name
    assert rounds_of(net)[weight.name].tolist() == [int(row in rows) for row in range(32)]


def test_again_is_another_round(net):
    masks = chosen(net, "small")
    redraw(net, masks)
    first = net.layer2[0].conv1.weight[1].clone()
    redraw(net, masks)
    assert not torch.equal(net.layer2[0].conv1.weight[1], first)
    assert rounds_of(net)["layer2.0.conv1.weight"].max() == 2


def test_the_controls_choose_as_many_of_each_layer_or_none(net):
    small, random, none = (chosen(net, way) for way in ("small", "random", "none"))
    assert {name: int(mask.sum()) for name, mask in random.items()} == {n: int(m.sum()) for n, m in small.items()}
    assert not np.array_equal(random["layer2.0.conv1.weight"], small["layer2.0.conv1.weight"])
    assert not any(mask.any() for mask in none.values())
    before = state(net)
    assert redraw(net, none) == 0
    assert all(torch.equal(value, before[name]) for name, value in state(net).items())


def test_every_convolution_has_its_norm():
    for name in ("cifar_resnet8", "cifar_wrn14_2", "resnet18", "resnet50"):
        net = bnonly.network(name, 0)
        weights = {f"{path}.weight" for path, layer in net.named_modules() if isinstance(layer, nn.Conv2d)}
        assert rounds_of(net).keys() == weights


def test_what_has_nothing_to_draw_is_refused(net):
    with pytest.raises(BadInput, match="no filter to draw anew"):
        chosen(nn.Sequential(nn.Linear(2, 2)), "small")
    del net.origin
    with pytest.raises(BadInput, match="no seed"):
        chosen(net, "small")
    net = bnonly.network("cifar_resnet8", 0)
    net.rounds = {"conv1.weight": np.full(16, 255, np.uint8)}
    with pytest.raises(BadInput, match="255 times"):
        redraw(net, {name: np.full(len(own), name == "conv1.weight") for name, own in rounds_of(net).items()})
