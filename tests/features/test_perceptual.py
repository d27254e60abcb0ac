"""The perceptual loss against loops over numpy arrays and finite differences."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.autograd import gradcheck

import bnonly
from bnonly.data.colours import IMAGENET_MEAN, IMAGENET_STD
from bnonly.errors import BadInput
from bnonly.features import Structure, perceptual_loss
from bnonly.features.maps import gram, smoothed

SMALL = Structure((1, 1), width=2)
LAYERS = ["relu1_1", "conv2_1"]


def pair(channels=3, size=6, dtype=torch.float64):
    generator = torch.Generator().manual_seed(channels)
    return tuple(torch.rand(2, channels, size, size, generator=generator, dtype=dtype) for _ in range(2))


def by_hand(loss, a, b, distance, weights):
    """The same number by loops in numpy."""
    total = 0.0
    for weight, name in zip(weights, LAYERS, strict=True):
        maps = []
        for x in (a, b):
            y = loss.net.conv1_1(x)
            y = y.clamp(min=0) if name == "relu1_1" else loss.net.conv2_1(loss.net.pool1(y.clamp(min=0)))
            maps.append(y.detach().numpy())
        one, two = maps
        if distance == "l1":
            total += weight * np.abs(one - two).mean()
        elif distance == "l2":
            total += weight * np.mean([(((p - q) ** 2).sum() / p.size) for p, q in zip(one, two, strict=True)])
        else:
            size = one[0].size
            grams = [[np.einsum("chw,dhw->cd", p, p) / size for p in x] for x in (one, two)]
            total += weight * np.mean([((p - q) ** 2).sum() for p, q in zip(*grams, strict=True)])
    return total


@pytest.mark.parametrize("distance", ["l1", "l2", "gram"])
@pytest.mark.parametrize("weights", [None, (0.5, 3.0)])
def test_the_loss_is_that_of_loops(distance, weights):
    loss = perceptual_loss(SMALL, LAYERS, 3, distance, weights=weights).double()
    a, b = pair()
    expected = by_hand(loss, a, b, distance, weights or (1, 1))
    assert loss(a, b).item() == pytest.approx(expected, rel=1e-12) and expected > 0
    assert loss(a, a).item() == 0


@pytest.mark.parametrize("distance", ["l1", "l2", "gram"])
def test_gradients_are_finite_differences(distance):
    loss = perceptual_loss(SMALL, LAYERS, 3, distance).double()
    a, b = pair()
    assert gradcheck(lambda x: loss(x, b), (a.requires_grad_(),))


def test_gradients_reach_the_prediction_alone():
    loss = perceptual_loss("vgg11", "relu2_1", seed=1).train()
    a, b = (x.float().requires_grad_() for x in pair(size=8))
    loss(a, b).backward()
    assert a.grad is not None and a.grad.abs().sum() > 0 and b.grad is None
    assert not loss.training and not loss.net.training
    assert list(loss.parameters()) and all(not p.requires_grad and p.grad is None for p in loss.parameters())


def test_seeds():
    a, b = pair(dtype=torch.float32)
    one, same, other = (perceptual_loss(SMALL, LAYERS, seed)(a, b) for seed in (1, 1, 2))
    assert torch.equal(one, same) and one != other


@pytest.mark.parametrize("network", ["vgg11_bn", "cifar_resnet8"])
def test_networks_of_the_registry(network):
    layer = "relu1_1" if "vgg" in network else "layer1"
    a, b = pair(size=8, dtype=torch.float32)
    loss = perceptual_loss(network, layer, 5)
    assert loss(a, b) > 0
    plain = bnonly.network(network, seed=5)
    key = "conv1_1.weight" if "vgg" in network else "conv1.weight"
    assert torch.equal(loss.net.state_dict()[key], plain.state_dict()[key])


def test_pictures_are_normalised_if_asked():
    a, b = pair()
    mean, std = (
        torch.tensor(values, dtype=torch.float64).view(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD)
    )
    plain = perceptual_loss(SMALL, LAYERS, 3).double()
    normal = perceptual_loss(SMALL, LAYERS, 3, mean=IMAGENET_MEAN, std=IMAGENET_STD).double()
    expected = plain((a - mean) / std, (b - mean) / std)
    torch.testing.assert_close(normal(a, b), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("channels", [1, 7])
def test_a_plain_vgg_takes_any_number_of_channels(channels):
    loss = perceptual_loss(SMALL, LAYERS, 3, channels=channels).double()
    assert loss.net.conv1_1.in_channels == channels and loss.mixing is None
    assert loss(*pair(channels)) > 0


def test_one_channel_is_repeated_for_other_networks():
    net = nn.Sequential(nn.Conv2d(3, 2, 3)).double()
    one, three = (perceptual_loss(net, "0", channels=channels).double() for channels in (1, 3))
    a, b = pair(1)
    torch.testing.assert_close(one(a, b), three(a.expand(-1, 3, -1, -1), b.expand(-1, 3, -1, -1)))


def test_maps_of_classes_are_mixed_at_random_for_other_networks():
    net = nn.Sequential(nn.Conv2d(3, 2, 1)).double()
    many, three = perceptual_loss(net, "0", 4, channels=400).double(), perceptual_loss(net, "0").double()
    mixing = many.mixing
    assert mixing.shape == (3, 400, 1, 1) and mixing.var().item() == pytest.approx(1 / 400, rel=0.15)
    a, b = pair(400)
    expected = three(*(torch.einsum("nkhw,ck->nchw", x, mixing[:, :, 0, 0]) for x in (a, b)))
    torch.testing.assert_close(many(a, b), expected)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: perceptual_loss("vgg11", "relu9_1", 0), "layer 'relu9_1' of PlainVGG is unknown, did you mean"),
        (lambda: perceptual_loss("vgg11", "relu1_1"), "give one"),
        (lambda: perceptual_loss("vgg11", "relu1_1", 0, "l3"), "distance 'l3' is unknown: use one of l1, l2, gram"),
        (lambda: perceptual_loss(SMALL, LAYERS, 0, weights=[1]), "one number from 0 up for each of relu1_1"),
        (lambda: perceptual_loss(SMALL, LAYERS, 0, weights=[1, float("nan")]), "do not fit"),
        (lambda: perceptual_loss(SMALL, LAYERS, 0, mean=[1]), "mean .* does not fit: give 3 numbers"),
        (lambda: perceptual_loss(SMALL, LAYERS, 0, std=[1, 1, 0]), "greater than 0"),
        (lambda: perceptual_loss(nn.Sequential(nn.Conv2d(3, 1, 1)), "0", channels=5), "give a seed"),
    ],
)
def test_impossible_losses(make, says):
    with pytest.raises(BadInput, match=says):
        make()


@pytest.mark.parametrize(
    ("shapes", "dtype", "says"),
    [
        (((2, 3, 6, 6), (2, 3, 6, 5)), torch.float32, "differ in shape"),
        (((2, 1, 6, 6), (2, 1, 6, 6)), torch.float32, "of 3 channels takes"),
        (((3, 6, 6), (3, 6, 6)), torch.float32, "of 3 channels takes"),
        (((2, 3, 6, 6), (2, 3, 6, 6)), torch.int64, "takes floats of that dtype"),
        (((2, 3, 6, 6), (2, 3, 6, 6)), torch.float64, "takes floats of that dtype"),
    ],
)
def test_what_cannot_be_compared(shapes, dtype, says):
    loss = perceptual_loss(SMALL, LAYERS, 0)
    with pytest.raises(BadInput, match=says):
        loss(*(torch.zeros(shape, dtype=dtype) for shape in shapes))


def test_gram_is_einsums():
    maps = torch.randn(3, 5, 4, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = np.einsum("nchw,ndhw->ncd", maps.numpy(), maps.numpy()) / (5 * 4 * 7)
    np.testing.assert_allclose(gram(maps).numpy(), expected, rtol=1e-12)
    with pytest.raises(BadInput, match="no positions"):
        gram(torch.zeros(2, 3))


def test_one_softmax_for_all_channels_and_positions():
    maps = torch.randn(2, 3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = smoothed(maps, 0.5).numpy()
    np.testing.assert_allclose(found.sum((1, 2, 3)), 1, rtol=1e-12)
    powers = np.exp(2 * maps.numpy())
    np.testing.assert_allclose(found, powers / powers.sum((1, 2, 3), keepdims=True), rtol=1e-12)
    assert smoothed(maps * 1e6).isfinite().all()


def test_the_room_is_found_without_torch():
    script = "import bnonly, sys; bnonly.features; from bnonly.features import Structure; Structure()"
    script += "; assert 'torch' not in sys.modules; assert bnonly.features.perceptual_loss; import torch"
    root = str(Path(__file__).parents[2])
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=root)
    assert done.returncode == 0, done.stderr
