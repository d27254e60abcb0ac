"""Images read by workers: the same pixels whoever reads them, crops as torchvision draws them, errors that name."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from torchvision.transforms import v2

from bnonly.config import RunConfig
from bnonly.data.batches import Share
from bnonly.data.listing import listed
from bnonly.data.sources import load
from bnonly.data.streamed import CropPreparation, Streamed, crop
from bnonly.errors import BadInput, TrainingFailed
from tests.data.pictures import image_folder

CPU = torch.device("cpu")
HOW = CropPreparation(size=16, resize=18)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return image_folder(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def files(pictures):
    return listed(pictures)[1]


def pixels_of(batches):
    images, labels = zip(*batches, strict=True)
    return torch.cat(images), torch.cat(labels)


def test_evaluation_is_torchvisions(files):
    batches = Streamed(files, 5, HOW, CPU)
    images, labels = pixels_of(batches.in_order())
    theirs = v2.Compose(
        [v2.Resize(18), v2.CenterCrop(16), v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True),
         v2.Normalize(HOW.mean, HOW.std)]
    )  # fmt: skip
    expected = torch.stack([theirs(Image.open(files.path(place)).convert("RGB")) for place in range(len(files))])
    torch.testing.assert_close(images, expected, rtol=0, atol=2e-6)
    assert labels.tolist() == files.labels.tolist() == sorted(labels.tolist())


def test_crops_are_distributed_as_torchvisions():
    """Kolmogorov-Smirnov, two samples; bounds that make some tries fail."""
    height, width, scale, ratio = 60, 100, (0.3, 1.0), (0.5, 2.0)
    theirs, image = v2.RandomResizedCrop(8, scale, ratio), torch.zeros(3, height, width)
    torch.manual_seed(0)
    boxes = [theirs.make_params([image]) for _ in range(4000)]
    expected = np.array([[box[side] for side in ("top", "left", "height", "width")] for box in boxes])
    rng = np.random.default_rng(0)
    ours = np.array([crop(rng.random(40), height, width, scale, ratio) for _ in range(4000)])
    for column in range(4):
        assert stats.ks_2samp(ours[:, column], expected[:, column]).pvalue > 1e-3
    assert (ours[:, 0] + ours[:, 2]).max() == height and (ours[:, 1] + ours[:, 3]).max() == width
    assert ours[:, :2].min() == 0


@pytest.mark.parametrize("shape", [(10, 300), (300, 10), (50, 50)])
def test_a_crop_that_never_fits_is_torchvisions(shape):
    scale, ratio = (4.0, 4.0), (0.8, 1.25)  # four times the image
    box = v2.RandomResizedCrop(8, scale, ratio).make_params([torch.zeros(3, *shape)])
    draws = np.random.default_rng(0).random(40)
    assert crop(draws, *shape, scale, ratio) == (box["top"], box["left"], box["height"], box["width"])


def test_training_is_that_crop_scaled_and_half_of_it_mirrored(files):
    image, mirrored = Image.open(files.path(0)).convert("RGB"), 0
    for epoch in range(40):
        made = HOW.training(image, 3, epoch, 0)
        plain = CropPreparation(16, 18, flip=False).training(image, 3, epoch, 0)
        assert made.shape == (3, 16, 16) and made.dtype == torch.uint8
        mirrored += torch.equal(made, plain.flip(-1))
        assert torch.equal(made, plain) or torch.equal(made, plain.flip(-1))
    assert 10 < mirrored < 30


def test_workers_processes_and_resuming_change_no_pixel(files):
    alone = list(Streamed(files, 10, HOW, CPU, seed=5).epoch(2))
    assert [len(labels) for _, labels in alone] == [10, 10, 10, 10, 2]
    many = list(Streamed(files, 10, HOW, CPU, seed=5, workers=2).epoch(2, first=3))
    for (a, b), (c, d) in zip(alone[3:], many, strict=True):
        assert torch.equal(a, c) and torch.equal(b, d)
    shares = [list(Streamed(files, 10, HOW, CPU, 5, 0, Share(rank, 2)).epoch(2)) for rank in range(2)]
    for (images, labels), first, second in zip(alone, *shares, strict=True):
        assert torch.equal(images[0::2], first[0]) and torch.equal(images[1::2], second[0])
        assert torch.equal(labels[1::2], second[1])


def test_epochs_differ_and_follow_the_seed(files):
    batches, again, other = (Streamed(files, 42, HOW, CPU, seed=seed) for seed in (5, 5, 6))
    one, two, same, different = (
        pixels_of(b.epoch(e))[0] for b, e in ((batches, 0), (batches, 1), (again, 0), (other, 0))
    )
    assert torch.equal(one, same) and not torch.equal(one, two) and not torch.equal(one, different)


def test_large_batches_come_in_pieces_of_workers(files):
    images, labels = pixels_of(Streamed(files, 42, HOW, CPU, workers=2).epoch(0))
    alone = pixels_of(Streamed(files, 42, HOW, CPU).epoch(0))
    assert torch.equal(images, alone[0]) and torch.equal(labels, alone[1])


def test_channels_last(files):
    how = CropPreparation(size=16, resize=18, channels_last=True)
    images, _ = next(Streamed(files, 4, how, CPU).in_order())
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(images, next(Streamed(files, 4, HOW, CPU).in_order())[0])


@pytest.mark.parametrize("workers", [0, 1])
def test_a_file_that_is_no_image_is_named(tmp_path, workers):
    root = image_folder(tmp_path, classes=2, train=3)
    bad = root / "train" / "n0001" / "000.jpg"
    bad.write_bytes(bad.read_bytes()[:200])
    with pytest.raises(BadInput, match=r"n0001/000.jpg cannot be read as an image"):
        list(Streamed(listed(root)[1], 4, HOW, CPU, workers=workers).epoch(0))


class Killed(CropPreparation):
    def evaluation(self, image):
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_worker_is_one_sentence(files):
    with pytest.raises(TrainingFailed, match=r"decodes images was killed .*lower data.workers"):
        list(Streamed(files, 4, Killed(16, 18), CPU, workers=1).in_order())


class Hangs(CropPreparation):
    """The first worker does, and says so in a file of the working directory; or all of them."""

    ever: ClassVar[bool] = False

    def evaluation(self, image):
        try:
            Path("hung").touch(exist_ok=self.ever)
        except FileExistsError:
            return super().evaluation(image)
        while True:
            signal.pause()


class HangsEver(Hangs):
    ever = True


@pytest.fixture
def impatient(tmp_path, monkeypatch):
    """Seconds for a worker that hangs, none of which may be left."""
    before = set(multiprocessing.active_children())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("bnonly.data.streamed.PATIENCE", 2.0)
    monkeypatch.setattr("bnonly.data.streamed._WAITS", 2)
    monkeypatch.setattr("torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL", 0.2)  # seconds a worker has to end
    yield
    assert set(multiprocessing.active_children()) <= before


@pytest.mark.usefixtures("impatient")
def test_others_take_the_place_of_a_worker_that_hangs(files):
    images, labels = pixels_of(Streamed(files, 4, Hangs(16, 18), CPU, workers=2).in_order())
    wanted = pixels_of(Streamed(files, 4, HOW, CPU).in_order())
    assert Path("hung").exists()
    assert torch.equal(images, wanted[0]) and torch.equal(labels, wanted[1])


@pytest.mark.usefixtures("impatient")
def test_a_disk_that_never_answers_is_one_sentence(files):
    with pytest.raises(TrainingFailed, match="gave none within 4 seconds: see whether the disk"):
        list(Streamed(files, 4, HangsEver(16, 18), CPU, workers=1).in_order())


class Talks(CropPreparation):
    def evaluation(self, image):
        print("a library's warning", file=sys.stderr)
        return super().evaluation(image)


def test_what_a_worker_says_does_not_wait_for_the_terminals_bar(files, monkeypatch):
    """The bar puts an object in stderr's place whose lock a forked worker may find held for ever."""

    class Held:
        def write(self, text):
            signal.pause()

        def flush(self):
            pass

    monkeypatch.setattr(sys, "stderr", Held())
    images, _ = pixels_of(Streamed(files, 4, Talks(16, 18), CPU, workers=1).in_order())
    assert len(images) == len(files)


def test_pieces_of_a_batch_hold_no_file_descriptors(files):
    """Two a piece, while it is shared with a worker."""
    batches = Streamed(files, 42, HOW, CPU, workers=1)
    next(iter(batches.in_order()))
    before = len(list(Path("/proc/self/fd").iterdir()))
    held = [batch for _ in range(10) for batch in batches.in_order()]
    assert len(held) == 10 and len(list(Path("/proc/self/fd").iterdir())) < before + 10


def test_the_holdout_is_split_off_without_opening_a_file(pictures):
    data = load("imagenet", pictures).held_out(9, seed=1)
    assert (len(data.train), len(data.test), data.evaluated) == (33, 9, "holdout")
    paths = {data.train.path(i) for i in range(33)} | {data.test.path(i) for i in range(9)}
    assert len(paths) == 42 and all(path.is_file() for path in paths)


def test_the_digest_sees_names_sizes_and_classes(tmp_path):
    root = image_folder(tmp_path, classes=2, train=3)
    before = load("imagenet", root).digest()
    assert before == load("imagenet", root).digest()
    (root / "train" / "n0000" / "001.png").rename(root / "train" / "n0001" / "901.png")
    moved = load("imagenet", root).digest()
    with (root / "val" / "n0000" / "000.jpg").open("ab") as file:
        file.write(b"x")
    assert len({before, moved, load("imagenet", root).digest()}) == 3


def test_links_and_folders_within_a_class_are_followed_and_hidden_files_are_not(tmp_path):
    root = image_folder(tmp_path / "a", classes=2, train=2, test=1)
    (root / "train" / "n0000" / "deep").mkdir()
    (root / "train" / "n0000" / "000.jpg").rename(root / "train" / "n0000" / "deep" / "000.JPEG")
    (root / "train" / "n0000" / "._001.png").write_bytes(b"macOS leaves these")
    (root / "train" / "n0000" / "list.txt").write_text("no picture")
    linked = tmp_path / "b"
    linked.mkdir()
    for split in ("train", "val"):
        (linked / split).symlink_to(root / split)
    classes, train, _ = listed(linked)
    assert classes == ("n0000", "n0001") and [os.fsdecode(name) for name in train.names[:2]] == [
        "n0000/001.png",
        "n0000/deep/000.JPEG",
    ]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"crop": 4}, "imagenet has crop_scale"),
        ({"crop_scale": [0.5, 0.2]}, "must not fall"),
        ({"crop_scale": [0.5, 1.5]}, "at most 1"),
        ({"crop_ratio": [2, 1]}, "must not fall"),
        ({"size": 300, "resize": 256}, "resize 256 is smaller than size 300"),
        ({"source": "folder", "crop_ratio": [1, 1]}, "crop_ratio is for source: imagenet"),
    ],
)
def test_what_does_not_go_together_is_refused(data, says):
    with pytest.raises(ValueError, match=says):
        RunConfig.model_validate({"data": {"source": "imagenet", "path": "x"} | data})


def test_imagenets_defaults_are_the_papers():
    data = RunConfig.model_validate({"data": {"source": "imagenet", "path": "x"}}).data
    assert (data.size, data.resize, data.crop_scale, data.crop_ratio, data.flip) == (
        224,
        256,
        (0.1, 1),
        (0.8, 1.25),
        True,
    )
    assert RunConfig.model_validate({"data": {"source": "imagenet", "path": "x", "size": "112"}}).data.resize == 128
