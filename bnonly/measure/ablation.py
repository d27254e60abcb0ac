"""What becomes of a network's answers when some of its gammas are set to zero, without retraining."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bnonly.errors import BadInput
from bnonly.measure.accuracy import Score, evaluate
from bnonly.measure.gamma import gammas, zeroed
from bnonly.measure.points import Point, chosen
from bnonly.progress import track


@dataclass(frozen=True)
class Clamped:
    """A point (None: the intact network), how many channels it chooses, and the network's score then."""

    point: Point | None
    channels: int
    score: Score


def ablate(
    net: nn.Module,
    batches: Callable[[], Iterable[tuple[Tensor, Tensor]]],
    points: Sequence[Point],
    precision: str = "fp32",
    *,
    known: Mapping[Point | None, Score] | None = None,
    quiet: bool = False,
) -> Iterator[Clamped]:
    """Score the network intact, then at each point; gamma is as it was, to the bit, whenever this stops.

    batches: called for every evaluation, one pass over the images each. A point that changes the same gammas as
    another, or none, takes the other's score and costs no evaluation. known: scores from earlier, taken as they are.
    Works on every normalisation layer that has a gamma. Yields each point once, as soon as its score is there.
    Raises BadInput for a network without gamma.
    """
    if not gammas(net):
        raise BadInput(f"{type(net).__name__} has no gamma to clamp")
    values = _flat(net)
    given, known = np.concatenate(values) != 0, known or {}
    taken = {point: chosen(values, point) for point in dict.fromkeys((*points, *known)) if point is not None}
    counts: dict[Point | None, int] = {point: int(channels.sum()) for point, channels in taken.items()}
    # Where gamma is 0 already, clamping changes nothing.
    changed: dict[Point | None, bytes] = {None: np.zeros_like(given).tobytes()}
    changed |= {point: (channels & given).tobytes() for point, channels in taken.items()}
    scores = {changed[point]: score for point, score in known.items()}
    asked = [None, *dict.fromkeys(points)]
    groups: dict[bytes, list[Point | None]] = {}
    for point in asked:
        groups.setdefault(changed[point], []).append(point)
    for key in [key for key in groups if key in scores]:
        yield from (Clamped(point, counts.get(point, 0), scores[key]) for point in groups.pop(key))
    many = f"{len(groups)} evaluation{'' if len(groups) == 1 else 's'}"
    for key in track(groups, len(groups), f"clamping gamma: {many}", quiet=quiet or not groups):
        with zeroed(net, _by_layer(net, np.frombuffer(key, bool))):
            score = evaluate(net, batches(), precision)
        yield from (Clamped(point, counts.get(point, 0), score) for point in groups[key])


def _flat(net: nn.Module) -> list[NDArray[np.floating]]:
    values = (gamma.flatten().cpu() for gamma in gammas(net).values())
    # numpy has no bfloat16.
    return [(value.float() if value.dtype == torch.bfloat16 else value).numpy().copy() for value in values]


def _by_layer(net: nn.Module, channels: NDArray[np.bool_]) -> dict[str, Tensor]:
    found, start = {}, 0
    for name, gamma in gammas(net).items():
        end = start + gamma.numel()
        found[name] = torch.from_numpy(channels[start:end].copy()).view(gamma.shape)
        start = end
    return found
