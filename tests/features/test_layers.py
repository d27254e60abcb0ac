"""Features by name, against the layers called by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bnonly.errors import BadInput
from bnonly.features import features


class Odd(nn.Module):
    """A layer that runs twice, one that never does, and one that gives two tensors."""

    def __init__(self):
        super().__init__()
        self.twice, self.never = nn.Linear(4, 4), nn.Linear(4, 4)
        self.pair = nn.LSTM(4, 4, batch_first=True)

    def forward(self, x):
        return self.pair(self.twice(self.twice(x)))[0]


def test_features_are_what_layers_put_out_whatever_follows_in_place():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Conv2d(4, 2, 1))
    x = torch.randn(2, 3, 5, 5)
    found = features(net, ["2", "0"], x)
    assert list(found) == ["2", "0"]
    assert torch.equal(found["0"], net[0](x)) and (found["0"] < 0).any()
    assert torch.equal(found["2"], net(x))


def test_gradients_flow_and_no_hook_is_left():
    net, x = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), torch.randn(1, 3, 4, 4, requires_grad=True)
    features(net, "0", x)["0"].sum().backward()
    assert x.grad is not None and x.grad.abs().sum() > 0
    assert not any(layer._forward_hooks for layer in net.modules())


def test_what_lies_behind_the_last_layer_does_not_run():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Linear(99, 1))
    assert features(net, "0", torch.zeros(1, 3, 4, 4))["0"].shape == (1, 4, 2, 2)


def test_of_a_layer_that_runs_twice_the_first_output():
    net, x = Odd(), torch.randn(2, 3, 4)
    assert torch.equal(features(net, "twice", x)["twice"], net.twice(x))


@pytest.mark.parametrize(
    ("layers", "says"),
    [
        ("twize", "layer 'twize' of Odd is unknown, did you mean twice"),
        ([], "at least one"),
        (["twice", "twice"], "named twice"),
        ("never", "layer never of Odd does not run"),
        ("pair", "puts out no tensor but tuple"),
    ],
)
def test_impossible_layers(layers, says):
    with pytest.raises(BadInput, match=says):
        features(Odd(), layers, torch.zeros(2, 3, 4))


def test_an_input_that_does_not_fit_is_a_sentence():
    with pytest.raises(BadInput, match=r"cannot take an input of \[1, 2, 4, 4\]"):
        features(nn.Sequential(nn.Conv2d(3, 4, 3)), "0", torch.zeros(1, 2, 4, 4))
