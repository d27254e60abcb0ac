"""Whether a network says the same of an image and of the same image moved a little.

R. Zhang, "Making Convolutional Networks Shift-Invariant Again" (ICML 2019), section 4: classification consistency,
the chance that two shifts of one image, drawn independently, get the same first answer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bnonly.errors import BadInput
from bnonly.measure.accuracy import autocast
from bnonly.measure.shifts import Shifts
from bnonly.progress import track
from bnonly.randomness import bngen

Batches = Callable[[], Iterable[tuple[Tensor, Tensor]]]


@dataclass(frozen=True)
class Estimate:
    """A mean over images and its standard error: the sample standard deviation over images, over sqrt(images)."""

    mean: float
    se: float

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> Estimate:
        """values: one an image. Of a single image the error is unknown: no number."""
        count = len(values)
        return cls(float(values.mean()), float(values.std(ddof=1) / math.sqrt(count)) if count > 1 else math.nan)

    def plain(self) -> dict[str, float | None]:
        """For JSON."""
        return {name: None if math.isnan(value) else value for name, value in vars(self).items()}


@dataclass(frozen=True)
class Stability:
    """Answers to every shift of a window, of `images` images; S shifts, offsets[i] pixels down and offsets[j] right.

    consistency: of two shifts drawn independently, so that they may be the same one; it is sum_c (n_c / S)^2 for an
    image of whose shifts n_c get the answer c. distinct: of two different ones, sum_c n_c (n_c - 1) / (S (S - 1));
    no number for a single shift. top1: right answers, mean over all shifts. unmoved: those of the images as they are
    (of crops: the crop in the window's middle), None where the window has no middle. by_shift: right answers
    [offsets, offsets]. right: probability of the right class (softmax), mean over images, [offsets, offsets]. spread:
    its standard deviation over the shifts of an image. examples: the same probability of some images each,
    evenly spaced, [examples, offsets, offsets].
    """

    images: int
    offsets: tuple[int, ...]
    consistency: Estimate
    distinct: Estimate
    top1: Estimate
    unmoved: float | None
    by_shift: NDArray[np.float64]
    right: NDArray[np.float64]
    spread: Estimate
    examples: NDArray[np.float64]

    def plain(self) -> dict[str, Any]:
        """For JSON, probabilities to five digits."""
        found: dict[str, Any] = {"images": self.images, "offsets": list(self.offsets), "unmoved": self.unmoved}
        found |= {name: getattr(self, name).plain() for name in ("consistency", "distinct", "top1", "spread")}
        maps = {name: np.round(getattr(self, name), 5).tolist() for name in ("by_shift", "right", "examples")}
        return found | maps


@dataclass(frozen=True)
class Sampled:
    """The same from `pairs` pairs of shifts an image, drawn independently for each image and pair.

    The errors hold both what the images and what the drawn shifts leave to chance.
    """

    images: int
    pairs: int
    consistency: Estimate
    top1: Estimate

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        means = {"consistency": self.consistency.plain(), "top1": self.top1.plain()}
        return {"images": self.images, "pairs": self.pairs, **means}


def every_shift(
    net: nn.Module,
    batches: Batches,
    shifts: Shifts,
    precision: str = "fp32",
    *,
    steps: int = 0,
    examples: int = 0,
    quiet: bool = False,
) -> Stability:
    """One forward pass a shift: agreement of all pairs follows exactly from how often an image gets each answer.

    batches: called once, gives images [B, 3, H, W] and labels [B] on the network's device; steps: how many, for the
    bar. examples: how many images' own curves are kept. The network is evaluated with running statistics, and its
    mode put back. Raises BadInput for images too small for the shifts, and where there are none.
    """
    offsets = shifts.offsets
    grid = [(down, right) for down in offsets for right in offsets]
    counts, hits, probabilities = [], [], []  # by batch: [B, classes], [B, S], [B, S]
    what = f"answers to {len(grid)} shifts"
    with _evaluating(net):
        for images, labels in track(batches(), steps, what, quiet=quiet):
            shifts.check(images)
            answers, right, classes = [], [], 0
            for down, across in grid:
                ones = torch.ones(len(images), dtype=torch.int64, device=images.device)
                logits = _logits(net, shifts.moved(images, down * ones, across * ones), precision)
                classes = logits.shape[1]
                answers.append(logits.argmax(1))
                right.append(logits.double().softmax(1).gather(1, labels[:, None])[:, 0])
            answer = torch.stack(answers, 1)
            count = torch.zeros(len(images), classes, dtype=torch.int64, device=images.device)
            counts.append(count.scatter_add_(1, answer, torch.ones_like(answer)))
            hits.append(answer == labels[:, None])
            probabilities.append(torch.stack(right, 1))
    if not counts:
        raise BadInput("consistency needs at least one image")
    n, hit, probability = (torch.cat(parts).double().cpu().numpy() for parts in (counts, hits, probabilities))
    return _stability(n, hit, probability, tuple(offsets), examples)


def _stability(
    n: NDArray[np.float64],
    hit: NDArray[np.float64],
    right: NDArray[np.float64],
    offsets: tuple[int, ...],
    examples: int,
) -> Stability:
    """n: answers [images, classes]. hit, right: [images, S]."""
    count, side, shown = n.sum(1), len(offsets), min(examples, len(n))
    distinct = (n * (n - 1)).sum(1) / (count * (count - 1)) if side > 1 else np.full(len(n), np.nan)
    middle = len(hit[0]) // 2 if side % 2 else None
    return Stability(
        images=len(n),
        offsets=offsets,
        consistency=Estimate.of(((n / count[:, None]) ** 2).sum(1)),
        distinct=Estimate.of(distinct),
        top1=Estimate.of(hit.mean(1)),
        unmoved=None if middle is None else float(hit[:, middle].mean()),
        by_shift=hit.mean(0).reshape(side, side),
        right=right.mean(0).reshape(side, side),
        spread=Estimate.of(right.std(1)),
        examples=right[np.arange(shown) * len(right) // max(1, shown)].reshape(-1, side, side),
    )


def random_pairs(
    net: nn.Module,
    batches: Batches,
    shifts: Shifts,
    pairs: int = 5,
    seed: int = 0,
    precision: str = "fp32",
    *,
    steps: int = 0,
    quiet: bool = False,
) -> Sampled:
    """Two forward passes a pair: for windows of too many shifts, as ImageNet's 32 x 32.

    The shifts come from the seed, by place among the images, so they depend neither on batch size nor on device.
    (Zhang's code draws them once a batch, which has the same mean and a larger error.) Raises BadInput as
    `every_shift`, and for less than one pair.
    """
    if pairs < 1:
        raise BadInput(f"{pairs} pairs of shifts are impossible: give at least 1")
    first, many, agreed, hits = shifts.offsets[0], len(shifts.offsets), [], []
    done = 0
    with _evaluating(net):
        for images, labels in track(batches(), steps, f"answers to {pairs} pairs of shifts", quiet=quiet):
            shifts.check(images)
            answers = []
            for turn in range(2 * pairs):
                drawn = (first + _drawn(seed, 2 * turn + side, done, len(images), many) for side in range(2))
                answers.append(_logits(net, shifts.moved(images, *drawn), precision).argmax(1))
            answer = torch.stack(answers, 1)
            agreed.append((answer[:, ::2] == answer[:, 1::2]).double().mean(1))
            hits.append((answer == labels[:, None]).double().mean(1))
            done += len(images)
    if not agreed:
        raise BadInput("consistency needs at least one image")
    agreement, hit = (torch.cat(parts).cpu().numpy() for parts in (agreed, hits))
    return Sampled(len(agreement), pairs, Estimate.of(agreement), Estimate.of(hit))


def _drawn(seed: int, turn: int, start: int, count: int, bound: int) -> Tensor:
    """Offsets 0..bound-1 of images start..start+count-1, int64 [count]."""
    words = bngen.Stream(seed, bngen.stream_number(bngen.SHIFTS, turn)).words(start + count)
    return torch.from_numpy(bngen.below(words[start:], bound))


@contextmanager
def _evaluating(net: nn.Module):
    training = net.training
    net.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        net.train(training)


def _logits(net: nn.Module, images: Tensor, precision: str) -> Tensor:
    with autocast(images.device, precision):
        return net(images).float()
