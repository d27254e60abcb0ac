"""Image folders, `train/<class>/*` and `test/<class>/*` (or `val/`), decoded once and kept as one cached array."""

from __future__ import annotations

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from safetensors import SafetensorError, safe_open

from bnonly.data.images import Dataset, Images
from bnonly.errors import BadInput
from bnonly.files import cache_folder, write_safetensors
from bnonly.progress import console, track

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
TRAIN, TEST = ("train",), ("test", "val", "valid")


def is_image_folder(path: Path) -> bool:
    """Whether the path has a folder for training and one for testing."""
    return all(any((path / name).is_dir() for name in names) for names in (TRAIN, TEST))


def folder(path: Path, size: int | None = None, name: str = "folder") -> Dataset:
    """The image folder as arrays; classes in alphabetical order, files too.

    size: pixels a side; larger images are scaled to it by their shorter side and cut at the centre. Without it all
    images must be of one size. Raises BadInput, naming the file or folder, for whatever is missing or no image.
    """
    if not path.is_dir():
        raise BadInput(f"data.path {path} is no folder: it should hold train/<class>/ and test/<class>/ with images")
    splits = {split: _listed(path, names) for split, names in (("train", TRAIN), ("test", TEST))}
    classes = tuple(splits["train"])
    if classes != (tested := tuple(splits["test"])):
        odd = ", ".join(sorted(set(classes) ^ set(tested))[:5])
        raise BadInput(
            f"{path}: training has {len(classes)} classes and testing {len(tested)}; only one of the two has {odd}"
        )
    parts = [_decoded(files, size, f"{split} images of {path}") for split, files in splits.items()]
    if (shapes := {part.pixels.shape[2:] for part in parts}) and len(shapes) > 1:
        raise BadInput(f"{path}: training and test images differ in size ({shapes}): set data.size")
    train, test = parts
    return Dataset(name, classes, train, test)


def _listed(path: Path, names: tuple[str, ...]) -> dict[str, list[Path]]:
    split = next((path / name for name in names if (path / name).is_dir()), None)
    if split is None:
        raise BadInput(
            f"{path} has no folder {' or '.join(f'{name}/' for name in names)} with a folder for each class"
        )
    listed = {
        entry.name: sorted(file for file in entry.rglob("*") if file.suffix.lower() in SUFFIXES)
        for entry in sorted(split.iterdir())
        if entry.is_dir() and not entry.name.startswith(".")
    }
    if not listed:
        raise BadInput(f"{split} holds no class folders: put the images of each class into a folder of its own")
    if empty := [name for name, files in listed.items() if not files]:
        raise BadInput(f"{split / empty[0]} holds no image ({len(empty)} of {len(listed)} class folders hold none)")
    return listed


def _decoded(listed: dict[str, list[Path]], size: int | None, what: str) -> Images:
    files = [file for group in listed.values() for file in group]
    labels = np.repeat(np.arange(len(listed)), [len(group) for group in listed.values()])
    cached = cache_folder() / "decoded" / f"{_fingerprint(files, size)}.safetensors"
    pixels = _from_cache(cached, len(files))
    if pixels is None:
        pixels = _decode(files, size, what)
        try:
            write_safetensors(cached, {"pixels": pixels}, {"of": what})
        except BadInput as error:
            console().print(f"going on without a cache of decoded images: {error} (BNONLY_CACHE)", markup=False)
    return Images(pixels, labels)


def _fingerprint(files: list[Path], size: int | None) -> str:
    """Names, sizes and times: a changed file is decoded anew without reading the others."""
    try:
        facts = [(str(file.resolve()), (stat := file.stat()).st_size, stat.st_mtime_ns) for file in files]
    except OSError as error:
        raise BadInput(f"{error.filename} cannot be read ({error.strerror}): mend or remove it") from error
    return hashlib.sha256(json.dumps([size, facts]).encode()).hexdigest()[:32]


def _from_cache(cached: Path, count: int) -> NDArray[np.uint8] | None:
    try:
        with safe_open(cached, framework="numpy") as file:
            pixels = file.get_tensor("pixels")
    except (FileNotFoundError, SafetensorError, OSError):
        return None
    return pixels if pixels.ndim == 4 and len(pixels) == count else None


def _decode(files: list[Path], size: int | None, what: str) -> NDArray[np.uint8]:
    first = _pixels(files[0], size)
    pixels = np.empty((len(files), *first.shape), np.uint8)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        decoding = pool.map(lambda file: _pixels(file, size), files)
        for place, image in enumerate(track(decoding, len(files), f"decoding {what} (once)")):
            if image.shape != first.shape:
                raise BadInput(
                    f"{files[place]} is {image.shape[2]}x{image.shape[1]} pixels and {files[0].name} is "
                    f"{first.shape[2]}x{first.shape[1]}: set data.size to bring all to one size"
                )
            pixels[place] = image
    return pixels


def _pixels(file: Path, size: int | None) -> NDArray[np.uint8]:
    """uint8 [3, H, W]."""
    try:
        with Image.open(file) as image:
            rgb = image.convert("RGB")
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        raise BadInput(f"{file} cannot be read as an image ({error}): mend or remove it") from error
    if size is not None:
        scale = size / min(rgb.size)
        rgb = rgb.resize([max(size, round(side * scale)) for side in rgb.size], Image.Resampling.BICUBIC)
        left, top = ((side - size) // 2 for side in rgb.size)
        rgb = rgb.crop((left, top, left + size, top + size))
    return np.asarray(rgb, np.uint8).transpose(2, 0, 1)
