"""Data sets from files: as published, as image folders, and damaged in the ways files are."""

from __future__ import annotations

import pickle
import tarfile

import numpy as np
import pytest
from PIL import Image

from bnonly.data import folder as folders
from bnonly.data.cifar import LAYOUTS
from bnonly.data.sources import load
from bnonly.errors import BadInput
from tests.data.pictures import write_cifar, write_folder

RNG = np.random.default_rng(1)


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("protocol", [2, 5])
@pytest.mark.parametrize("packed", [False, True])
def test_cifar_as_published(tmp_path, name, protocol, packed):
    where, made = write_cifar(tmp_path / "data", name, protocol)
    path = tmp_path / "data"
    if packed:
        path = tmp_path / LAYOUTS[name].tarball
        with tarfile.open(path, "w:gz") as archive:
            archive.add(where, where.name)
    data = load(name, path)
    layout = LAYOUTS[name]
    expected = np.concatenate([made[member][0] for member in layout.train])
    assert np.array_equal(data.train.pixels.reshape(-1, 3072), expected)
    assert data.test.labels.tolist() == made[layout.test[0]][1]
    assert len(data.classes) == int(name.removeprefix("cifar")) and data.classes[3] == "class 3"


class Evil:
    def __reduce__(self):
        import os

        return os.system, ("touch evil",)


def test_a_pickle_that_asks_for_more_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    where, _ = write_cifar(tmp_path, "cifar10", 4)
    (where / "test_batch").write_bytes(pickle.dumps({b"data": Evil(), b"labels": []}))
    with pytest.raises(BadInput, match=r"test_batch is damaged or no CIFAR batch.*system"):
        load("cifar10", tmp_path)
    assert not (tmp_path / "evil").exists()


def test_damaged_archives(tmp_path):
    where, _ = write_cifar(tmp_path, "cifar10", 4)
    tarball = tmp_path / "cifar-10-python.tar.gz"
    with tarfile.open(tarball, "w:gz") as archive:
        archive.add(where, where.name)
    whole = tarball.read_bytes()
    for length in (0, 100, len(whole) // 2, len(whole) * 3 // 4):
        tarball.write_bytes(whole[:length])
        with pytest.raises(BadInput, match=r"damaged|lacks"):
            load("cifar10", tarball)
    (where / "data_batch_3").unlink()
    with pytest.raises(BadInput, match="data_batch_3 cannot be read"):
        load("cifar10", where)
    (where / "data_batch_3").write_bytes(b"no pickle")
    with pytest.raises(BadInput, match="data_batch_3 is damaged"):
        load("cifar10", where)


def test_digits_need_nothing():
    data = load("digits")
    assert (len(data.train), len(data.test)) == (1437, 360)
    assert data.train.pixels.shape[1:] == (3, 8, 8) and data.train.pixels.max() == 255


@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_image_folders(tmp_path, suffix):
    made = write_folder(tmp_path, suffix=suffix)
    data = load("folder", tmp_path)
    assert data.classes == ("ant", "bee")
    assert data.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert np.array_equal(data.train.pixels[4].transpose(1, 2, 0), made["train", "bee", 1])
    assert data.test.pixels.shape == (4, 3, 6, 8)


def test_folders_are_decoded_once_and_again_when_they_change(tmp_path, monkeypatch, capsys):
    write_folder(tmp_path)
    first = load("folder", tmp_path)
    assert "decoding" in capsys.readouterr().err
    monkeypatch.setattr(folders, "_decode", None)  # would fail if called
    again = load("folder", tmp_path)
    assert again.digest() == first.digest()
    monkeypatch.undo()
    Image.new("RGB", (8, 6), "red").save(tmp_path / "train" / "ant" / "0.png")
    assert load("folder", tmp_path).digest() != first.digest()


def test_a_damaged_cache_is_made_again(tmp_path, monkeypatch):
    monkeypatch.setenv("BNONLY_CACHE", str(tmp_path / "cache"))
    write_folder(tmp_path / "data")
    first = load("folder", tmp_path / "data")
    for file in (tmp_path / "cache" / "decoded").iterdir():
        file.write_bytes(file.read_bytes()[:50])
    assert load("folder", tmp_path / "data").digest() == first.digest()


def test_without_room_for_a_cache_it_goes_on(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    monkeypatch.setenv("BNONLY_CACHE", str(tmp_path / "file"))
    write_folder(tmp_path / "data")
    assert len(load("folder", tmp_path / "data").train) == 6
    assert "going on without a cache" in capsys.readouterr().err


def test_sizes_are_brought_to_one(tmp_path):
    write_folder(tmp_path / "a", size=(20, 10))
    Image.new("RGB", (11, 30)).save(tmp_path / "a" / "train" / "ant" / "odd.png")
    with pytest.raises(BadInput, match=r"odd.png is 11x30 pixels.*set data.size"):
        load("folder", tmp_path / "a")
    assert load("folder", tmp_path / "a", size=9).train.pixels.shape == (7, 3, 9, 9)


def test_cifar_as_an_image_folder(tmp_path):
    write_folder(tmp_path / "c", classes=tuple("abcdefghij"), train=1, test=1, size=(32, 32))
    assert load("cifar10", tmp_path / "c").name == "cifar10"
    write_folder(tmp_path / "d", size=(32, 32))
    with pytest.raises(
        BadInput, match="is not cifar10: it has 2 classes; for a data set of your own use source: folder"
    ):
        load("cifar10", tmp_path / "d")


def _missing(path):
    return "does not exist", path / "nowhere"


def _empty(path):
    return "has no folder train/", path


def _no_classes(path):
    (path / "train").mkdir()
    return "holds no class folders", path


def _no_test(path):
    (path / "train" / "ant").mkdir(parents=True)
    (path / "train" / "ant" / "x.png").touch()
    return "has no folder test/ or val/", path


def _no_images(path):
    write_folder(path)
    (path / "train" / "cat").mkdir()
    (path / "train" / "cat" / "readme.txt").write_text("no image")
    return r"cat holds no image \(1 of 3", path


def _class_counts(path):
    write_folder(path)
    (path / "test" / "cat").mkdir()
    Image.new("RGB", (8, 6)).save(path / "test" / "cat" / "0.png")
    return "training has 2 classes and testing 3; only one of the two has cat", path


def _truncated(path):
    write_folder(path, size=(80, 60))
    file = path / "train" / "bee" / "2.png"
    file.write_bytes(file.read_bytes()[:500])
    return r"2.png cannot be read as an image", path


def _no_image(path):
    write_folder(path)
    (path / "train" / "ant" / "1.png").write_bytes(b"\x00" * 100)
    return r"1.png cannot be read as an image", path


def _broken_link(path):
    write_folder(path)
    (path / "train" / "ant" / "x.png").symlink_to("nowhere")
    return r"x.png cannot be read \(No such file", path


def _a_file(path):
    (path / "file").touch()
    return "is no folder", path / "file"


@pytest.mark.parametrize(
    "make",
    [
        _missing,
        _empty,
        _no_classes,
        _no_test,
        _no_images,
        _class_counts,
        _truncated,
        _no_image,
        _broken_link,
        _a_file,
    ],
)
def test_bad_folders(tmp_path, make):
    says, path = make(tmp_path)
    with pytest.raises(BadInput, match=says) as caught:
        load("folder", path)
    assert "\n" not in str(caught.value)


def test_a_missing_path_and_an_unfit_one(tmp_path):
    with pytest.raises(BadInput, match=r"needs data\.path"):
        load("folder")
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match=r"holds no cifar100: expected cifar-100-python\.tar\.gz"):
        load("cifar100", tmp_path / "file")
