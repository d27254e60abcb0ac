"""Image folders made up for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


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
