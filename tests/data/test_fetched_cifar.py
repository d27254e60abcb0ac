"""CIFAR that is not on the disk: where it is looked for, in which order, and what is left alone."""

from __future__ import annotations

import hashlib
import os
import tarfile
from pathlib import Path

import pytest

from bnonly.cli import main
from bnonly.data.cifar import LAYOUTS, published
from bnonly.data.sources import load
from bnonly.errors import BadInput
from tests.data.pictures import write_cifar
from tests.data.server import file

CONFIG = Path(__file__).parents[2] / "configs" / "resnet14_bn.yaml"


@pytest.fixture
def cifar(tmp_path, server, monkeypatch):
    """A made-up CIFAR-10 whose authors' server is this machine's: the tarball's bytes."""
    where, _ = write_cifar(tmp_path / "made", "cifar10", 4)
    with tarfile.open(tmp_path / "made.tar.gz", "w:gz") as archive:
        archive.add(where, where.name)
    data = (tmp_path / "made.tar.gz").read_bytes()
    known = f"{server.url}/authors.tar.gz", hashlib.md5(data).hexdigest()
    monkeypatch.setattr("bnonly.data.cifar.published", lambda name: known)
    server.answers["/authors.tar.gz"] = file(data)
    return data


def test_the_disk_first_then_the_mirrors_then_the_authors(server, cifar, tmp_path):
    tarball = LAYOUTS["cifar10"].tarball
    server.answers[f"/m/{tarball}"], server.answers["/other-name.tgz"] = file(cifar), file(cifar)
    gone, named, folder = f"{server.url}/gone/", f"{server.url}/other-name.tgz", f"{server.url}/m/"
    data = load("cifar10", tmp_path / "a", mirrors=(gone, named, folder))
    assert [path for path, _ in server.asked] == [f"/gone/{tarball}", "/other-name.tgz"]
    assert load("cifar10", tmp_path / "a", mirrors=(folder,)).digest() == data.digest() and len(server.asked) == 2
    load("cifar10", tmp_path / "b", mirrors=(folder, named))
    load("cifar10", mirrors=(gone,))
    assert [path for path, _ in server.asked[2:]] == [f"/m/{tarball}", f"/gone/{tarball}", "/authors.tar.gz"]
    kept = Path(os.environ["BNONLY_CACHE"]) / "data" / tarball
    assert kept.read_bytes() == (tmp_path / "b" / tarball).read_bytes() == cifar
    assert load("cifar10", download=False).digest() == data.digest() and len(server.asked) == 5


def test_without_download_it_says_where_the_file_belongs(server, cifar, tmp_path):
    md5 = hashlib.md5(cifar).hexdigest()
    with pytest.raises(BadInput, match=rf"put cifar-10-python\.tar\.gz \(MD5 {md5}\) into {tmp_path}/x by hand"):
        load("cifar10", tmp_path / "x", download=False, mirrors=(f"{server.url}/",))
    assert not server.asked and not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("name", "path", "says"),
    [
        (None, "cifar.tgz", "does not exist"),
        ("cifar-10-batches-py/data_batch_1", "", "cifar-10-batches-py is no whole cifar10"),
        ("cifar-10-batches-py/data_batch_1", "cifar-10-batches-py", "data_batch_1 is no whole cifar10"),
        ("train/cat/1.png", "", "train is no whole cifar10"),
        ("cifar-10-python.tar.gz/x", "", "cifar-10-python.tar.gz is no whole cifar10"),
        ("cifar-10-python.tar.gz", "", "cifar-10-python.tar.gz is damaged"),
        ("notes.txt", "notes.txt", "holds no cifar10"),
    ],
)
def test_what_is_damaged_is_refused_and_left_as_it_is(server, cifar, tmp_path, name, path, says):
    where = tmp_path / "data"
    where.mkdir()
    if name:
        (where / name).parent.mkdir(exist_ok=True, parents=True)
        (where / name).write_bytes(b"damaged")
    before = sorted(where.rglob("*"))
    with pytest.raises(BadInput, match=says):
        load("cifar10", where / path)
    assert sorted(where.rglob("*")) == before and not server.asked
    assert not name or (where / name).read_bytes() == b"damaged"


def test_torchvision_knows_the_published_files():
    assert published("cifar10")[1] == "c58f30108f718f92721af3b95e74349a"
    for name, layout in LAYOUTS.items():
        address, md5 = published(name)
        assert address.startswith("https://") and address.endswith(f"/{layout.tarball}") and len(md5) == 32


def test_fit_fetches_what_it_trains_on(server, cifar, tmp_path, capsys):
    server.answers["/cifar-10-python.tar.gz"] = file(cifar, cuts=(len(cifar) // 2,))
    argv = ["fit", "-c", str(CONFIG), "--data.mirrors", f'["{server.url}/"]', "--out", str(tmp_path / "runs")]
    argv += ["--training.epochs", "1", "--training.batch_size", "50", "--tracking", "off"]
    assert main([*argv, "--data.path", str(tmp_path / "data")]) == 0
    run = Path(capsys.readouterr().out.strip())
    assert (run / "result.json").exists()
    assert (tmp_path / "data" / "cifar-10-python.tar.gz").read_bytes() == cifar
    assert server.asked == [("/cifar-10-python.tar.gz", None), ("/cifar-10-python.tar.gz", len(cifar) // 2)]
    server.answers.clear()
    assert main([*argv, "--seed", "1", "--data.path", str(tmp_path / "none")]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("bnonly: cifar-10-python.tar.gz cannot be fetched: ") and said.count("answers 404") == 2
