"""The loop that ours is held against does the same thing: the same networks, the same parameters, the same images."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import bnonly
from bnonly.config import RunConfig
from bnonly.data.images import Images
from bnonly.errors import BadInput
from bnonly.networks import network
from experiments.yardstick.images import images
from experiments.yardstick.plain import _loader, choose
from experiments.yardstick.plain_net import plain_network


@pytest.mark.parametrize(
    ("name", "classes", "size"), [("cifar_resnet14", 10, 32), ("cifar_wrn8_2", 10, 32), ("resnet18", 1000, 64)]
)
def test_the_same_network(name, classes, size):
    ours, theirs = network(name, 0, classes=classes).eval(), plain_network(name, classes).eval()
    theirs.load_state_dict(ours.state_dict())
    pictures = torch.randn(2, 3, size, size)
    with torch.no_grad():
        torch.testing.assert_close(theirs(pictures), ours(pictures))


def test_networks_that_have_no_double_are_refused():
    with pytest.raises(BadInput, match="resnet200 is not in torchvision"):
        plain_network("resnet200", 10)


@pytest.mark.parametrize("group", ["bn", "output", "all", "none"])
def test_the_same_parameters_train(group):
    net, ours = plain_network("cifar_resnet8", 10), bnonly.network("cifar_resnet8", seed=0)
    bnonly.freeze_all_but(ours, group)
    chosen, masked = choose(net, group)
    assert not masked and {id(p) for p in chosen} == {id(p) for p in net.parameters() if p.requires_grad}
    training = [{name for name, p in one.named_parameters() if p.requires_grad} for one in (net, ours)]
    assert training[0] == training[1]


def test_two_scalars_of_each_channel_move_and_nothing_else():
    """With momentum and weight decay on."""
    net = plain_network("cifar_resnet8", 10)
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    chosen, masked = choose(net, "random:2", decay=0.1)
    assert masked
    optimizer = torch.optim.SGD(chosen, lr=0.1, momentum=0.9)
    for _ in range(2):
        optimizer.zero_grad()
        net(torch.randn(4, 3, 32, 32)).square().sum().backward()
        optimizer.step()
    for name, p in net.named_parameters():
        moved = (p != before[name]).flatten(1).sum(1) if p.dim() == 4 else (p != before[name]).sum()
        assert (moved == (2 if p.dim() == 4 else 0)).all(), name


def test_other_groups_are_refused():
    with pytest.raises(BadInput, match="group gamma has no plain loop"):
        choose(plain_network("cifar_resnet8", 10), "gamma")


def test_images_come_out_normalised_the_same():
    """Without crop and flip, against the numbers themselves."""
    config = RunConfig.model_validate({"data": {"crop": 0}, "training": {"batch_size": 4}})
    pixels = np.random.default_rng(0).integers(0, 256, (4, 3, 8, 8), dtype=np.uint8)
    loader = _loader(config, Images(pixels, np.arange(4)), False, 0, False)
    ((found, labels),) = list(loader)
    mean, std = (np.reshape(values, (3, 1, 1)) for values in (config.data.mean, config.data.std))
    np.testing.assert_allclose(found.numpy(), (pixels / 255 - mean) / std, atol=1e-6)
    assert labels.tolist() == [0, 1, 2, 3]


def test_large_images_are_drawn():
    found = images(RunConfig.model_validate({"network": {"name": "resnet18"}}))
    assert found.train.pixels.shape[1:] == (3, 224, 224) and len(found.classes) == 1000
    assert found.train.labels.max() < 1000 and found.train.pixels[:4].std() > 50
