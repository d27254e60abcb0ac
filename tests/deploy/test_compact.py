"""Compacted networks of the registry against the plain ones in float64."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

import bnonly
from bnonly.deploy.compact import compact, folded
from bnonly.deploy.parts import Extend
from bnonly.networks.residual import BasicBlock, Bottleneck
from tests.deploy import nets

CIFAR, IMAGENET = (32, 17, 8), (64, 47, 33)

DEAD = {
    "nothing": [],
    "everything": [("*", None)],
    "everything, beta > 0": [("*", 1)],
    "everything, beta < 0": [("*", -1)],
    "the stem, beta > 0": [("bn1", 1)],
    "the stem, beta < 0": [("bn1", -1)],
    "all but the stem": [("layer*", None)],
    "first norms of branches": [("layer*.bn1", 1)],
    "last norms of branches": [("layer*.bn2", None)],
    "shortcuts": [("*downsample*", None)],
    "shortcuts and their branches": [("*downsample*", None), ("layer?.0.bn2", 1)],
    "a stage": [("layer2*", None)],
    "a stage but its shortcut": [("layer2*.bn?", None)],
    "the stem and the first stage": [("bn1", 1), ("layer1*", 1)],
    "the stem and all last norms": [("bn1", 1), ("layer*.bn2", -1), ("*downsample*", 1)],
    "one layer": [("layer3.0.bn1", None)],
}


def is_the_same_function(net, sizes):
    whole, small, in_double = folded(net), compact(net), compact(copy.deepcopy(net).double())
    assert not any(isinstance(layer, _BatchNorm) for made in (whole, small) for layer in made.modules())
    own, compacted = 0.0, 0.0
    for size in sizes:
        x = nets.images(size)
        expected = nets.exact(net, x)
        own = max(own, nets.distance(net, x, expected))
        compacted = max(compacted, *(nets.distance(made, x, expected) for made in (whole, small)))
        assert nets.distance(in_double, x.double(), expected) <= 1e-9
    assert compacted <= 4 * own


@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
@pytest.mark.parametrize("name", ["cifar_resnet20", "cifar_wrn14_2"])
def test_random_channels_dead(name, share):
    is_the_same_function(nets.network(name, 1, share), CIFAR)


def test_random_channels_dead_for_imagenet():
    is_the_same_function(nets.network("resnet18", 1, 0.3), (33,))


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.1, 0.6])
@pytest.mark.parametrize("name", ["cifar_resnet866", "cifar_wrn14_8", "resnet18", "resnet50", "resnet200"])
def test_random_channels_dead_in_large_networks(name, share):
    is_the_same_function(nets.network(name, 1, share), CIFAR if "cifar" in name else IMAGENET)


@pytest.mark.parametrize("pattern", DEAD)
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_whole_layers_dead(pattern, share):
    net = nets.network("cifar_resnet14", 2, share)
    for layers, beta in DEAD[pattern]:
        nets.dead(net, layers, beta)
    is_the_same_function(net, CIFAR)


@pytest.mark.parametrize("pattern", DEAD)
@pytest.mark.parametrize("block", [BasicBlock, Bottleneck])
def test_whole_layers_dead_behind_a_pool(block, pattern):
    net = nets.small_imagenet(block, 2, 0.2)
    for layers, beta in DEAD[pattern]:
        nets.dead(net, layers.replace("bn2", "bn3") if block is Bottleneck else layers, beta)
    is_the_same_function(net, IMAGENET)


@pytest.mark.parametrize("alive", [0, 1])
def test_one_channel_alive_in_every_layer(alive):
    net = nets.network("cifar_resnet14", 3)
    for number, layer in enumerate(layer for layer in net.modules() if isinstance(layer, _BatchNorm)):
        place = number % layer.num_features if alive else 0
        layer.weight.data[torch.arange(layer.num_features) != place] = 0
    is_the_same_function(net, CIFAR)


def convolutions(net):
    return {
        name: (layer.in_channels, layer.out_channels)
        for name, layer in net.named_modules()
        if type(layer) is nn.Conv2d
    }


def test_what_is_left_counted_by_hand():
    net = nets.network("cifar_resnet8", 4)
    with torch.no_grad():
        net.layer1[0].bn1.weight[:5] = 0
        net.layer1[0].bn1.bias[:5] = torch.tensor([-1.0, 0.0, -2.0, -0.5, -3.0])  # 0 behind the ReLU
        net.layer1[0].bn2.weight[2:9] = 0  # seven rows of the branch; the stream stays whole
        net.layer2[0].bn1.weight[:4] = 0
        net.layer2[0].bn1.bias[:4] = torch.tensor([1.0, 2.0, -1.0, 3.0])  # one channel of ones for three of them
        net.layer3[0].bn2.weight[:10] = 0
        net.layer3[0].downsample[1].weight[4:12] = 0  # channels 4 to 9 of the stream are constant
    small = compact(net)
    assert convolutions(small) == {
        "conv1": (3, 16),
        "layer1.0.conv1": (16, 11),
        "layer1.0.conv2": (11, 9),
        "layer2.0.conv1": (16, 28),
        "layer2.0.conv2": (29, 32),
        "layer2.0.downsample.0": (16, 32),
        "layer3.0.conv1": (32, 64),
        "layer3.0.conv2": (64, 54),
        "layer3.0.downsample.0": (32, 56),
    }
    assert small.fc.in_features == 58
    is_the_same_function(net, CIFAR)


def test_what_only_dead_channels_read_goes_too():
    net = nets.dead(nets.network("cifar_resnet14", 5), "layer2.1.bn2")
    assert not {name for name in convolutions(compact(net)) if name.startswith("layer2.1")}
    nets.dead(nets.dead(net, "layer3.0.bn2"), "*3.0.downsample*")
    left = set(convolutions(compact(net)))
    assert left == {"layer3.1.conv1", "layer3.1.conv2"}  # of ones; nothing before them sees an image any more
    assert sum(p.numel() for p in compact(nets.dead(net, "*")).parameters()) == 10


def test_no_ones_where_all_constants_are_zero():
    net = nets.dead(nets.network("cifar_resnet14", 6), "layer?.?.bn1", beta=-1)
    assert not [layer for layer in compact(net).modules() if isinstance(layer, Extend)]


def test_the_network_stays_as_it_is():
    net = nets.network("cifar_resnet8", 7, 0.3)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    small = compact(net)
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    x = nets.images(8)
    logits = small(x)
    for tensor in net.state_dict().values():
        tensor.zero_()
    torch.testing.assert_close(small(x), logits, rtol=0, atol=0)
    assert not any(parameter.requires_grad for parameter in small.parameters()) and not small.training


def test_the_type_of_the_result_can_be_chosen():
    net = nets.network("cifar_resnet8", 8, 0.3)
    assert {p.dtype for p in compact(net, torch.float64).parameters()} == {torch.float64}
    x = nets.images(17)
    assert nets.distance(compact(net, torch.float64), x.double(), nets.exact(net, x)) <= 1e-9


def test_scalars_of_random_k_count_before_any_forward():
    net = nets.network("cifar_resnet8", 9, 0.3)
    bnonly.freeze_all_but(net, "random:2")
    with torch.no_grad():
        net.conv1.random_values += 1
    x = nets.images(8)
    small = compact(net)
    assert nets.distance(small, x, nets.exact(net, x)) < 1e-5


class _Halves(nn.BatchNorm2d):
    """A subclass of the house's, with a forward that torch.fx would enter."""

    __module__ = "bnonly.networks.somewhere"

    def forward(self, input):
        return nn.functional.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias)


def test_our_own_batch_norms_are_known():
    net = nets.network("cifar_resnet8", 10, 0.3)
    x = nets.images(8)
    expected = nets.exact(net, x)
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.__class__ = _Halves
    assert nets.distance(compact(net, torch.float64), x.double(), expected) <= 1e-9
