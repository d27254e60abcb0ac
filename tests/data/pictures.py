"""Data sets made up for tests."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
from PIL import Image

from bnonly.data.cifar import LAYOUTS

RNG = np.random.default_rng(1)


def image_folder(
    root: Path, classes: int = 3, train: int = 14, test: int = 7, sides: tuple[int, int] = (20, 40)
) -> Path:
    """train/ and val/ of noisy pictures, coloured by class, of sides between the two."""
    rng = np.random.default_rng(0)
    for split, count in (("train", train), ("val", test)):
        for label in range(classes):
            folder = root / split / f"n{label:04d}"
            folder.mkdir(parents=True)
            colour = np.array([250 * label / max(1, classes - 1), 255 - 250 * label / max(1, classes - 1), 90])
            for number in range(count):
                height, width = rng.integers(*sides, 2)
                pixels = (colour + rng.normal(0, 25, (height, width, 3))).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{number:03d}.{'png' if number % 2 else 'jpg'}")
    return root


def write_cifar(path, name, protocol, images=20):
    """A small data set in the published layout."""
    layout = LAYOUTS[name]
    where = path / layout.folder
    where.mkdir(parents=True)
    classes = int(name.removeprefix("cifar"))
    made = {}
    for member in (*layout.train, *layout.test):
        data = RNG.integers(0, 256, (images, 3072), np.uint8)
        labels = [int(label) for label in RNG.integers(0, classes, images)]
        made[member] = data, labels
        batch = {b"data": data, layout.labels.encode(): labels, b"filenames": [b"x.png"] * images}
        (where / member).write_bytes(pickle.dumps(batch, protocol=protocol))
    names = {layout.names.encode(): [f"class {i}".encode() for i in range(classes)]}
    (where / layout.meta).write_bytes(pickle.dumps(names, protocol=protocol))
    return where, made


def write_folder(path, classes=("ant", "bee"), train=3, test=2, size=(8, 6), suffix="png"):
    """train/ and test/ of noise of one size; what was drawn, by split, class and number."""
    made = {}
    for split, count in (("train", train), ("test", test)):
        for name in classes:
            (path / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = RNG.integers(0, 256, (size[1], size[0], 3), np.uint8)
                options = {"lossless": True} if suffix == "webp" else {}
                Image.fromarray(pixels).save(path / split / name / f"{number}.{suffix}", **options)
                made[split, name, number] = pixels
    return made
