"""Counts against the published ones, times against a clock that is known."""

from __future__ import annotations

import time

import pytest
import torch
from torch import nn
from torchvision import models

import bnonly
from bnonly.deploy.compact import compact, folded
from bnonly.deploy.cost import cost, latency
from tests.deploy import nets


def test_the_counts_torchvision_publishes():
    published = models.ResNet18_Weights.IMAGENET1K_V1.meta
    found = cost(bnonly.network("resnet18", seed=0).eval(), (3, 224, 224))
    assert found.multiply_adds / 1e9 == pytest.approx(published["_ops"], abs=5e-4)
    assert found.parameters == published["num_params"]


def test_a_small_network_counted_by_hand():
    net = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 8, 1))
    net = nets.randomised(nn.Sequential(*net, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)))
    found = cost(net, (3, 9, 7))
    assert found.multiply_adds == 5 * 4 * (4 * 27 + 8 * 4) + 5 * 8
    assert (found.parameters, found.channels) == (108 + 8 + 40 + 45, 12)
    net[1].weight.data[:2] = 0
    net[1].bias.data[:2] = 1
    small = cost(compact(net), (3, 9, 7))
    assert small.multiply_adds == 5 * 4 * (2 * 27 + 8 * 2) + 5 * 8  # 1x1 without padding: constants go into the bias
    assert (small.parameters, small.channels) == (54 + 2 + 24 + 45, 10)
    assert cost(folded(net), (3, 9, 7)).multiply_adds == found.multiply_adds


def test_a_constant_network_costs_nothing():
    found = cost(compact(nets.network("cifar_resnet8", 0, 1.0)), (3, 32, 32))
    assert (found.multiply_adds, found.parameters, found.channels) == (0, 10, 0)


class Sleeping(nn.Module):
    def __init__(self, seconds, calls, name):
        super().__init__()
        self.seconds, self.calls, self.name = seconds, calls, name

    def forward(self, x):
        self.calls.append(self.name)
        time.sleep(self.seconds)
        return x


def test_two_networks_are_timed_in_turns():
    calls = []
    found = latency(Sleeping(0.02, calls, "b"), Sleeping(0.005, calls, "a"), torch.zeros(1), seconds=0.2)
    assert found.before >= 0.02 and found.after >= 0.005 and found.ratio > 2
    assert len(calls) == 2 * (found.rounds + 1) and found.rounds >= 5
    rounds = ["".join(calls[at : at + 2]) for at in range(0, len(calls), 2)]
    assert set(rounds) == {"ab", "ba"} and rounds[1:3] == ["ab", "ba"][:: 1 if rounds[1] == "ab" else -1]
