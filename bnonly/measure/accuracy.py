"""Loss and accuracy, summed on the device; nothing waits for the device until the end."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy


@dataclass(frozen=True)
class Score:
    """Means over the images seen: cross-entropy in nats, fractions right at the first and within the first five."""

    loss: float
    top1: float
    top5: float
    images: int

    def plain(self) -> dict[str, float | None]:
        """For JSON. A loss may overflow to no number while training is sound: a deep network is evaluated with
        running statistics that its first steps have barely moved."""
        return {"loss": self.loss if math.isfinite(self.loss) else None, "top1": self.top1, "top5": self.top5}


def tally(logits: Tensor, labels: Tensor, loss: Tensor) -> Tensor:
    """Sums of one batch, float64 [4] on its device: loss over images, hits at 1, hits at 5, images.

    logits [B, classes], labels [B], loss: the batch's mean. With fewer than five classes top-5 is all of them.
    """
    best = logits.detach().topk(min(5, logits.shape[1]), 1).indices == labels[:, None]
    count = len(labels)
    sums = torch.stack([best[:, 0].sum(), best.sum()])
    total = (loss.detach().double() * count).reshape(1)
    return torch.cat([total, sums, torch.full((1,), count, device=labels.device)])


def score(sums: Tensor) -> Score:
    """The means of added tallies. Waits for the device."""
    loss, top1, top5, images = sums.tolist()
    return Score(loss / max(images, 1), top1 / max(images, 1), top5 / max(images, 1), int(images))


def autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """The context of a forward in that precision: "fp32" (nothing) or "bf16" (torch's automatic mixed precision)."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()


def evaluate(
    net: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    precision: str = "fp32",
    summed: Callable[[Tensor], Tensor] | None = None,
) -> Score:
    """Score a network in eval mode (running statistics) over batches (images [B, 3, H, W], labels [B]).

    summed: adds up the tallies of several processes, each with batches of its own. The network's mode is put back as
    it was.
    """
    training, sums = net.training, None
    net.eval()
    with torch.inference_mode():
        for images, labels in batches:
            with autocast(images.device, precision):
                logits = net(images).float()
            batch = tally(logits, labels, cross_entropy(logits, labels))
            sums = batch if sums is None else sums + batch
    net.train(training)
    if sums is None:
        sums = torch.zeros(4, dtype=torch.float64, device=next(net.parameters()).device)
    total = score(summed(sums) if summed else sums)
    if not total.images:
        raise ValueError("evaluate needs at least one batch")
    return total
