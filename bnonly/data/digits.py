"""scikit-learn's digits: 1,797 grey 8x8 images that travel in its wheel. Nothing to download."""

from __future__ import annotations

from typing import Any

import numpy as np

from bnonly.data.images import Dataset, Images

TEST = 360


def digits() -> Dataset:
    """Grey on three channels, 0..255; the last 360 images are the test set."""
    from sklearn.datasets import load_digits

    bunch: Any = load_digits()
    grey = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    pixels = np.repeat(grey[:, None], 3, axis=1)
    labels = bunch.target.astype(np.int64)
    train, test = (Images(pixels[part], labels[part]) for part in (slice(None, -TEST), slice(-TEST, None)))
    return Dataset("digits", tuple(map(str, range(10))), train, test)
