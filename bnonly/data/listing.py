"""The files of an image folder, `train/<class>/*` and `test/<class>/*` (or `val/`), found without opening one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnonly.errors import BadInput
from bnonly.progress import track

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
TRAIN, TEST = ("train",), ("test", "val", "valid")


@dataclass(frozen=True)
class ImageFiles:
    """Images that stay on the disk.

    root: the folder of one split. names: their paths below it, as the system's bytes (a million of them fit 60 MB,
    shared with worker processes). labels: int64 [N], indices into the dataset's classes. sizes: int64 [N], bytes.
    """

    root: Path
    names: NDArray[np.bytes_]
    labels: NDArray[np.int64]
    sizes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def path(self, place: int) -> Path:
        return self.root / os.fsdecode(self.names[place])

    def take(self, places: NDArray[np.int64]) -> ImageFiles:
        return ImageFiles(self.root, self.names[places], self.labels[places], self.sizes[places])

    def digest_into(self, total: Any) -> None:
        """Add names, sizes and labels to a hash. To read a million files would take hours."""
        total.update(b"\0".join(self.names.tolist()))
        total.update(np.ascontiguousarray(self.sizes, dtype="<i8").data)
        total.update(np.ascontiguousarray(self.labels, dtype="<i8").data)


def is_image_folder(path: Path) -> bool:
    """Whether the path has a folder for training and one for testing."""
    return all(any((path / name).is_dir() for name in names) for names in (TRAIN, TEST))


def listed(path: Path) -> tuple[tuple[str, ...], ImageFiles, ImageFiles]:
    """Classes and files of both splits, in alphabetical order. Raises BadInput, naming what is missing."""
    if not path.is_dir():
        raise BadInput(f"data.path {path} is no folder: it should hold train/<class>/ and test/<class>/ with images")
    (train_classes, train), (test_classes, test) = (_split(path, names) for names in (TRAIN, TEST))
    if train_classes != test_classes:
        odd = ", ".join(sorted(set(train_classes) ^ set(test_classes))[:5])
        raise BadInput(
            f"{path}: training has {len(train_classes)} classes and testing {len(test_classes)}; only one of the two "
            f"has {odd}"
        )
    return train_classes, train, test


def _split(path: Path, names: tuple[str, ...]) -> tuple[tuple[str, ...], ImageFiles]:
    root = next((path / name for name in names if (path / name).is_dir()), None)
    if root is None:
        raise BadInput(
            f"{path} has no folder {' or '.join(f'{name}/' for name in names)} with a folder for each class"
        )
    try:
        classes = sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and entry.name[0] != ".")
        # The bar is for folders of a million files, on disks of the slow kind.
        found = [
            sorted(_images(root / name, name))
            for name in track(classes, len(classes), f"listing {root}", quiet=len(classes) < 500)
        ]
    except OSError as error:
        raise BadInput(f"{error.filename} cannot be read ({error.strerror}): mend or remove it") from error
    if not classes:
        raise BadInput(f"{root} holds no class folders: put the images of each class into a folder of its own")
    if empty := [name for name, files in zip(classes, found, strict=True) if not files]:
        raise BadInput(f"{root / empty[0]} holds no image ({len(empty)} of {len(classes)} class folders hold none)")
    files = [file for group in found for file in group]
    labels = np.repeat(np.arange(len(classes)), [len(group) for group in found])
    paths = np.array([os.fsencode(name) for name, _ in files])
    return tuple(classes), ImageFiles(root, paths, labels, np.array([size for _, size in files], np.int64))


def _images(folder: Path, prefix: str) -> Iterator[tuple[str, int]]:
    """Path below the split and bytes of every image in the folder and the folders in it."""
    with os.scandir(folder) as entries:
        for entry in entries:
            name = f"{prefix}/{entry.name}"
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                yield from _images(folder / entry.name, name)
            elif entry.name.lower().endswith(SUFFIXES):
                yield name, entry.stat().st_size
