"""Networks by name, their convolutions random and frozen."""

from __future__ import annotations

from dataclasses import dataclass
from operator import index
from typing import TYPE_CHECKING

from bnonly.errors import BadInput
from bnonly.networks.antialias import Antialias, check_antialias
from bnonly.networks.registry import parse
from bnonly.randomness.start import Start

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Origin:
    """Where a network comes from: enough to grow it again. Kept as `net.origin`."""

    name: str
    seed: int
    start: Start
    classes: int
    antialias: Antialias = "none"


def origin_of(net: nn.Module) -> Origin | None:
    """Where the network comes from, if a seed and a name say so."""
    return getattr(net, "origin", None)


def title(net: nn.Module) -> str:
    """The network's name in the registry, else its class's."""
    origin = origin_of(net)
    return origin.name if origin else type(net).__name__


def network(
    name: str,
    seed: int,
    *,
    classes: int | None = None,
    start: Start | None = None,
    antialias: Antialias = "none",
) -> nn.Module:
    """A network of the registry with its initial values from `seed`, all parameters frozen, on the CPU.

    name: as `bnonly networks` lists, or any depth and factor of a family. seed: 0 <= seed < 2^128. classes: outputs,
    the family's own number unless given. start: the initial distributions, the paper's unless given.
    antialias: "rect2", "tri3" or "bin5" puts that filter before all subsampling (`networks.blur.BlurPool`); it adds
    no parameter and changes no value. Raises BadInput for an unknown name or filter, or a seed out of range.
    """
    architecture, start = parse(name), start or Start()
    check_antialias(antialias)
    from bnonly.networks.skeleton import grow
    from bnonly.randomness.values import values

    try:
        seed, classes = index(seed), architecture.family.classes if classes is None else index(classes)
    except TypeError:
        raise BadInput(f"seed {seed!r} and classes {classes!r} are whole numbers: give such") from None
    if classes < 1:
        raise BadInput(f"a network of {classes} classes is impossible: give at least 1")
    return grow(Origin(name, seed, start, classes, antialias), lambda entry: values(entry, seed, start))
