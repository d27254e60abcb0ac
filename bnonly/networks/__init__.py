"""Networks by name, their convolutions random and frozen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

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


def network(name: str, seed: int, *, classes: int | None = None, start: Start | None = None) -> nn.Module:
    """A network of the registry with its initial values from `seed`, all parameters frozen, on the CPU.

    name: as `bnonly networks` lists, or any depth and factor of a family. seed: 0 <= seed < 2^128. classes: outputs,
    the family's own number unless given. start: the initial distributions, the paper's unless given.
    Raises BadInput for an unknown name or a seed out of range.
    """
    architecture = parse(name)
    import torch

    from bnonly.randomness.initialise import initialise

    start = start or Start()
    with torch.device("meta"):  # torch's own initialisation would cost time and read the global random state
        net = architecture.build(classes)
    net = net.to_empty(device="cpu")
    initialise(net, seed, start)
    net.requires_grad_(False)
    origin = Origin(name, seed, start, classes or architecture.family.classes)
    object.__setattr__(net, "origin", origin)  # a plain attribute, which nn.Module keeps no record of
    return net
