"""What a step needs: ResNet-14 by hand, and torch's own counter."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

import bnonly
from experiments.yardstick.counting import needs

# ResNet-14 at 32x32. Stem 3->16; four 16->16 at 32x32; 16->32 and three 32->32 at 16x16; 32->64 and three 64->64 at
# 8x8; two 1x1 shortcuts; the output layer.
STEM = 16 * 27 * 32 * 32
BODY = 4 * 16 * 144 * 32**2 + (32 * 144 + 3 * 32 * 288) * 16**2 + (64 * 288 + 3 * 64 * 576) * 8**2
SHORTCUTS = 32 * 16 * 16**2 + 64 * 32 * 8**2
OUTPUT = 64 * 10
FORWARD = STEM + BODY + SHORTCUTS + OUTPUT
# Outputs of convolutions and of the output layer.
VALUES = 5 * 16 * 32**2 + 5 * 32 * 16**2 + 5 * 64 * 8**2
STEMS = 16 * 32**2  # its output: with bn trained, nothing before the first BatchNorm wants a gradient
IMAGE = 3 * 32 * 32


def counted(group, training=True, name="cifar_resnet14"):
    net = bnonly.network(name, seed=0)
    bnonly.freeze_all_but(net, group)
    return needs(net, (3, 32, 32), training)


def test_the_numbers_of_resnet14():
    assert FORWARD == 26_657_408  # as published for this network: 26.7 M multiply-adds
    assert counted("none", training=False).forward == FORWARD


@pytest.mark.parametrize(
    ("group", "inputs", "weights", "backward"),
    [
        ("bn", FORWARD - STEM, 0, VALUES - STEMS + 10),
        ("all", FORWARD - STEM, FORWARD, VALUES + 10),
        ("output", 0, OUTPUT, 10),
        ("random:2", FORWARD - STEM, 2 * VALUES, VALUES + 10),
        ("bn+output", FORWARD - STEM, OUTPUT, VALUES - STEMS + 10),
        ("none", 0, 0, 0),
    ],
)
def test_a_step_of_each_group(group, inputs, weights, backward):
    found = counted(group)
    assert (found.forward, found.for_inputs, found.for_weights) == (FORWARD, inputs, weights)
    assert found.flops == 2 * (FORWARD + inputs + weights)
    assert found.values_forward == 2 * (VALUES + 10) + IMAGE and found.values_backward == 3 * backward


def test_bytes_of_a_step():
    found, weights = counted("bn"), 175_258 - 1_120 - 10  # biases are no part of a convolution's traffic
    stem = 16 * 27
    passes = 2 * weights - stem  # read forward, and backward again but for the stem's
    values = 2 * (VALUES + 10) + IMAGE + 3 * (VALUES - STEMS + 10)
    assert found.bytes("fp32", 128) == pytest.approx(4 * values + 4 * passes / 128)
    assert found.bytes("bf16", 128) == pytest.approx(2 * values + 4 * passes / 128)


@pytest.mark.parametrize("group", ["bn", "all", "output"])
@pytest.mark.parametrize("name", ["cifar_resnet14", "cifar_wrn8_2"])
def test_torch_counts_the_same(group, name):
    from torch.utils.flop_counter import FlopCounterMode

    net = bnonly.network(name, seed=0)
    bnonly.freeze_all_but(net, group)
    with FlopCounterMode(display=False) as counter:
        cross_entropy(net(torch.ones(2, 3, 32, 32)), torch.tensor([0, 1])).backward()
    assert needs(net, (3, 32, 32)).flops == counter.get_total_flops() / 2


def test_the_network_is_left_as_it_was():
    net = bnonly.network("cifar_resnet8", seed=0).eval()
    bnonly.freeze_all_but(net, "random:2")
    before = {name: value.clone() for name, value in net.state_dict().items()}
    needs(net, (3, 32, 32))
    assert not net.training and all(value.equal(before[name]) for name, value in net.state_dict().items())
    assert not any(layer._forward_hooks for layer in net.modules())
