"""Labelled images, split into training and evaluation: in memory, or as files of an image folder."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnonly.data.listing import ImageFiles
from bnonly.errors import BadInput
from bnonly.randomness import bngen


@dataclass(frozen=True)
class Images:
    """pixels: uint8 [N, 3, H, W]. labels: int64 [N], indices into the dataset's classes."""

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, places: NDArray[np.int64]) -> Images:
        return Images(self.pixels[places], self.labels[places])

    def digest_into(self, total: Any) -> None:
        """Add every pixel and label to a hash, in order."""
        total.update(repr(self.pixels.shape).encode())
        total.update(np.ascontiguousarray(self.pixels).data)
        total.update(np.ascontiguousarray(self.labels, dtype="<i8").data)


Part = Images | ImageFiles


@dataclass(frozen=True)
class Dataset:
    """What one trains on and what one evaluates on. evaluated: "test", or "holdout" after `held_out`."""

    name: str
    classes: tuple[str, ...]
    train: Part
    test: Part
    evaluated: str = "test"

    def held_out(self, count: int, seed: int) -> Dataset:
        """`count` training images, chosen by the seed, take the test set's place; the test set is not touched."""
        if count == 0:
            return self
        if not 0 < count < len(self.train):
            raise BadInput(f"data.holdout={count} leaves nothing: {self.name} has {len(self.train)} training images")
        order = bngen.permutation(seed, bngen.stream_number(bngen.HOLDOUT, 0), len(self.train))
        held, kept = np.sort(order[:count]), np.sort(order[count:])
        return replace(self, train=self.train.take(kept), test=self.train.take(held), evaluated="holdout")

    def digest(self) -> str:
        """SHA-256 of both parts: which data a run has seen."""
        total = hashlib.sha256()
        for part in (self.train, self.test):
            part.digest_into(total)
        return total.hexdigest()
