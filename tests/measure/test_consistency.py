"""Consistency against a loop over all pairs, and networks whose answers are known."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
import torch
from torch import nn

import bnonly
from bnonly.errors import BadInput
from bnonly.measure.consistency import Estimate, every_shift, random_pairs
from bnonly.measure.shifts import Shifts

IMAGES = torch.randn(7, 3, 12, 10, generator=torch.Generator().manual_seed(1))
LABELS = torch.tensor([0, 1, 2, 3, 4, 0, 1])


def batches():
    yield from zip(IMAGES.split(3), LABELS.split(3), strict=True)


def moved_slowly(image, down, right, shifts):
    """By numpy, pixel by pixel."""
    if shifts.border == "crop":
        return image[:, down : down + shifts.side, right : right + shifts.side]
    out = np.empty_like(image)
    height, width = image.shape[1:]
    for row, column in product(range(height), range(width)):
        y, x = row - down, column - right
        if shifts.border == "circular":
            out[:, row, column] = image[:, y % height, x % width]
        else:
            inside = 0 <= y < height and 0 <= x < width
            out[:, row, column] = image[:, y, x] if inside else shifts.black
    return out


WINDOWS = [
    Shifts("circular", 2),
    Shifts("black", 2, black=(-2.0, -1.5, 0.25)),
    Shifts("crop", 3, side=7),
]


@pytest.mark.parametrize("shifts", WINDOWS, ids=lambda shifts: shifts.border)
@pytest.mark.parametrize("format", [torch.contiguous_format, torch.channels_last], ids=str)
def test_images_move(shifts, format):
    images = IMAGES.to(memory_format=format)
    low, high = shifts.offsets[0], shifts.offsets[-1]
    down, right = torch.tensor([low, high, 0, 1, 1, 0, low]), torch.tensor([high, 0, 0, low, high, 1, low])
    found = shifts.moved(images, down, right)
    assert found.is_contiguous(memory_format=format)
    for place in range(7):
        wanted = moved_slowly(IMAGES[place].numpy(), int(down[place]), int(right[place]), shifts)
        np.testing.assert_array_equal(found[place].numpy(), wanted)


@pytest.mark.parametrize("shifts", WINDOWS, ids=lambda shifts: shifts.border)
def test_every_pair_by_hand(shifts):
    net = bnonly.network("cifar_resnet8", 3, classes=5).train()
    found = every_shift(net, batches, shifts, examples=2, quiet=True)
    assert net.training
    net.eval()
    offsets = list(shifts.offsets)
    answers, right = np.zeros((7, len(offsets) ** 2), int), np.zeros((7, len(offsets) ** 2))
    for image, (place, (down, across)) in product(range(7), enumerate(product(offsets, offsets))):
        pixels = np.ascontiguousarray(moved_slowly(IMAGES[image].numpy(), down, across, shifts))
        with torch.no_grad():
            logits = net(torch.from_numpy(pixels)[None])[0].double()
        answers[image, place] = logits.argmax()
        right[image, place] = logits.softmax(0)[LABELS[image]]
    assert len(set(answers.ravel())) > 1
    count = answers.shape[1]
    pairs = np.array([[[a == b for a in row] for b in row] for row in answers])
    each = pairs.mean((1, 2))
    assert found.images == 7 and found.offsets == tuple(offsets)
    assert found.consistency.mean == pytest.approx(each.mean())
    assert found.consistency.se == pytest.approx(each.std(ddof=1) / math.sqrt(7))
    others = np.array([pair[~np.eye(count, dtype=bool)].mean() for pair in pairs])
    assert found.distinct.mean == pytest.approx(others.mean())
    hit = answers == LABELS.numpy()[:, None]
    assert found.top1.mean == pytest.approx(hit.mean())
    np.testing.assert_allclose(found.by_shift.ravel(), hit.mean(0))
    np.testing.assert_allclose(found.right.ravel(), right.mean(0), rtol=1e-4)
    np.testing.assert_allclose(found.examples.reshape(2, -1), right[[0, 3]], rtol=1e-4)
    assert found.spread.mean == pytest.approx(right.std(1).mean(), rel=1e-4)
    zero = [place for place, offset in enumerate(product(offsets, offsets)) if offset == (0, 0)]
    assert found.unmoved == (None if shifts.border == "crop" else pytest.approx(hit[:, zero].mean()))


class Corner(nn.Module):
    """Class 1 where the first pixel of the first channel is positive, else class 0."""

    def forward(self, x):
        return torch.stack([torch.zeros(len(x)), x[:, 0, 0, 0]], 1)


def test_a_known_value():
    """One bright pixel of 3 x 3: of 9 shifts one brings it into the corner, so 8 and 1 agree: (64 + 1) / 81."""
    image = torch.full((1, 3, 3, 3), -1.0)
    image[:, :, 1, 1] = 1.0
    found = every_shift(Corner(), lambda: [(image, torch.tensor([1]))], Shifts("circular", 1), quiet=True)
    assert found.consistency.mean == pytest.approx(65 / 81) and found.distinct.mean == pytest.approx(56 / 72)
    assert found.top1.mean == pytest.approx(1 / 9) and found.unmoved == 0
    assert math.isnan(found.consistency.se) and found.plain()["consistency"]["se"] is None
    assert found.by_shift.tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 0]]


def test_a_network_that_moves_with_its_images_is_always_consistent():
    """Circular convolutions of stride 1 and a mean."""
    torch.manual_seed(0)
    convolutions = [nn.Conv2d(a, b, 3, padding=1, padding_mode="circular") for a, b in ((3, 8), (8, 8))]
    net = nn.Sequential(convolutions[0], nn.ReLU(), convolutions[1], nn.AdaptiveAvgPool2d(1), nn.Flatten()).double()
    double = [(images.double(), labels) for images, labels in batches()]
    found = every_shift(net, lambda: double, Shifts("circular", 3), quiet=True)
    assert found.consistency == found.distinct == Estimate(1.0, 0.0)
    assert found.spread.mean == pytest.approx(0, abs=1e-6)
    assert random_pairs(net, lambda: double, Shifts("circular", 3), 2, quiet=True).consistency.mean == 1


@pytest.mark.parametrize("shifts", WINDOWS, ids=lambda shifts: shifts.border)
def test_drawn_pairs_come_near_the_whole(shifts):
    net = bnonly.network("cifar_resnet8", 3, classes=5)
    whole = every_shift(net, batches, shifts, quiet=True)
    part = random_pairs(net, batches, shifts, 60, seed=5, quiet=True)
    assert part == random_pairs(net, batches, shifts, 60, seed=5, quiet=True)
    assert part != random_pairs(net, batches, shifts, 60, seed=6, quiet=True)
    one_by_one = [(image[None], label[None]) for image, label in zip(IMAGES, LABELS, strict=True)]
    alone = random_pairs(net, lambda: one_by_one, shifts, 60, seed=5, quiet=True)
    assert alone.consistency.mean == pytest.approx(part.consistency.mean)
    error = math.sqrt(0.25 / (60 * 7))  # of the pairs alone, at most: the images are the same
    assert abs(part.consistency.mean - whole.consistency.mean) < 4 * error
    assert abs(part.top1.mean - whole.top1.mean) < 4 * error


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Shifts("mirror"), "border='mirror' is unknown: use one of circular, black, crop"),
        (lambda: Shifts("circular", -1), "shifts by -1 pixels are impossible"),
        (lambda: Shifts("crop", 3), "crops need the side"),
        (lambda: every_shift(Corner(), batches, Shifts("circular", 10)), "need images of 11 x 11 or more.*12 x 10"),
        (lambda: every_shift(Corner(), batches, Shifts("crop", 4, side=8)), "crops of 8 pixels.*12 x 12 or more"),
        (lambda: every_shift(Corner(), list, Shifts()), "at least one image"),
        (lambda: random_pairs(Corner(), list, Shifts()), "at least one image"),
        (lambda: random_pairs(Corner(), batches, Shifts(), 0), "0 pairs of shifts are impossible"),
    ],
)
def test_what_cannot_be_measured(make, says):
    with pytest.raises(BadInput, match=says):
        make()
