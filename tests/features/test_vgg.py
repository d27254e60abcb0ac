"""Plain random VGGs: their weights against numpy's arithmetic, their function against torch's functions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from bnonly.errors import BadInput
from bnonly.features.layers import features
from bnonly.features.networks import extractor, settle, stage_ends, without_residuals
from bnonly.features.structure import VGGS, Structure
from bnonly.features.vgg import random_vgg
from bnonly.randomness import bngen

SMALL = Structure((1, 2), width=4)


def images(size=9, channels=3, count=2, dtype=torch.float32):
    return torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(size), dtype=dtype)


def test_layers_are_torchvisions():
    for name in VGGS:
        own = extractor(name, 0)
        with torch.device("meta"):
            theirs = list(getattr(torchvision.models, name)().features)[:-1]
        assert [type(layer).__name__ for layer in theirs] == [
            type(own.get_submodule(part)).__name__.replace("_", "") for part in own.order
        ]
        assert [layer.weight.shape for layer in theirs if isinstance(layer, nn.Conv2d)] == [
            parameter.shape for parameter in own.parameters()
        ]


def test_the_function_is_that_of_torchs_functions():
    net = random_vgg(Structure((1, 2), kernel=5, width=4), 3, channels=2).double()
    x = images(9, 2, dtype=torch.float64)
    w = dict(net.named_parameters())
    y = F.relu(F.conv2d(x, w["conv1_1.weight"], padding=2))
    y = F.max_pool2d(F.pad(y, (0, 1, 0, 1)), 2)  # 9 -> 5; zeros are no more than any ReLU's output
    y = F.relu(F.conv2d(y, w["conv2_1.weight"], padding=2))
    y = F.relu(F.conv2d(y, w["conv2_2.weight"], padding=2))
    torch.testing.assert_close(net(x), y, rtol=1e-12, atol=1e-12)
    assert y.shape == (2, 8, 5, 5)


def test_same_seed_same_bits_and_other_seeds_others():
    one, same, other = (extractor(SMALL, seed) for seed in (7, 7, 8))
    for a, b, c in zip(one.parameters(), same.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b) and not (a == c).any() and not a.requires_grad
    assert not one.training


def test_values_are_the_streams_in_plan_order_and_no_global_state_is_used():
    before = torch.random.get_rng_state()
    net = extractor(SMALL, 7)
    assert torch.equal(torch.random.get_rng_state(), before)
    for place, weight in enumerate(net.parameters()):
        expected = bngen.he_weights(7, bngen.stream_number(bngen.INITIAL, place), weight.numel(), weight[0].numel())
        assert (weight.numpy().ravel() == expected).all()


@pytest.mark.parametrize(
    ("weights", "std"),
    [
        ("he", lambda n, m, place: np.sqrt(2 / n)),
        ("xavier", lambda n, m, place: np.sqrt(2 / (n + m))),
        ("he_index", lambda n, m, place: np.sqrt(2 / (place * n))),
        ("normal:0.1", lambda n, m, place: 0.1),
        ("uniform:0.01", lambda n, m, place: 0.01 / np.sqrt(3)),
        ("normal:1", lambda n, m, place: 1.0),
    ],
)
def test_standard_deviations(weights, std):
    structure = Structure((1, 1, 1), width=32, weights=weights)
    for place, weight in zip((1, 4, 7), random_vgg(structure, 1).parameters(), strict=True):
        n, m = weight[0].numel(), weight[:, 0].numel()
        assert weight.std().item() == pytest.approx(std(n, m, place), rel=0.06)
        if weights.startswith("uniform"):
            assert 0.0099 < weight.abs().max() < 0.01


def test_he_keeps_the_scale_of_activations_and_the_index_does_not():
    x = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    spread = {}
    for weights in ("he", "he_index"):
        net = random_vgg(Structure((2, 2, 4), width=32, weights=weights), 5)
        spread[weights] = float(
            features(net, "conv3_4", x)["conv3_4"].std() / features(net, "conv1_1", x)["conv1_1"].std()
        )
    assert 0.5 < spread["he"] < 2.5 and spread["he_index"] < 0.01


def test_biases():
    net = random_vgg(Structure((1, 1), width=64, bias=True), 2)
    bias = net.get_submodule("conv2_1").bias
    bound = 1 / np.sqrt(64 * 9)
    assert 0.9 * bound < bias.abs().max() < bound
    assert all(layer.bias is None for layer in random_vgg(SMALL, 2).modules() if isinstance(layer, nn.Conv2d))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"blocks": ()}, "blocks .* are impossible"),
        ({"blocks": (1, 0)}, "each at least 1"),
        ({"kernel": 4}, "kernel 4 is impossible: give an odd number"),
        ({"width": 0}, "width 0 is impossible"),
        ({"weights": "glorot"}, "weights 'glorot' are unknown: use one of he, xavier"),
        ({"weights": "normal:0"}, "are unknown"),
        ({"weights": "uniform:-1"}, "are unknown"),
    ],
)
def test_impossible_structures(options, says):
    with pytest.raises(BadInput, match=says):
        Structure(**options)


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (lambda: extractor("vgg18", 0), "network 'vgg18' is unknown; did you mean vgg1"),
        (lambda: extractor("vgg12_bn", 0), "depth 12 is not among"),
        (lambda: extractor("vgg11"), "give one"),
        (lambda: extractor("vgg11", 1 << 128), "seed .* is out of range"),
        (lambda: extractor("cifar_resnet8", 0, channels=5), "takes 3 channels, not 5"),
        (lambda: extractor("vgg11", 0, residual=False), "PlainVGG has no residual connections"),
        (lambda: extractor(SMALL, 0, channels=0), "0 channels are impossible"),
        (lambda: stage_ends(nn.Linear(1, 1)), "name its layers"),
    ],
)
def test_what_does_not_go_together(ask, says):
    with pytest.raises(BadInput, match=says):
        ask()


def test_a_module_is_copied_and_frozen():
    own = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    net = extractor(own)
    assert own.training and all(p.requires_grad for p in own.parameters())
    assert not net.training and not any(p.requires_grad for p in net.parameters())


def test_a_resnet_without_residual_connections_is_the_chain_of_its_blocks():
    net = extractor("cifar_resnet8", 4, residual=False).double()
    x = y = images(17, dtype=torch.float64)
    y = net.begin(y)
    for stage in (1, 2, 3):
        block = net.get_submodule(f"layer{stage}.0")
        y = F.relu(block.bn2(block.conv2(F.relu(block.bn1(block.conv1(y))))))
    torch.testing.assert_close(features(net, "layer3", x)["layer3"], y)
    assert not torch.allclose(features(extractor("cifar_resnet8", 4).double(), "layer3", x)["layer3"], y)
    with pytest.raises(BadInput, match="no residual connections"):
        without_residuals(nn.Linear(1, 1))


def test_settled_norms_normalise_over_these_images():
    net, x = extractor("cifar_resnet8", 4), images(16, count=4)
    settle(net, [x])
    found = features(net, ["bn1", "layer2.0.bn2"], x)
    for maps in found.values():
        torch.testing.assert_close(maps.mean((0, 2, 3)), torch.zeros(maps.shape[1]), rtol=0, atol=0.02)
        torch.testing.assert_close(maps.var((0, 2, 3)), torch.ones(maps.shape[1]), rtol=0, atol=0.02)
    assert not net.training and net.bn1.momentum == 0.1


@pytest.mark.parametrize(
    ("network", "ends"),
    [
        ("vgg13", ("relu1_2", "relu2_2", "relu3_2", "relu4_2", "relu5_2")),
        ("vgg11_bn", ("relu1_1", "relu2_1", "relu3_2", "relu4_2", "relu5_2")),
        ("cifar_resnet8", ("layer1", "layer2", "layer3")),
        (SMALL, ("relu1_1", "relu2_2")),
    ],
)
def test_where_stages_end(network, ends):
    net = extractor(network, 0)
    assert stage_ends(net) == ends and set(features(net, ends, images(8))) == set(ends)
