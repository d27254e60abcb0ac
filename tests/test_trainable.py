"""Groups: what trains, to the entry, and what is refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import bnonly
from bnonly.errors import BadInput
from bnonly.randomness import bngen
from bnonly.randomness.plan import plan
from bnonly.trainable import ScalarTrained, count, select


def train(net, parameters, steps=3):
    """A few steps with everything on that could move what should not."""
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=0.1)
    net.train()
    for _ in range(steps):
        images = torch.randn(8, 3, 16, 16, generator=generator)
        labels = torch.randint(10, (8,), generator=generator)
        optimizer.zero_grad()
        cross_entropy(net(images), labels).backward()
        optimizer.step()


def parameters_of(net):
    """As whoever looks at the network from outside sees them."""
    buffers = {name for name, _ in net.named_buffers()}
    return {name: value.clone() for name, value in net.state_dict().items() if name not in buffers}


COUNTS = {  # ResNet-14
    "bn": 1120,
    "gamma": 560,
    "beta": 560,
    "output": 650,
    "shortcut": 2560,
    "random:1": 560,
    "random:2": 1120,
    "norm": 1120,
    "all": 175_258,
    "none": 0,
    "bn+output": 1770,
    "bn+output+shortcut": 4330,
    "random:2+bn": 2240,
    "random:1%": 1936,  # rounded up in each channel
    "random:100%": 173_488,  # all but the linear layer and the BatchNorms
}


@pytest.mark.parametrize("group", COUNTS)
def test_counts(group):
    net = bnonly.network("cifar_resnet14", seed=0)
    trained = bnonly.freeze_all_but(net, group)
    assert sum(p.numel() for p in trained) == COUNTS[group]
    assert trained == [p for p in net.parameters() if p.requires_grad]


@pytest.mark.parametrize("group", [group for group in COUNTS if group != "none"])
def test_exactly_the_group_moves(group):
    net = bnonly.network("cifar_resnet14", seed=0)
    before = parameters_of(net)
    train(net, bnonly.freeze_all_but(net, group))
    after = parameters_of(net)
    moved = sum(int((after[name] != before[name]).sum()) for name in before)
    assert moved == COUNTS[group]


def test_random_scalars_are_those_of_the_seed_and_no_others():
    net = bnonly.network("cifar_resnet14", seed=11)
    before = parameters_of(net)
    train(net, bnonly.freeze_all_but(net, "random:3"))
    after = parameters_of(net)
    for entry in plan(net):
        moved = (after[entry.name] != before[entry.name]).flatten(1) if len(entry.shape) == 4 else None
        if moved is None:
            assert torch.equal(after[entry.name], before[entry.name])
            continue
        stream = bngen.stream_number(bngen.POSITIONS, entry.index)
        places = bngen.positions(11, stream, entry.shape[0], entry.fan_in, 3)
        expected = torch.zeros_like(moved).scatter(1, torch.from_numpy(places), True)
        assert torch.equal(moved, expected)


def test_random_gradients_are_the_dense_ones_at_their_places():
    images, labels = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(1)), torch.arange(4)
    gradients = {}
    for group in ("all", "random:2"):
        net = bnonly.network("cifar_resnet14", seed=2).to(memory_format=torch.channels_last)
        bnonly.freeze_all_but(net, group)
        cross_entropy(net(images), labels).backward()
        gradients[group] = {name: layer for name, layer in net.named_modules() if isinstance(layer, nn.Conv2d)}
    for name, layer in gradients["random:2"].items():
        assert isinstance(layer, ScalarTrained)
        dense = gradients["all"][name].weight.grad.flatten(1).gather(1, layer.random_positions)
        torch.testing.assert_close(layer.random_values.grad, dense)


def test_the_state_dict_is_the_plain_networks_both_ways():
    plain, net = (bnonly.network("cifar_resnet14", seed=0) for _ in range(2))
    trained = bnonly.freeze_all_but(net, "random:2")
    train(net, trained)
    state = net.state_dict()
    assert list(state) == list(plain.state_dict())
    plain.load_state_dict(state)
    other = bnonly.network("cifar_resnet14", seed=0)
    values = bnonly.freeze_all_but(other, "random:2")
    other.load_state_dict(state)
    assert all(torch.equal(a, b) for a, b in zip(trained, values, strict=True))
    images = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert torch.equal(plain.eval()(images), net.eval()(images))
    assert torch.equal(plain(images), other.eval()(images))


def test_one_scalar_filters_give_what_they_have():
    net = nn.Sequential(nn.Conv2d(1, 4, 1, bias=False), nn.Conv2d(4, 2, 3, bias=False))
    trained = bnonly.freeze_all_but(net, "random:2", seed=0)
    assert sum(p.numel() for p in trained) == 4 * 1 + 2 * 2


def test_the_group_can_be_changed_and_trained_values_stay():
    net = bnonly.network("cifar_resnet14", seed=0)
    train(net, bnonly.freeze_all_but(net, "random:2"))
    moved = parameters_of(net)
    assert sum(p.numel() for p in bnonly.freeze_all_but(net, "bn")) == 1120
    assert not any(isinstance(layer, ScalarTrained) for layer in net.modules())
    assert [e.name for e in plan(net)] == [e.name for e in plan(bnonly.network("cifar_resnet14", seed=0))]
    for name, value in parameters_of(net).items():
        assert torch.equal(value, moved[name])


def test_normalisation_is_found_by_type_not_by_name():
    class Disguised(nn.Module):
        def __init__(self):
            super().__init__()
            self.bn = nn.Conv2d(3, 4, 1)
            self.conv = nn.BatchNorm2d(4)
            self.ln = nn.GroupNorm(2, 4)
            self.linear_bn = nn.Linear(4, 2)

    net = Disguised()
    assert set(select(net, "bn")) == {"conv.weight", "conv.bias"}
    assert set(select(net, "norm")) == {"conv.weight", "conv.bias", "ln.weight", "ln.bias"}
    assert set(select(net, "gamma")) == {"conv.weight", "ln.weight"}
    assert (count(net).bn, count(net).output) == (8, 0)


def test_batchnorm_goes_on_using_batch_statistics():
    net = bnonly.network("cifar_resnet14", seed=0)
    train(net, bnonly.freeze_all_but(net, "output"))
    assert all(int(layer.num_batches_tracked) == 3 for layer in net.modules() if isinstance(layer, nn.BatchNorm2d))


@pytest.mark.parametrize(
    ("net", "group", "says"),
    [
        (nn.Linear(2, 2), "bn", "no BatchNorm layer"),
        (nn.Sequential(nn.Conv2d(1, 1, 1), nn.LayerNorm(3)), "bn", "no BatchNorm layer"),
        (nn.Linear(2, 2), "norm", "no normalisation layer"),
        (nn.BatchNorm2d(2, affine=False), "gamma", "no normalisation layer with parameters"),
        (nn.BatchNorm2d(2), "output", "declares no output layer"),
        (nn.BatchNorm2d(2), "shortcut", "declares no shortcut layer"),
        (nn.Conv2d(2, 2, 3), "random:19", "largest filter has 18 scalars"),
        (nn.Linear(2, 2), "random:1", "no convolution"),
        (nn.Conv2d(2, 2, 3), "random:2", "pass seed="),
        (nn.ConvTranspose2d(2, 2, 3), "random:1", "no plain convolution"),
    ],
)
def test_impossible_groups(net, group, says):
    before = {name: value.requires_grad for name, value in net.named_parameters()}
    with pytest.raises(BadInput, match=says) as caught:
        bnonly.freeze_all_but(net, group)
    assert "\n" not in str(caught.value)
    assert {name: value.requires_grad for name, value in net.named_parameters()} == before


@pytest.mark.parametrize(
    ("group", "says"),
    [
        ("bm", "did you mean bn"),
        ("random", "whole number"),
        ("random:0", "whole number"),
        ("random:K", "whole number"),
        ("random:-1", "whole number"),
        ("random:0%", "a share of them"),
        ("random:101%", "a share of them"),
        ("", "is unknown"),
        ("bn+", "is unknown"),
        ("all+bn", "stands alone"),
        ("none+bn", "stands alone"),
        ("bn+bn", "twice"),
        ("random:1+random:2", "two random parts"),
    ],
)
def test_impossible_names(group, says):
    with pytest.raises(BadInput, match=says):
        bnonly.freeze_all_but(bnonly.network("cifar_resnet8", seed=0), group)
