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


OWN = "module/"
"""Begins the name of a network that `grown` was given; its class's name follows."""


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


def is_own(origin: Origin) -> bool:
    """Whether it is a module of the user's, which no name builds."""
    return origin.name.startswith(OWN)


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


def grown(module: nn.Module, seed: int, *, classes: int | None = None, start: Start | None = None) -> nn.Module:
    """A module of one's own, its initial values from `seed`, all parameters frozen, in place and in train mode.

    Convolutions, linear and normalisation layers are filled by `randomness.plan`'s rules, in the plan's order; the
    module's own values are gone. Groups norm, bn and their like work by type; `module.roles = {"output": ["head"]}`
    declares the output layer by its path, `"shortcut"` shortcuts. classes: the number of logits, the output layer's
    unless given. `bnonly.save` stores it, `bnonly.load(file, module=...)` needs the same module again.
    Raises BadInput for a module without a normalisation layer, and for a parameter that no rule knows.
    """
    from bnonly.networks.libraries import check_normalised
    from bnonly.networks.skeleton import grow
    from bnonly.randomness.plan import plan
    from bnonly.randomness.values import values

    start, name = start or Start(), f"{OWN}{type(module).__name__}"
    check_normalised(module, name)
    if classes is None:
        paths: list[str] = getattr(module, "roles", {}).get("output", [])
        classes = getattr(module.get_submodule(paths[-1]), "out_features", None) if paths else None
    if classes is None or classes < 1:
        raise BadInput(f"how many logits {name} gives is not known: pass classes=, or declare its output in roles")
    if odd := [n for n, p in module.named_parameters() if p.device.type != "cpu" or str(p.dtype) != "torch.float32"]:
        raise BadInput(f"parameter {odd[0]} of {name} is not float32 on the CPU: grow the module before it is moved")
    entries = plan(module)
    drawn = {entry.name: values(entry, seed, start) for entry in entries}  # before anything of the module changes
    return grow(Origin(name, seed, start, classes), lambda entry: drawn[entry.name], entries, module)
