"""Data sets by name."""

from __future__ import annotations

from pathlib import Path

from bnonly.data import cifar as cifars
from bnonly.data.digits import digits
from bnonly.data.folder import folder
from bnonly.data.images import Dataset, Images
from bnonly.data.listing import is_image_folder, listed
from bnonly.errors import BadInput


def load(source: str, path: Path | None = None, *, size: int | None = None) -> Dataset:
    """digits | cifar10 | cifar100 | folder | imagenet, from `path` where the source needs one.

    cifar10 and cifar100 take the published tarball, its unpacked folder, a folder that holds either, or an image
    folder train/<class>/, test/<class>/ with their class names.
    """
    if source == "digits":
        return digits()
    if path is None:
        raise BadInput(f"data.source {source} needs data.path: the folder or tarball that holds it")
    path = path.expanduser()
    if not path.exists():
        raise BadInput(f"data.path {path} does not exist")
    if source == "folder":
        return folder(path, size)
    if source == "imagenet":
        return Dataset(source, *listed(path))
    if (found := cifars.find(source, path)) is not None:
        return cifars.cifar(source, found)
    if is_image_folder(path):
        return _as_image_folder(source, path)
    layout = cifars.LAYOUTS[source]
    raise BadInput(
        f"{path} holds no {source}: expected {layout.tarball}, {layout.folder}/ or the image folders train/ and test/"
    )


def _as_image_folder(source: str, path: Path) -> Dataset:
    data = folder(path, name=source)
    assert isinstance(data.train, Images)
    classes, shape = len(data.classes), data.train.pixels.shape[2:]
    expected = int(source.removeprefix("cifar"))
    if classes != expected or shape != (32, 32):
        raise BadInput(
            f"{path} is not {source}: {classes} classes of {shape[1]}x{shape[0]} pixels; use source: folder"
        )
    return data
