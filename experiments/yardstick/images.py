"""What all sides of a comparison are shown."""

from __future__ import annotations

from typing import Any

import numpy as np

from bnonly.config import RunConfig
from bnonly.data.images import Dataset, Images
from bnonly.errors import BadInput
from bnonly.networks.registry import parse

LARGE = 64
"""Pixels a side; for networks made for more, images are drawn at random, since none of that size are bundled."""
_COUNTS = (512, 256)


def images(config: RunConfig) -> Dataset:
    """The run's images; random ones of its network's own resolution and classes, in memory, if that is large.

    Raises BadInput for images that are not in memory.
    """
    if not is_random(config):
        from bnonly.training.build import run_data

        data = run_data(config)
        if not isinstance(data.train, Images):
            raise BadInput(
                f"data.source {config.data.source} is read from files while one trains, and sides are compared on "
                "images in memory: use digits, cifar10, cifar100 or folder"
            )
        return data
    family = parse(config.network.name).family
    draw, size = np.random.default_rng(0), family.resolution

    def made(count: int) -> Images:
        pixels = draw.integers(0, 256, (count, 3, size, size), dtype=np.uint8)
        return Images(pixels, draw.integers(0, family.classes, count))

    train, test = map(made, _COUNTS)
    return Dataset("random", tuple(map(str, range(family.classes))), train, test)


def is_random(config: RunConfig) -> bool:
    return parse(config.network.name).family.resolution >= LARGE


def shown(data: Dataset) -> dict[str, Any]:
    """shape, [3, H, W], and classes."""
    assert isinstance(data.train, Images)
    return {"shape": list(data.train.pixels.shape[1:]), "classes": len(data.classes)}


def title(config: RunConfig) -> str:
    """What the images are, for tables."""
    if not is_random(config):
        return config.data.source
    size = parse(config.network.name).family.resolution
    return f"random {size}x{size}"
