"""Crops, flips and order against a slow loop, and as pure functions of (seed, epoch, step)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as tv

from bnonly.data.batches import Batches, Preparation
from bnonly.data.colours import IMAGENET_MEAN, IMAGENET_STD
from bnonly.data.images import Dataset, Images
from bnonly.errors import BadInput

CPU = torch.device("cpu")


def images(count=37, height=9, width=7):
    rng = np.random.default_rng(0)
    return Images(rng.integers(0, 256, (count, 3, height, width), np.uint8), rng.integers(0, 5, count))


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(("crop", "flip"), [(0, False), (2, False), (0, True), (3, True)])
def test_every_image_is_one_of_its_own_crops(crop, flip, channels_last):
    source = images()
    batches = Batches(source, 8, Preparation(crop=crop, flip=flip, channels_last=channels_last), CPU, seed=4)
    order, top, left, mirrored = batches._draws(3)
    seen = 0
    for pixels, labels in batches.epoch(3):
        assert pixels.is_contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
        for image, label in zip(pixels, labels, strict=True):
            place = int(order[seen])
            expected = tv.pad(torch.from_numpy(source.pixels[place]), [crop] * 4)
            expected = tv.crop(expected, int(top[seen]), int(left[seen]), 9, 7)
            if mirrored is not None and mirrored[seen]:
                expected = tv.horizontal_flip(expected)
            expected = tv.normalize(expected.float() / 255, list(IMAGENET_MEAN), list(IMAGENET_STD))
            torch.testing.assert_close(image, expected, rtol=0, atol=2e-6)
            assert int(label) == source.labels[place]
            seen += 1
    assert seen == len(source)
    assert sorted(order.tolist()) == list(range(len(source)))


def test_draws_cover_every_position_evenly():
    batches = Batches(images(9000, 4, 4), 128, Preparation(crop=4, flip=True), CPU)
    _, top, left, flip = batches._draws(0)
    for draw in (top, left):
        assert np.bincount(draw.numpy(), minlength=9) == pytest.approx(1000, abs=150)
    assert float(flip.float().mean()) == pytest.approx(0.5, abs=0.03)
    assert abs(np.corrcoef(top.numpy(), left.numpy())[0, 1]) < 0.05


def test_batches_are_a_function_of_seed_epoch_and_step():
    def run(seed, epoch, first=0):
        return list(Batches(images(), 8, Preparation(crop=2, flip=True), CPU, seed).epoch(epoch, first))

    whole, late = run(1, 2), run(1, 2, first=3)
    assert len(whole) == 5 and len(whole[-1][1]) == 37 - 32
    for (a, la), (b, lb) in zip(whole[3:], late, strict=True):
        assert torch.equal(a, b) and torch.equal(la, lb)
    assert not torch.equal(whole[0][1], run(1, 3)[0][1]) or not torch.equal(whole[0][0], run(1, 3)[0][0])
    assert not torch.equal(whole[0][0], run(2, 2)[0][0])


def test_evaluation_sees_every_image_once_as_it_is():
    source = images()
    batches = Batches(source, 10, Preparation(crop=2), CPU)
    pixels, labels = (torch.cat(parts) for parts in zip(*batches.in_order(), strict=True))
    expected = tv.normalize(torch.from_numpy(source.pixels).float() / 255, list(IMAGENET_MEAN), list(IMAGENET_STD))
    torch.testing.assert_close(pixels, expected, rtol=0, atol=2e-6)
    assert labels.tolist() == source.labels.tolist()


def test_a_holdout_is_part_of_training_and_leaves_the_test_set_alone():
    data = Dataset("made", ("a", "b", "c", "d", "e"), images(50), images(20))
    held = data.held_out(12, seed=3)
    assert (len(held.train), len(held.test), held.evaluated) == (38, 12, "holdout")
    together = np.concatenate([held.train.pixels, held.test.pixels]).reshape(50, -1)
    assert sorted(map(bytes, together)) == sorted(map(bytes, data.train.pixels.reshape(50, -1)))
    assert np.array_equal(held.test.pixels, data.held_out(12, seed=3).test.pixels)
    assert not np.array_equal(held.test.pixels, data.held_out(12, seed=4).test.pixels)
    assert data.held_out(0, seed=3) is data
    with pytest.raises(BadInput, match="leaves nothing"):
        data.held_out(50, seed=3)
