"""Small pictures of coloured shapes in class folders, for runs that need the shape of ImageNet and not its size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("disc", "ring", "square", "stripes", "cross", "corner")


def make_folders(path: Path, *, size: int = 32, train: int = 24, test: int = 8, seed: int = 0) -> None:
    """path/train/CLASS/*.png and path/val/CLASS/*.png: `train` and `test` pictures a class of size x size pixels.

    Pictures that are there are left alone, so that a second call with the same arguments changes nothing.
    """
    for split, count in (("train", train), ("val", test)):
        for label, name in enumerate(CLASSES):
            folder = path / split / name
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                file = folder / f"{number:03d}.png"
                if not file.exists():
                    draw = np.random.default_rng([seed, split == "val", label, number])
                    Image.fromarray(picture(name, size, draw)).save(file)


def picture(name: str, size: int, draw: np.random.Generator) -> np.ndarray:
    """One picture of a class, uint8 [size, size, 3]: a shape of one colour, anywhere, on a noisy other one."""
    y, x = np.mgrid[:size, :size] / size
    centre_y, centre_x, radius = *draw.uniform(0.35, 0.65, 2), draw.uniform(0.18, 0.3)
    dy, dx = np.abs(y - centre_y), np.abs(x - centre_x)
    far = np.hypot(dy, dx)
    square = np.maximum(dy, dx) < radius
    inside = {
        "disc": far < radius,
        "ring": (far < radius) & (far > radius / 2),
        "square": square,
        "stripes": square & ((x * 12).astype(int) % 2 == 0),
        "cross": square & (np.minimum(dy, dx) < radius / 3),
        "corner": square & (y > centre_y) & (x > centre_x - radius / 2),
    }[name]
    front, back = draw.uniform(128, 255, 3), draw.uniform(0, 127, 3)
    colours = np.where(inside[..., None], front, back) + draw.normal(0, 12, (size, size, 3))
    return colours.clip(0, 255).astype(np.uint8)
