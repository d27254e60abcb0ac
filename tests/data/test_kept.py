"""The data set that a process keeps from run to run."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest

from bnonly.data import kept
from bnonly.data.kept import keep_last, loaded
from tests.data.pictures import image_folder, write_cifar


@pytest.fixture
def keeping():
    keep_last()
    yield
    keep_last(False)


def test_nothing_is_kept_unless_it_is_asked_for():
    assert loaded("digits") is not loaded("digits")


def test_the_last_one_is_kept_until_another_is_wanted(keeping, tmp_path):
    image_folder(tmp_path)
    first = loaded("digits")
    assert loaded("digits") is first
    small = loaded("folder", tmp_path, size=8)
    assert loaded("folder", tmp_path, size=8) is small and loaded("folder", tmp_path, size=9) is not small
    assert loaded("digits") is not first


def test_a_folder_that_changes_is_read_again(keeping, tmp_path):
    image_folder(tmp_path)
    before = loaded("folder", tmp_path, size=8)
    image = next(tmp_path.glob("train/*/*"))
    image.rename(image.with_name("moved" + image.suffix))
    os.utime(image.parent, ns=(1, 1))  # a clock may be coarse
    after = loaded("folder", tmp_path, size=8)
    assert after is not before and len(after.train) == len(before.train)
    image.with_name("moved" + image.suffix).unlink()
    os.utime(image.parent, ns=(2, 2))
    assert len(loaded("folder", tmp_path, size=8).train) == len(before.train) - 1


def test_a_file_that_changes_is_read_again(keeping, tmp_path):
    where, _ = write_cifar(tmp_path, "cifar10", 4, images=4)
    before = loaded("cifar10", tmp_path)
    assert loaded("cifar10", tmp_path) is before
    shutil.rmtree(where)
    write_cifar(tmp_path, "cifar10", 5, images=4)
    after = loaded("cifar10", tmp_path)
    assert not np.array_equal(after.train.pixels, before.train.pixels)


def test_images_on_the_disk_are_not_kept(keeping, tmp_path):
    image_folder(tmp_path)
    assert loaded("imagenet", tmp_path) is not loaded("imagenet", tmp_path)
    assert kept._last is None


def test_what_cannot_be_loaded_is_told_each_time(keeping, tmp_path):
    for _ in range(2):
        with pytest.raises(ValueError, match="does not exist"):
            loaded("folder", tmp_path / "nowhere")
