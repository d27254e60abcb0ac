"""The images and what happens to them before the network sees them."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, NonNegativeInt, PositiveFloat, field_validator, model_validator

from bnonly.config.base import Hint, Section
from bnonly.data.colours import IMAGENET_MEAN, IMAGENET_STD

Bounds = Annotated[tuple[PositiveFloat, PositiveFloat], Hint(form="LEAST,MOST")]
Channels = Annotated[tuple[float, float, float], Hint(form="R,G,B")]
Deviations = Annotated[tuple[PositiveFloat, PositiveFloat, PositiveFloat], Hint(form="R,G,B")]


class DataConfig(Section):
    """Source, preparation and split. The defaults are the paper's pre-processing."""

    source: Literal["digits", "cifar10", "cifar100", "folder", "imagenet"] = "digits"
    """digits (nothing to download), cifar10, cifar100, folder: train/<class>/*, test/<class>/* that fit in memory, or
    imagenet: train/<class>/*, val/<class>/* of any number and size, read and cropped image by image."""
    path: Path | None = None
    """Folder or tarball that holds the data, or the folder to fetch CIFAR into; folder and imagenet need it; unset:
    for CIFAR, data in bnonly's cache folder."""
    size: Annotated[int, Field(ge=8, le=1024), Hint(unit="pixels")] | None = None
    """Pixels a side to bring an image folder's images to; unset: their own size, one for all, for imagenet 224."""
    holdout: Annotated[NonNegativeInt, Hint(unit="images")] = 0
    """Training images split off by the seed and evaluated on instead of the test set."""
    crop: Annotated[int, Field(ge=0, le=64), Hint(unit="pixels")] | None = None
    """Pixels of border within which training images are shifted at random; unset: 4, for digits 1."""
    flip: bool | None = None
    """Mirror half of the training images; unset: true, for digits false."""
    mean: Channels = IMAGENET_MEAN
    """Mean of each colour in [0, 1], subtracted; the paper's code uses ImageNet's for CIFAR-10 too."""
    std: Deviations = IMAGENET_STD
    """Standard deviation of each colour in [0, 1], divided by."""
    resize: Annotated[int, Field(ge=8, le=2048), Hint(unit="pixels")] | None = None
    """Of imagenet, in evaluation: the shorter side before the centre is cut out; unset: 8/7 of size, so 256."""
    crop_scale: Bounds | None = None
    """Of imagenet, in training: bounds of a random crop's share of the image's area; unset: 0.1 and 1."""
    crop_ratio: Bounds | None = None
    """Of imagenet, in training: bounds of a random crop's width/height; unset: 0.8 and 1.25."""
    workers: Annotated[int, Field(ge=0, le=512), Hint(unit="processes")] | None = None
    """Of imagenet: processes that decode images, for each device; unset: as many as cores, shared by the devices."""
    mirrors: tuple[str, ...] = ()
    """Addresses tried before the authors' own: of the tarball, or of the folder that holds it, ending in /."""
    download: bool = True
    """Fetch cifar10 or cifar100 where it is not on the disk."""

    @field_validator("mirrors")
    @classmethod
    def _are_addresses(cls, mirrors: tuple[str, ...]) -> tuple[str, ...]:
        for mirror in mirrors:
            if not _is_address(mirror):
                raise ValueError(
                    f"{mirror!r} is no mirror: give http:// or https://, a host without a user's name, and a path, "
                    "ending in / if it is a folder's; characters beyond ASCII are written as %.."
                )
        return mirrors

    @model_validator(mode="before")
    @classmethod
    def _by_source(cls, given: Any) -> Any:
        source = given.get("source", "digits") if isinstance(given, dict) else None
        if not isinstance(source, str):
            return given  # which will be refused
        unset: dict[str, Any] = {"crop": {"digits": 1, "imagenet": 0}.get(source, 4), "flip": source != "digits"}
        if source == "imagenet":
            unset |= {"size": (size := given.get("size") or 224), "crop_scale": (0.1, 1.0), "crop_ratio": (0.8, 1.25)}
            with suppress(TypeError, ValueError, OverflowError):  # size itself will be refused
                unset |= {"resize": round(int(size) * 8 / 7)}
        return given | {key: value for key, value in unset.items() if given.get(key) is None}

    @model_validator(mode="after")
    def _has_path(self) -> DataConfig:
        if self.source in ("folder", "imagenet") and self.path is None:
            test = "test" if self.source == "folder" else "val"
            raise ValueError(
                f"data.source {self.source} needs data.path: a folder with train/<class>/ and {test}/<class>/"
            )
        if self.size is not None and self.source not in ("folder", "imagenet"):
            raise ValueError(f"size is for source: folder or imagenet; {self.source} has images of one size")
        return self._crops_fit()

    def _crops_fit(self) -> DataConfig:
        given = {name: getattr(self, name) for name in ("resize", "crop_scale", "crop_ratio")}
        if self.source != "imagenet":
            if odd := [name for name, value in given.items() if value is not None]:
                raise ValueError(f"{odd[0]} is for source: imagenet")
            return self
        if self.crop:
            raise ValueError("crop shifts images of one size; imagenet has crop_scale and crop_ratio")
        for name in ("crop_scale", "crop_ratio"):
            if given[name][0] > given[name][1]:
                raise ValueError(f"{name} {list(given[name])} must not fall: its lower bound comes first")
        if self.crop_scale and self.crop_scale[1] > 1:
            raise ValueError(f"crop_scale {list(self.crop_scale)} is a share of the image: at most 1")
        if self.resize and self.size and self.resize < self.size:
            raise ValueError(f"resize {self.resize} is smaller than size {self.size}, which is cut out of it")
        return self


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        named = bool(parts.hostname) and parts.username is None and parts.port != 0
    except ValueError:
        return False
    plain = text.isascii() and text.isprintable() and " " not in text
    return named and plain and parts.scheme in ("http", "https")
