"""Data sets by name, from the disk or, for CIFAR, from the network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bnonly.data import cifar as cifars
from bnonly.data.digits import digits
from bnonly.data.download import by_hand, fetch
from bnonly.data.folder import folder
from bnonly.data.images import Dataset, Images
from bnonly.data.listing import TEST, TRAIN, is_image_folder, listed
from bnonly.errors import BadInput
from bnonly.files import cache_folder


def load(
    source: str,
    path: Path | None = None,
    *,
    size: int | None = None,
    mirrors: Sequence[str] = (),
    download: bool = True,
) -> Dataset:
    """digits | cifar10 | cifar100 | folder | imagenet, from `path` where the source needs one.

    cifar10 and cifar100 take the published tarball, its unpacked folder, a folder that holds either, or an image
    folder train/<class>/, test/<class>/ with their class names. With `download`, a folder that holds none of
    these, or is not there yet, gets the tarball: from the mirrors (addresses of the tarball, or of its folder, ending
    in /) in their order, then from its authors. Without `path` that folder is data/ in the cache. Raises BadInput for
    what is missing, damaged or cannot be fetched. imagenet is an image folder too, but its images stay on the disk:
    as many and as large as one likes.
    """
    if source == "digits":
        return digits()
    if source in cifars.LAYOUTS:
        return _cifar(source, path, mirrors, download)
    if path is None:
        raise BadInput(f"data.source {source} needs data.path: the folder that holds it")
    path = path.expanduser()
    if not path.exists():
        raise BadInput(f"data.path {path} does not exist")
    return folder(path, size) if source == "folder" else Dataset(source, *listed(path))


def cifar_place(path: Path | None) -> Path:
    """Where CIFAR is looked for."""
    return path.expanduser() if path is not None else cache_folder() / "data"


def _cifar(source: str, path: Path | None, mirrors: Sequence[str], download: bool) -> Dataset:
    path = cifar_place(path)
    found = cifars.find(source, path)
    if found is None and is_image_folder(path):
        return _as_image_folder(source, path)
    return cifars.cifar(source, found or _fetched(source, path, mirrors, download))


def _fetched(source: str, path: Path, mirrors: Sequence[str], download: bool) -> Path:
    """The tarball, put into the folder `path`, which has no such data. Raises BadInput where it has what looks so."""
    layout = cifars.LAYOUTS[source]
    wanted = f"{layout.tarball}, {layout.folder}/ or the image folders train/ and test/"
    if path.exists() and not path.is_dir():
        raise BadInput(f"{path} holds no {source}: expected {wanted}")
    if not path.exists() and path.name.endswith(cifars.TARBALLS):
        raise BadInput(f"data.path {path} does not exist: name the folder to fetch {layout.tarball} into, or mend it")
    halves = (path / name for name in (*TRAIN, *TEST) if (path / name).is_dir())
    if (remains := cifars.remains(source, path) or next(halves, None)) is not None:
        raise BadInput(f"{remains} is no whole {source}: mend it or move it away (expected {wanted} in {path})")
    target = path / layout.tarball
    address, md5 = cifars.published(source)
    if not download:
        raise BadInput(f"{path} holds no {source}: {by_hand(target, md5)}, or set data.download to true")
    folders_too = [mirror + target.name if mirror.endswith("/") else mirror for mirror in mirrors]
    return fetch([*folders_too, address], target, md5)


def _as_image_folder(source: str, path: Path) -> Dataset:
    classes, expected = len(listed(path)[0]), int(source.removeprefix("cifar"))
    if classes != expected:
        raise BadInput(
            f"{path} is not {source}: it has {classes} classes; for a data set of your own use source: folder"
        )
    data = folder(path, name=source)
    assert isinstance(data.train, Images)
    if (shape := data.train.pixels.shape[2:]) != (32, 32):
        raise BadInput(f"{path} is not {source}: images of {shape[1]}x{shape[0]} pixels; use source: folder")
    return data
