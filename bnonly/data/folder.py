"""Image folders small enough for memory: decoded once, and kept as one cached array."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from safetensors import SafetensorError, safe_open

from bnonly.data.cores import usable_cores
from bnonly.data.images import Dataset, Images
from bnonly.data.listing import ImageFiles, listed
from bnonly.errors import BadInput
from bnonly.files import cache_folder, write_safetensors
from bnonly.progress import console, track


def folder(path: Path, size: int | None = None, name: str = "folder") -> Dataset:
    """The image folder as arrays; classes in alphabetical order, files too.

    size: pixels a side; larger images are scaled to it by their shorter side and cut at the centre. Without it all
    images must be of one size. Raises BadInput, naming the file or folder, for whatever is missing or no image.
    """
    classes, *splits = listed(path)
    train, test = (
        _decoded(files, size, f"{split} images of {path}")
        for split, files in zip(("train", "test"), splits, strict=True)
    )
    if train.pixels.shape[2:] != test.pixels.shape[2:]:
        sizes = " and ".join(f"{part.pixels.shape[3]}x{part.pixels.shape[2]}" for part in (train, test))
        raise BadInput(f"{path}: training and test images differ in size ({sizes}): set data.size")
    return Dataset(name, classes, train, test)


def _decoded(listing: ImageFiles, size: int | None, what: str) -> Images:
    files = [listing.path(place) for place in range(len(listing))]
    cached = cache_folder() / "decoded" / f"{_fingerprint(files, size)}.safetensors"
    pixels = _from_cache(cached, len(files))
    if pixels is None:
        pixels = _decode(files, size, what)
        try:
            write_safetensors(cached, {"pixels": pixels}, {"of": what})
        except BadInput as error:
            console().print(f"going on without a cache of decoded images: {error} (BNONLY_CACHE)", markup=False)
    return Images(pixels, listing.labels)


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
    with ThreadPoolExecutor(usable_cores()) as pool:
        decoding = pool.map(lambda file: _pixels(file, size), files)
        for place, image in enumerate(track(decoding, len(files), f"decoding {what} (once)")):
            if image.shape != first.shape:
                raise BadInput(
                    f"{files[place]} is {image.shape[2]}x{image.shape[1]} pixels and {files[0].name} is "
                    f"{first.shape[2]}x{first.shape[1]}: set data.size to bring all to one size"
                )
            pixels[place] = image
    return pixels


def opened(file: Path) -> Image.Image:
    """The picture in RGB. Raises BadInput, naming the file."""
    try:
        with Image.open(file) as image:
            return image.convert("RGB")
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        raise BadInput(f"{file} cannot be read as an image ({error}): mend or remove it") from error


def _pixels(file: Path, size: int | None) -> NDArray[np.uint8]:
    """uint8 [3, H, W]."""
    rgb = opened(file)
    if size is not None:
        scale = size / min(rgb.size)
        rgb = rgb.resize([max(size, round(side * scale)) for side in rgb.size], Image.Resampling.BICUBIC)
        left, top = ((side - size) // 2 for side in rgb.size)
        rgb = rgb.crop((left, top, left + size, top + size))
    return np.asarray(rgb, np.uint8).transpose(2, 0, 1)
