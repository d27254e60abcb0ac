"""Batches made on the device: the whole set as uint8, cropped and flipped image by image, then normalised.

Order and augmentation are a pure function of (seed, epoch, step): each epoch's draws come from streams of the seed
of their own, so a run that starts again in the middle of an epoch sees what it would have seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bnonly.data.images import IMAGENET_MEAN, IMAGENET_STD, Images
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


class Batches:
    """Images on a device, handed out as normalised float32 batches [B, 3, H, W] with labels int64 [B]."""

    def __init__(self, images: Images, batch_size: int, how: Preparation, device: torch.device, seed: int = 0):
        if not len(images):
            raise BadInput("a data set without images cannot be trained or evaluated on")
        self.batch_size, self.how, self.seed = batch_size, how, seed
        self.labels = torch.from_numpy(images.labels).to(device)
        pixels = torch.from_numpy(images.pixels).to(device)
        if how.crop:
            pixels = torch.nn.functional.pad(pixels, (how.crop,) * 4)
        self._windows = self._every_window(pixels, images.pixels.shape[2:])
        scale = torch.tensor(how.std, dtype=torch.float64).mul(255).reciprocal()
        shift = -torch.tensor(how.mean, dtype=torch.float64) / torch.tensor(how.std, dtype=torch.float64)
        self._scale, self._shift = (value.float().view(-1, 1, 1).to(device) for value in (scale, shift))

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
        """Batches an epoch; the last one may be smaller."""
        return -(-self.images // self.batch_size)

    def epoch(self, epoch: int, first: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """The training batches of an epoch in its own order, from step `first` on, augmented."""
        order, top, left, flip = self._draws(epoch)
        for start in range(first * self.batch_size, self.images, self.batch_size):
            part = slice(start, start + self.batch_size)
            chosen = order[part]
            pixels = self._windows[chosen, top[part], left[part]]
            if flip is not None:
                # The width is the last but one axis in channels_last memory.
                mirrored = pixels.flip(-2 if self.how.channels_last else -1)
                pixels = torch.where(flip[part].view(-1, 1, 1, 1), mirrored, pixels)
            yield self._normalised(pixels), self.labels[chosen]

    def in_order(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Every image once, as stored, not augmented: for evaluation."""
        for start in range(0, self.images, self.batch_size):
            part = slice(start, start + self.batch_size)
            yield self._normalised(self._windows[part, self.how.crop, self.how.crop]), self.labels[part]

    def _draws(self, epoch: int) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        count, device = self.images, self.labels.device
        order = bngen.permutation(self.seed, bngen.stream_number(bngen.ORDER, 0, epoch), count)
        words = bngen.Stream(self.seed, bngen.stream_number(bngen.AUGMENTATION, 0, epoch)).words(3 * count)
        top, left = (bngen.below(words[i * count : (i + 1) * count], 2 * self.how.crop + 1) for i in range(2))
        flip = words[2 * count :] >= np.uint32(1 << 31) if self.how.flip else None
        place, top, left = (torch.from_numpy(draw).to(device) for draw in (order, top, left))
        return place, top, left, None if flip is None else torch.from_numpy(flip).to(device)

    def _normalised(self, pixels: Tensor) -> Tensor:
        if self.how.channels_last:
            pixels = pixels.permute(0, 3, 1, 2)
        return pixels.float().mul_(self._scale).add_(self._shift)
