"""Batches made on the device: the whole set as uint8, cropped and flipped image by image, then normalised.

`Loader` is what training asks of batches, from memory (here) or from files (streamed.py).

Order and augmentation are a pure function of (seed, epoch, step): each epoch's draws come from streams of the seed
of their own, so a run that starts again in the middle of an epoch sees what it would have seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from bnonly.data.colours import IMAGENET_MEAN, IMAGENET_STD
from bnonly.data.images import Images
from bnonly.errors import BadInput
from bnonly.randomness import bngen


@dataclass(frozen=True)
class Preparation:
    """What happens to an image between the disk and the network.

    mean, std: of the pixels in [0, 1], by channel. crop: pixels of black border within which a training image is
    shifted at random; flip: whether half of them are mirrored. channels_last: the batches' memory format.
    """

    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    crop: int = 0
    flip: bool = False
    channels_last: bool = False


@dataclass(frozen=True)
class Share:
    """One process's part of every batch: each `of`-th image, from the `rank`-th on."""

    rank: int = 0
    of: int = 1


WHOLE = Share()


class Loader(Protocol):
    """Batches of one split: normalised float32 images [B, 3, H, W] and labels int64 [B], on the device.

    images: of the split, of all shares. steps: batches an epoch; the last one may be smaller.
    """

    device: torch.device

    @property
    def images(self) -> int: ...

    @property
    def steps(self) -> int: ...

    def epoch(self, epoch: int, first: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """This share of the training batches of an epoch in its own order, from step `first` on, augmented."""
        ...

    def in_order(self) -> Iterator[tuple[Tensor, Tensor]]:
        """This share of all images once, as stored, not augmented: for evaluation. The last share may be empty."""
        ...


class Normalise:
    """Pixels uint8 [B, 3, H, W] to float32, mean and deviation by colour taken out, on their device."""

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...], device: torch.device):
        scale = torch.tensor(std, dtype=torch.float64).mul(255).reciprocal()
        shift = -torch.tensor(mean, dtype=torch.float64) / torch.tensor(std, dtype=torch.float64)
        self._scale, self._shift = (value.float().view(-1, 1, 1).to(device) for value in (scale, shift))

    def __call__(self, pixels: Tensor) -> Tensor:
        return pixels.float().mul_(self._scale).add_(self._shift)


class Batches:
    """Images on a device, handed out as normalised float32 batches [B, 3, H, W] with labels int64 [B]."""

    def __init__(
        self,
        images: Images,
        batch_size: int,
        how: Preparation,
        device: torch.device,
        seed: int = 0,
        share: Share = WHOLE,
    ):
        if not len(images):
            raise BadInput("a data set without images cannot be trained or evaluated on")
        self.batch_size, self.how, self.device, self.seed, self.share = batch_size, how, device, seed, share
        self.labels = torch.from_numpy(images.labels).to(device)
        pixels = torch.from_numpy(images.pixels).to(device)
        if how.crop:
            pixels = torch.nn.functional.pad(pixels, (how.crop,) * 4)
        self._windows = self._every_window(pixels, images.pixels.shape[2:])
        self._normalise = Normalise(how.mean, how.std, device)

    def _every_window(self, pixels: Tensor, shape: tuple[int, ...]) -> Tensor:
        """A view [N, top, left, C, H, W] of all positions of the crop ([N, top, left, H, W, C] in memory order)."""
        if self.how.channels_last:
            pixels = pixels.permute(0, 2, 3, 1).contiguous()
            return pixels.unfold(1, shape[0], 1).unfold(2, shape[1], 1).permute(0, 1, 2, 4, 5, 3)
        return pixels.unfold(2, shape[0], 1).unfold(3, shape[1], 1).permute(0, 2, 3, 1, 4, 5)

    @property
    def images(self) -> int:
        return len(self.labels)

    @property
    def steps(self) -> int:
        return -(-self.images // self.batch_size)

    def epoch(self, epoch: int, first: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        order, top, left, flip = self._draws(epoch)
        for start in range(first * self.batch_size, self.images, self.batch_size):
            part = self._part(start)
            chosen = order[part]
            pixels = self._windows[chosen, top[part], left[part]]
            if flip is not None:
                # The width is the last but one axis in channels_last memory.
                mirrored = pixels.flip(-2 if self.how.channels_last else -1)
                pixels = torch.where(flip[part].view(-1, 1, 1, 1), mirrored, pixels)
            yield self._normalised(pixels), self.labels[chosen]

    def in_order(self) -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, self.images, self.batch_size):
            part = self._part(start)
            if len(self.labels[part]):
                yield self._normalised(self._windows[part, self.how.crop, self.how.crop]), self.labels[part]

    @property
    def augmented(self) -> bool:
        """Whether an image differs from epoch to epoch."""
        return self.how.crop > 0 or self.how.flip

    def order(self, epoch: int) -> Tensor:
        """The epoch's order of all images, int64 [images], on the device; a step takes the next `batch_size`."""
        order = bngen.permutation(self.seed, bngen.stream_number(bngen.ORDER, 0, epoch), self.images)
        return torch.from_numpy(order).to(self.device)

    def _part(self, start: int) -> slice:
        return slice(start + self.share.rank, min(start + self.batch_size, self.images), self.share.of)

    def _draws(self, epoch: int) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        count, device = self.images, self.labels.device
        words = bngen.Stream(self.seed, bngen.stream_number(bngen.AUGMENTATION, 0, epoch)).words(3 * count)
        top, left = (bngen.below(words[i * count : (i + 1) * count], 2 * self.how.crop + 1) for i in range(2))
        flip = words[2 * count :] >= np.uint32(1 << 31) if self.how.flip else None
        top, left = (torch.from_numpy(draw).to(device) for draw in (top, left))
        return self.order(epoch), top, left, None if flip is None else torch.from_numpy(flip).to(device)

    def _normalised(self, pixels: Tensor) -> Tensor:
        return self._normalise(pixels.permute(0, 3, 1, 2) if self.how.channels_last else pixels)


def check_shares(images: int, batch_size: int, share: Share) -> None:
    """Raise BadInput where some training step would leave a process without an image."""
    if (least := images % batch_size or batch_size) < share.of:
        raise BadInput(
            f"of {images} images in batches of {batch_size} the last batch has {least}, too few for {share.of} "
            "processes: choose another training.batch_size, or fewer training.devices"
        )
