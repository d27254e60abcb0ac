"""The images and what happens to them before the network sees them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, model_validator

from bnonly.config.base import Section
from bnonly.data.images import IMAGENET_MEAN, IMAGENET_STD

Channels = tuple[float, float, float]
Deviations = tuple[PositiveFloat, PositiveFloat, PositiveFloat]


class DataConfig(Section):
    """Source, preparation and split. The defaults are the paper's pre-processing."""

    source: Literal["digits", "cifar10", "cifar100", "folder"] = "digits"
    """digits (nothing to download), cifar10, cifar100, or folder: train/<class>/*, test/<class>/*."""
    path: Path | None = None
    """Folder or tarball that holds the data; not needed for digits. Does not change a run's id."""
    size: Annotated[int, Field(ge=8, le=1024)] | None = None
    """Pixels a side to bring an image folder's images to; none: they are of one size already."""
    holdout: NonNegativeInt = 0
    """Training images split off by the seed and evaluated on instead of the test set."""
    crop: Annotated[int, Field(ge=0, le=64)] | None = None
    """Pixels of border within which training images are shifted at random; unset: 4, for digits 1."""
    flip: bool | None = None
    """Mirror half of the training images; unset: yes, for digits no."""
    mean: Channels = IMAGENET_MEAN
    """Mean of each colour in [0, 1], subtracted; the paper's code uses ImageNet's for CIFAR-10 too."""
    std: Deviations = IMAGENET_STD
    """Standard deviation of each colour, divided by."""

    @model_validator(mode="before")
    @classmethod
    def _by_source(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        digits = given.get("source", "digits") == "digits"
        unset = {"crop": 1 if digits else 4, "flip": not digits}
        return given | {key: value for key, value in unset.items() if given.get(key) is None}

    @model_validator(mode="after")
    def _has_path(self) -> DataConfig:
        if self.source != "digits" and self.path is None:
            raise ValueError(f"data.source {self.source} needs data.path: the folder or tarball that holds it")
        if self.size is not None and self.source != "folder":
            raise ValueError(f"size is for source: folder; {self.source} has images of one size")
        return self
