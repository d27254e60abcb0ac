"""Which channels a clamping sets to zero: by a bound on |gamma|, or a share of them by size or at random.

Without torch; numpy where channels are chosen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from bnonly.errors import BadInput

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Way = Literal["below", "smallest", "largest", "random"]
Scope = Literal["network", "layer"]
WAYS, SCOPES = get_args(Way), get_args(Scope)

THRESHOLDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)


@dataclass(frozen=True)
class Point:
    """One clamping.

    way: "below", every |gamma| < amount, in all layers alike; "smallest", "largest", "random", a share `amount`
    (0..1) of the channels, of the whole network or of each layer (scope). seed: of "random", None elsewhere.
    Raises BadInput for one that is impossible.
    """

    way: Way
    amount: float
    scope: Scope = "network"
    seed: int | None = None

    def __post_init__(self) -> None:
        if self.way not in WAYS or self.scope not in SCOPES or (self.way == "below" and self.scope == "layer"):
            raise BadInput(
                f"clamping {self.way!r} over {self.scope!r} is unknown: {', '.join(WAYS)} over the network"
            )
        if self.way == "below" and not 0 <= self.amount < math.inf:
            raise BadInput(f"a threshold of {self.amount} is impossible: it bounds |gamma|, so it is at least 0")
        if self.way != "below" and not 0 <= self.amount <= 1:
            raise BadInput(f"a share of {self.amount} is impossible: give shares from 0 to 1, as 0.1 or 10%")
        if (self.seed is None) == (self.way == "random"):
            raise BadInput(f"clamping {self.way} with seed {self.seed} is impossible: random channels alone need one")


def points(
    thresholds: Sequence[float] = THRESHOLDS,
    smallest: Sequence[float] = (),
    largest: Sequence[float] = (),
    random: Sequence[float] = (),
    *,
    per_layer: bool = False,
    repeats: int = 3,
    seed: int = 0,
) -> tuple[Point, ...]:
    """The points of a request, each once, in their order.

    per_layer: the shares within each layer too, beside those of the whole network. repeats: draws of each random
    share, with the seeds seed, seed+1, ... Raises BadInput for what is impossible, or where nothing is asked for.
    """
    if not (0 < repeats <= 1000 and 0 <= seed < 1 << 64):
        raise BadInput(f"{repeats} repeats from seed {seed} on are impossible: give 1 to 1000, and a seed from 0 up")
    found = [Point("below", float(bound)) for bound in thresholds]
    scopes: tuple[Scope, ...] = SCOPES if per_layer else ("network",)
    for scope in scopes:
        found += [Point("smallest", float(share), scope) for share in smallest]
        found += [Point("largest", float(share), scope) for share in largest]
        found += [Point("random", float(share), scope, seed + i) for share in random for i in range(repeats)]
    if not found:
        raise BadInput("there is nothing to clamp: give thresholds, or shares of the smallest, largest or random")
    return tuple(dict.fromkeys(found))


def chosen(gammas: Sequence[NDArray[np.floating]], point: Point) -> NDArray[np.bool_]:
    """The channels that a point sets to zero: bool [channels], all layers one after the other.

    gammas: by layer, in the network's order, each flat. A share of n channels is its nearest whole number (of two
    equally near the even one). Of equal |gamma| the earlier channel comes first, from either end. Random channels
    are the first of one order of all, drawn by bngen-1: with one seed a larger share holds the smaller.
    """
    import numpy as np

    if point.way == "below":
        # The bound in gamma's own precision, as everywhere.
        return np.concatenate([np.abs(gamma) < gamma.dtype.type(point.amount) for gamma in gammas])
    if point.scope == "network":
        return _share(np.concatenate(gammas), point, 0)
    return np.concatenate([_share(gamma, point, 1 + place) for place, gamma in enumerate(gammas)])


def _share(gamma: NDArray[np.floating], point: Point, place: int) -> NDArray[np.bool_]:
    import numpy as np

    from bnonly.randomness import bngen

    if point.way == "random":
        assert point.seed is not None, "a Point checks it"
        order = bngen.permutation(point.seed, bngen.stream_number(bngen.CLAMPING, place), len(gamma))
    else:
        size = np.abs(gamma)
        order = np.argsort(size if point.way == "smallest" else -size, kind="stable")
    taken = np.zeros(len(gamma), bool)
    taken[order[: round(point.amount * len(gamma))]] = True
    return taken
