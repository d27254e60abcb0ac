"""Operations that the registry's networks do not have, or not alone; and what is refused."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from bnonly.deploy.compact import compact, folded
from bnonly.errors import BadInput
from tests.deploy import nets


def conv(inputs, outputs, *shape, **options):
    return [nn.Conv2d(inputs, outputs, *shape, **options), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]


def head(channels):
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 5)]


class PreActivation(nn.Module):
    """BatchNorm and ReLU before each convolution, and a stream that nothing rectifies."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.bn1, self.conv1 = nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3, padding=1)
        self.bn2, self.conv2 = nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3, padding=1)
        self.bn3, self.fc = nn.BatchNorm2d(8), nn.Linear(8, 5)

    def forward(self, x):
        x = self.stem(x)
        out = self.conv1(torch.relu(self.bn1(x)))
        out = self.conv2(self.bn2(out).relu())
        out += x
        return self.fc(torch.flatten(self.bn3(out).mean(dim=(-1, -2), keepdim=True), 1))


class TwoReaders(nn.Module):
    """A convolution that is read with and without its BatchNorm, and added to itself."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.conv2, self.bn2 = nn.Conv2d(6, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.drop, self.fc = nn.Dropout(), nn.Linear(6, 5)

    def forward(self, x):
        x = self.conv1(x)
        y = self.bn2(self.conv2(self.drop(x)))
        y = torch.add(y, y) + self.bn1(x)
        return self.fc(nn.functional.relu(y).mean((2, 3)))


NETS = {
    "VGG": lambda: nn.Sequential(
        *conv(3, 12, 3, padding=1), nn.MaxPool2d(2), *conv(12, 16, 3, padding=1, bias=False), *conv(16, 16, 3, 1, 1),
        nn.MaxPool2d(2, 2), nn.AdaptiveAvgPool2d((2, 3)), nn.Flatten(), nn.Linear(96, 20), nn.BatchNorm1d(20),
        nn.ReLU(), nn.Dropout(), nn.Linear(20, 5),
    ),
    "pools that round up": lambda: nn.Sequential(
        *conv(3, 12, 3, padding=1), nn.MaxPool2d(2, ceil_mode=True), *conv(12, 8, 3, padding=1),
        nn.MaxPool2d(3, 2, 1, ceil_mode=True), *conv(8, 8, 3, padding=1), nn.MaxPool2d(2, ceil_mode=True), *head(8),
    ),
    "no padding": lambda: nn.Sequential(*conv(3, 8, 3), *conv(8, 8, 3, 2), *conv(8, 8, (1, 3)), *head(8)),
    "1x1 with padding": lambda: nn.Sequential(*conv(3, 8, 1, padding=1), *conv(8, 8, 1, 2, 1), *head(8)),
    "oblong": lambda: nn.Sequential(*conv(3, 8, (5, 3), (2, 1), (1, 2)), *conv(8, 8, (1, 5), 1, (0, 2)), *head(8)),
    "same": lambda: nn.Sequential(*conv(3, 8, (5, 3), padding="same"), *conv(8, 8, 3, padding="same"), *head(8)),
    "valid": lambda: nn.Sequential(*conv(3, 8, 3, padding="valid"), *conv(8, 8, 3, padding="valid"), *head(8)),
    "dilated": lambda: nn.Sequential(*conv(3, 8, 3, 1, 2, 2), *conv(8, 8, 3, 2, 3, 3), *head(8)),
    "reflected": lambda: nn.Sequential(
        *conv(3, 8, 3, padding=1, padding_mode="reflect"), *conv(8, 8, 3, 2, 1, padding_mode="circular"), *head(8)
    ),
    "grouped": lambda: nn.Sequential(
        *conv(3, 8, 3, 1, 1), *conv(8, 8, 3, 1, 1, groups=8), *conv(8, 12, 3, 2, 1, groups=4), *conv(12, 8, 1),
        *head(8),
    ),
    "other functions": lambda: nn.Sequential(
        nn.Conv2d(3, 8, 3, 1, 1), nn.BatchNorm2d(8), nn.GELU(), nn.Conv2d(8, 8, 3, 1, 1), nn.BatchNorm2d(8),
        nn.SiLU(), nn.AvgPool2d(2), nn.Identity(), nn.Conv2d(8, 8, 3, 1, 1), nn.BatchNorm2d(8), nn.Sigmoid(),
        *head(8),
    ),
    "pre-activation": PreActivation,
    "two readers": TwoReaders,
}  # fmt: skip


def made(name, seed, share):
    torch.manual_seed(seed)
    return nets.randomised(NETS[name](), seed, share)


@pytest.mark.parametrize("share", [0.0, 0.4, 0.8, 1.0])
@pytest.mark.parametrize("name", NETS)
def test_the_same_function(name, share):
    for seed in range(2):
        net = made(name, seed, share)
        for size in (16, 13):
            x = nets.images(size)
            expected = nets.exact(net, x)
            for rewritten in (compact, folded):
                assert nets.distance(rewritten(copy.deepcopy(net).double()), x.double(), expected) <= 1e-9
                assert nets.distance(rewritten(net), x, expected) <= 2e-6


def test_fewer_channels_in_each_of_them():
    for name in NETS:
        small = compact(made(name, 0, 0.6))
        before = sum(parameter.numel() for parameter in folded(made(name, 0, 0.6)).parameters())
        assert sum(parameter.numel() for parameter in small.parameters()) < before, name


class Standardised(nn.Conv2d):
    def forward(self, input):
        return self._conv_forward(input, self.weight - self.weight.mean(), self.bias)


class Choosing(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


class Sharing(nn.Module):
    """ReLU in place on what is read again."""

    def __init__(self):
        super().__init__()
        self.conv, self.relu = nn.Conv2d(3, 4, 1), nn.ReLU(inplace=True)

    def forward(self, x):
        x = self.conv(x)
        return (self.relu(x) + x).mean((2, 3))


class Scaling(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, x):
        return (self.conv(x) * 2).mean((2, 3))


@pytest.mark.parametrize(
    ("net", "says"),
    [
        (lambda: nn.Sequential(nn.Conv2d(3, 3, 1), Standardised(3, 4, 1)).eval(), "1.weight of Sequential is an op"),
        (lambda: Choosing().eval(), "cannot be read as a graph"),
        (lambda: Sharing().eval(), "ReLU .relu. of Sharing changes in place what others read"),
        (lambda: Scaling().eval(), "mul of Scaling is an operation that compaction does not know"),
        (lambda: nn.Sequential(*conv(3, 4, 1)), "in train mode .as a whole.: call net.eval"),
        (lambda: nn.Sequential(nn.Conv2d(3, 4, 1), nn.LayerNorm(8)).eval(), "LayerNorm .1. of Sequential"),
        (lambda: nn.Sequential(nn.Conv2d(3, 4, 1), nn.AvgPool2d(2, ceil_mode=True)).eval(), "without ceil_mode"),
        (lambda: nn.Sequential(nn.Conv2d(3, 4, 1), nn.AvgPool2d(3, 1, 1)).eval(), "AvgPool2d"),
        (lambda: nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten()).eval(), "other than one tensor of logits"),
        (
            lambda: nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, track_running_stats=False)).eval(),
            "keeps no running statistics",
        ),
    ],
)
def test_what_is_not_known_is_refused_in_a_sentence(net, says):
    with pytest.raises(BadInput, match=says):
        compact(net())
