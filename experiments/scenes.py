"""Small data sets for dense predictions that need no download: photographs cut into patches, and composed scenes
whose labels and depth are exact. Without torch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

KINDS = ("nothing", "disc", "square", "triangle", "cross")
"""Classes of the labels, by number."""

NEAR, FAR = 1.5, 10.0  # depth of the nearest ground and of the sky


@dataclass(frozen=True)
class Scenes:
    """images: float32 [N, 3, size, size] in [0, 1]. labels: int64 [N, size, size]. depth: float32, as labels."""

    images: NDArray[np.float32]
    labels: NDArray[np.int64]
    depth: NDArray[np.float32]


def scenes(count: int, size: int, seed: int) -> Scenes:
    """Ground and sky, and three to six upright things of four kinds that hide each other.

    A thing's size shrinks as its depth grows, its foot stands on the ground of that depth, and haze pales what is
    far: depth can be told from the picture. Colours tell nothing of the kind.
    """
    made = [scene(np.random.default_rng([seed, number]), size) for number in range(count)]
    images, labels, depth = (np.stack(parts) for parts in zip(*made, strict=True))
    return Scenes(images, labels, depth)


def scene(draw: np.random.Generator, size: int) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]:
    """One picture, its labels and its depth."""
    y, x = (np.mgrid[:size, :size] + 0.5) / size
    horizon = draw.uniform(0.25, 0.4)
    drop = 1 - horizon  # of the ground's nearest row below the horizon
    ground = y > horizon
    depth = np.where(ground, np.minimum(FAR, NEAR * drop / np.maximum(y - horizon, 1e-9)), FAR)
    labels = np.zeros((size, size), np.int64)
    sky, earth = draw.uniform(0.6, 1, 3), draw.uniform(0.1, 0.6, 3)
    colours = np.where(ground[..., None], earth, sky)
    for far in np.sort(draw.uniform(1.3 * NEAR, 0.7 * FAR, draw.integers(3, 7)))[::-1]:
        radius = 0.35 * NEAR / far * draw.uniform(0.85, 1.15)
        middle, kind = draw.uniform(0.1, 0.9), int(draw.integers(1, len(KINDS)))
        inside = _inside(KINDS[kind], y - (horizon + NEAR * drop / far - radius), x - middle, radius)
        colours[inside], labels[inside], depth[inside] = draw.uniform(0, 1, 3), kind, far
    haze = (1 - np.exp(-depth / FAR))[..., None]
    picture = colours * (1 - haze) + sky * haze + draw.normal(0, 0.04, (size, size, 3))
    return picture.clip(0, 1).transpose(2, 0, 1).astype(np.float32), labels, depth.astype(np.float32)


def _inside(kind: str, dy: NDArray[np.float64], dx: NDArray[np.float64], radius: float) -> NDArray[np.bool_]:
    """Where a thing of that radius around the origin is; y points down."""
    square = np.maximum(np.abs(dy), np.abs(dx)) < radius
    return {
        "disc": np.hypot(dy, dx) < radius,
        "square": square,
        "triangle": square & (np.abs(dx) < (dy + radius) / 2),
        "cross": square & (np.minimum(np.abs(dy), np.abs(dx)) < radius / 3),
    }[kind]


def photographs() -> dict[str, NDArray[np.uint8]]:
    """By name, uint8 [H, W, 3]: those in colour that travel in the wheels of scikit-learn (a temple and a flower) and
    scikit-image.
    """
    from skimage import data
    from sklearn.datasets import load_sample_images

    temple, flower = load_sample_images().images
    others = {name: getattr(data, name)() for name in ("astronaut", "chelsea", "coffee", "rocket")}
    return {name: np.asarray(pixels) for name, pixels in {"temple": temple, "flower": flower, **others}.items()}


def patches(size: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """For training and for testing, float32 [N, 3, size, size] in [0, 1]: of the photographs' left three quarters,
    overlapping by half, and of the rest, side by side. No pixel is in both.
    """
    train, test = [], []
    for photograph in photographs().values():
        pixels = np.asarray(photograph.transpose(2, 0, 1) / np.float32(255), np.float32)
        split = pixels.shape[2] * 3 // 4
        train += _tiles(pixels[:, :, :split], size, size // 2)
        test += _tiles(pixels[:, :, split:], size, size)
    return np.stack(train), np.stack(test)


def _tiles(pixels: NDArray[np.float32], size: int, step: int) -> list[NDArray[np.float32]]:
    _, height, width = pixels.shape
    return [
        pixels[:, top : top + size, left : left + size]
        for top in range(0, height - size + 1, step)
        for left in range(0, width - size + 1, step)
    ]
