"""Batches of images that stay on the disk: decoded, cropped and flipped by worker processes, as for ImageNet.

Every draw is a pure function of (seed, epoch, image), so the number of workers and of processes changes no pixel, and
a run that starts again in the middle of an epoch sees what it would have seen.
"""

from __future__ import annotations

import math
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from bnonly.data.batches import WHOLE, Normalise, Share
from bnonly.data.colours import IMAGENET_MEAN, IMAGENET_STD
from bnonly.data.folder import opened
from bnonly.data.listing import ImageFiles
from bnonly.errors import BadInput, TrainingFailed
from bnonly.randomness import bngen

_CHUNK = 32  # images a worker hands over at a time: 5 MB at 224 pixels, which any /dev/shm holds
_TRIES = 10  # of a random crop, before it is the largest that fits
PATIENCE = 60.0
"""Seconds that the workers have for a chunk, before others take their place."""
_WAITS = 5  # on end, before it is the disk's fault


@dataclass(frozen=True)
class CropPreparation:
    """What happens to an image between its file and the network.

    size: pixels a side that the network sees. resize: pixels of the shorter side before the centre is cut out, in
    evaluation. scale, ratio: bounds of a training crop's share of the area and of width/height. flip: whether half of
    the training images are mirrored. Defaults: the paper's code for ImageNet.
    """

    size: int = 224
    resize: int = 256
    scale: tuple[float, float] = (0.1, 1.0)
    ratio: tuple[float, float] = (0.8, 1.25)
    flip: bool = True
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    channels_last: bool = False

    def training(self, image: Image.Image, seed: int, epoch: int, place: int) -> Tensor:
        """uint8 [3, size, size]: a random part of the image, scaled and perhaps mirrored."""
        words = bngen.Stream(seed, bngen.stream_number(bngen.AUGMENTATION, place, epoch)).words(1 + 4 * _TRIES)
        draws = words.astype(np.float64) * 2.0**-32
        top, left, height, width = crop(draws[1:], image.height, image.width, self.scale, self.ratio)
        side, pixels = [self.size, self.size], cast(Any, image)  # torchvision's hints name tensors alone
        part: Any = tv.resized_crop(
            pixels, top, left, height, width, side, InterpolationMode.BILINEAR, antialias=True
        )
        return tv.pil_to_tensor(tv.horizontal_flip(part) if self.flip and draws[0] >= 0.5 else part)

    def evaluation(self, image: Image.Image) -> Tensor:
        """uint8 [3, size, size]: the image's centre, its shorter side scaled to `resize` before."""
        whole = tv.resize(cast(Any, image), [self.resize], InterpolationMode.BILINEAR, antialias=True)
        return tv.pil_to_tensor(tv.center_crop(whole, [self.size, self.size]))


def crop(
    draws: Any, height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float]
) -> tuple[int, int, int, int]:
    """top, left, height, width of a part of an image, from uniform draws in [0, 1), four a try.

    Area uniform between the scales, log(width/height) between the logs of the ratios, position uniform; the first of
    the tries that fits, else the largest centred part within the ratios (Szegedy et al. 2015; torchvision's
    RandomResizedCrop has the same distribution).
    """
    for area, shape, down, across in zip(*(iter(draws.tolist()),) * 4, strict=True):
        target = height * width * (scale[0] + area * (scale[1] - scale[0]))
        aspect = math.exp(math.log(ratio[0]) + shape * (math.log(ratio[1]) - math.log(ratio[0])))
        w, h = round(math.sqrt(target * aspect)), round(math.sqrt(target / aspect))
        if 0 < w <= width and 0 < h <= height:
            return int(down * (height - h + 1)), int(across * (width - w + 1)), h, w
    h, w = min(height, round(width / ratio[0])), min(width, round(height * ratio[1]))
    return (height - h) // 2, (width - w) // 2, h, w


class Streamed:
    """Images of files, handed out as normalised float32 batches [B, 3, size, size] with labels int64 [B].

    workers: processes that decode, 0 for none but this one. Raises BadInput, naming the file, where one is no image.
    """

    def __init__(
        self,
        files: ImageFiles,
        batch_size: int,
        how: CropPreparation,
        device: torch.device,
        seed: int = 0,
        workers: int = 0,
        share: Share = WHOLE,
    ):
        if not len(files):
            raise BadInput("a data set without images cannot be trained or evaluated on")
        self.files, self.batch_size, self.how, self.device = files, batch_size, how, device
        self.seed, self.workers, self.share = seed, workers, share
        self._normalise = Normalise(how.mean, how.std, device)

    @property
    def images(self) -> int:
        return len(self.files)

    @property
    def steps(self) -> int:
        return -(-self.images // self.batch_size)

    def epoch(self, epoch: int, first: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        order = bngen.permutation(self.seed, bngen.stream_number(bngen.ORDER, 0, epoch), self.images)
        return self._batches(order, first, _Training(self.files, self.how, self.seed, epoch))

    def in_order(self) -> Iterator[tuple[Tensor, Tensor]]:
        return self._batches(np.arange(self.images), 0, _Evaluation(self.files, self.how))

    def _batches(self, order: Any, first: int, images: _Evaluation) -> Iterator[tuple[Tensor, Tensor]]:
        """The share's batches, from chunks that the workers make in order."""
        size, share = self.batch_size, self.share
        mine = [order[start : start + size][share.rank :: share.of] for start in range(0, len(order), size)][first:]
        chunks = [part[at : at + _CHUNK].tolist() for part in mine for at in range(0, len(part), _CHUNK)]
        made = self._made(chunks, images)
        for part in filter(len, mine):
            # Copied as they come: each holds two file descriptors while it is shared with a worker.
            parts = [[value.clone() for value in next(made)] for _ in range(0, len(part), _CHUNK)]
            pixels, labels = (torch.cat(values) for values in zip(*parts, strict=True))
            yield self._on_device(pixels), labels.to(self.device)

    def _made(self, chunks: list[list[int]], images: _Evaluation) -> Iterator[tuple[Tensor, Tensor]]:
        """Every chunk, in order. Workers from which none comes are ended, and others begin where they stood."""
        done, waits = 0, 0
        while done < len(chunks):
            loader = self._begun(chunks[done:], images)
            try:
                for made in loader:
                    if isinstance(made, BadInput):
                        raise made
                    done, waits = done + 1, 0
                    yield made
            except RuntimeError as error:
                if "DataLoader timed out" in str(error):
                    _end(loader)
                    if (waits := waits + 1) < _WAITS:
                        continue
                    raise TrainingFailed(
                        f"the processes that decode images gave none within {_WAITS * PATIENCE:.0f} seconds: see "
                        "whether the disk with the images answers, and give the same command again"
                    ) from error
                if "DataLoader worker" not in str(error):
                    raise
                raise TrainingFailed(
                    f"a process that decodes images was killed ({str(error).splitlines()[0]}), perhaps for want of "
                    "memory: lower data.workers and give the same command again"
                ) from error

    def _begun(self, chunks: list[list[int]], images: _Evaluation) -> Iterator[Any]:
        """Workers at these chunks. One may hang for ever: CPython 3.11 forks while a thread holds its own lock."""
        workers = min(self.workers, len(chunks))
        return iter(
            DataLoader(
                images,  # type: ignore[arg-type]  # it has __getitems__
                batch_sampler=chunks,
                num_workers=workers,
                collate_fn=_as_it_is,
                worker_init_fn=_begin_worker,
                timeout=PATIENCE if workers else 0,
            )
        )

    def _on_device(self, pixels: Tensor) -> Tensor:
        layout = torch.channels_last if self.how.channels_last else torch.contiguous_format
        pinned = pixels.pin_memory() if self.device.type == "cuda" else pixels
        moved = pinned.to(self.device, non_blocking=True)
        return self._normalise(moved.contiguous(memory_format=layout))


class _Evaluation:
    """For a DataLoader: the images at some places, prepared, or the sentence that says why not."""

    def __init__(self, files: ImageFiles, how: CropPreparation):
        self._files, self._how = files, how

    def __len__(self) -> int:
        return len(self._files)

    def __getitems__(self, places: list[int]) -> tuple[Tensor, Tensor] | BadInput:
        try:
            pixels = torch.stack([self._prepared(opened(self._files.path(place)), place) for place in places])
        except BadInput as error:
            return error  # raised here it would arrive wrapped in a traceback
        return pixels, torch.from_numpy(self._files.labels[places])

    def _prepared(self, image: Image.Image, place: int) -> Tensor:
        return self._how.evaluation(image)


class _Training(_Evaluation):
    def __init__(self, files: ImageFiles, how: CropPreparation, seed: int, epoch: int):
        super().__init__(files, how)
        self._seed, self._epoch = seed, epoch

    def _prepared(self, image: Image.Image, place: int) -> Tensor:
        return self._how.training(image, self._seed, self._epoch, place)


def _as_it_is(made: Any) -> Any:
    return made


def _end(loader: Any) -> None:
    """The workers of a DataLoader's iterator: it asks them kindly, which one that hangs does not hear."""
    loader._shutdown_workers()
    for worker in loader._workers:
        worker.kill()
        worker.join()


def _begin_worker(worker: int) -> None:
    """Ctrl-C and a scheduler's SIGTERM reach workers too; the parent saves first, then ends them."""
    # A terminal's bar stands in for these, and may have been forked while its thread held a lock.
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
    for kind in (signal.SIGINT, signal.SIGTERM):
        signal.signal(kind, signal.SIG_IGN)
