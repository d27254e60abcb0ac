"""CIFAR-10 and CIFAR-100 as their authors publish them: a tarball or a folder of pickled batches.

The pickles are read by an unpickler that can name five array constructors and nothing else, so a file from outside
cannot run code here.
"""

from __future__ import annotations

import codecs
import io
import os
import pickle
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bnonly.data.images import Dataset, Images
from bnonly.errors import BadInput

TARBALLS = (".tar.gz", ".tgz", ".tar")


@dataclass(frozen=True)
class Layout:
    """Names inside the archive, as torchvision expects them too."""

    tarball: str
    folder: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    meta: str
    labels: str
    names: str


LAYOUTS = {
    "cifar10": Layout(
        "cifar-10-python.tar.gz",
        "cifar-10-batches-py",
        tuple(f"data_batch_{i}" for i in range(1, 6)),
        ("test_batch",),
        "batches.meta",
        "labels",
        "label_names",
    ),
    "cifar100": Layout(
        "cifar-100-python.tar.gz",
        "cifar-100-python",
        ("train",),
        ("test",),
        "meta",
        "fine_labels",
        "fine_label_names",
    ),
}


def published(name: str) -> tuple[str, str]:
    """Address and MD5 of the authors' tarball, as torchvision knows them."""
    from torchvision import datasets

    known = getattr(datasets, name.upper())
    return known.url, known.tgz_md5


def find(name: str, path: Path) -> Path | None:
    """The tarball or the folder of batches at `path` or directly inside it; None where there is neither."""
    layout = LAYOUTS[name]
    for candidate in (path, path / layout.folder, path / layout.tarball):
        if candidate.is_file() and candidate.name.endswith(TARBALLS):
            return candidate
        if candidate.is_dir() and (candidate / layout.test[0]).is_file():
            return candidate
    return None


def remains(name: str, path: Path) -> Path | None:
    """The first thing at `path` that has one of the published names; where `find` finds nothing it is not whole."""
    layout = LAYOUTS[name]
    names = (layout.folder, layout.tarball, *layout.train, *layout.test, layout.meta)
    return next((path / name for name in names if os.path.lexists(path / name)), None)


def cifar(name: str, where: Path) -> Dataset:
    """The data set from what `find` found. Raises BadInput, naming the file, if it is damaged."""
    layout = LAYOUTS[name]
    members = [*layout.train, *layout.test, layout.meta]
    read = _from_tarball(where, layout, members) if where.is_file() else _from_folder(where)
    batches = {member: _unpickled(read(member), f"{where}: {member}") for member in members}
    try:
        classes = tuple(_text(label) for label in batches[layout.meta][layout.names])
        parts = [
            _images([batches[member] for member in part], layout.labels, len(classes), where)
            for part in (layout.train, layout.test)
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(f"{where} is not {name} as published: {error!r} in its batches") from error
    train, test = parts
    return Dataset(name, classes, train, test)


def _from_folder(where: Path) -> Callable[[str], bytes]:
    def read(member: str) -> bytes:
        try:
            return (where / member).read_bytes()
        except OSError as error:
            raise BadInput(f"{where / member} cannot be read ({error.strerror}): unpack the archive again") from error

    return read


def _from_tarball(where: Path, layout: Layout, members: list[str]) -> Callable[[str], bytes]:
    contents: dict[str, bytes] = {}
    try:
        with tarfile.open(where) as archive:
            for info in archive:
                member = Path(info.name).name
                if info.isfile() and member in members and (file := archive.extractfile(info)) is not None:
                    contents[member] = file.read()
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise BadInput(f"{where} is damaged or truncated ({error}): delete it and fetch it again") from error
    if missing := [member for member in members if member not in contents]:
        raise BadInput(f"{where} lacks {', '.join(missing)}: is it {layout.tarball}?")
    return contents.__getitem__


class _ArraysOnly(pickle.Unpickler):
    """Knows how numpy rebuilds an array, and no other name."""

    def find_class(self, module: str, name: str) -> Any:
        home = module.replace("numpy.core", "numpy._core")
        allowed = {
            ("numpy._core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
            ("numpy._core.numeric", "_frombuffer"): np.empty(0).__reduce_ex__(5)[0],
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
            ("_codecs", "encode"): codecs.encode,
        }
        if (home, name) not in allowed:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no array needs")
        return allowed[home, name]


def _unpickled(data: bytes, where: str) -> dict[str, Any]:
    try:
        batch = _ArraysOnly(io.BytesIO(data), encoding="bytes").load()
        return {_text(key): value for key, value in batch.items()}
    except Exception as error:  # a damaged pickle may raise anything
        raise BadInput(f"{where} is damaged or no CIFAR batch ({error}): fetch the archive again") from error


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _images(batches: list[dict[str, Any]], labels: str, classes: int, where: Path) -> Images:
    pixels = np.concatenate([np.asarray(batch["data"], np.uint8) for batch in batches]).reshape(-1, 3, 32, 32)
    targets = np.concatenate([np.asarray(batch[labels], np.int64) for batch in batches])
    if len(pixels) != len(targets) or (len(targets) and not 0 <= targets.min() <= targets.max() < classes):
        raise BadInput(f"{where}: {len(pixels)} images do not fit {len(targets)} labels of {classes} classes")
    return Images(pixels, targets)
