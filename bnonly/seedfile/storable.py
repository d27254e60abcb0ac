"""Whether a seed and the stored values bring a network back: everything about it that they do not is looked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from itertools import zip_longest
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from bnonly.errors import BadInput
from bnonly.fused.network import plain_kind
from bnonly.networks import Origin, is_own, origin_of
from bnonly.networks.registry import parse
from bnonly.randomness.plan import BATCH_NORMS
from bnonly.randomness.plan import plan as plan_entries
from bnonly.seedfile.contents import Limits
from bnonly.seedfile.errors import NotStorable
from bnonly.seedfile.growing import Digest, Rounds, drawn, places
from bnonly.seedfile.header import Input
from bnonly.seedfile.plan import Plan
from bnonly.trainable import freeze_all_but, trained_groups

_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
_WAYS = ("stride", "padding", "dilation", "groups", "padding_mode")
_NEVER = np.zeros(0, np.uint8)
_HOOKS = ("_forward_hooks", "_forward_pre_hooks")


def storable_origin(net: nn.Module) -> Origin:
    """What the network grew from. Raises NotStorable for one that no seed brings back."""
    if (origin := origin_of(net)) is None:
        raise NotStorable("network", "one that bnonly.network made from a seed", type(net).__name__)
    if not origin.start.storable:
        raise NotStorable("init.dist", "a distribution that a seed brings back on any machine", origin.start.weights)
    return origin


def plan_of(net: nn.Module, state: Mapping[str, Tensor], origin: Origin) -> Plan:
    """The plan, by what `freeze_all_but` was told. state: of the network. Raises NotStorable."""
    trained = trained_groups(net)
    if "all" in trained:
        raise NotStorable("trained", "a group that leaves something to the seed", "all: every weight was trained")
    if len(random := [part for part in trained if part.startswith("random:")]) > 1:
        raise NotStorable("trained", "one random:K, since each K has positions of its own", " and ".join(random))
    if random and random[0].endswith("%"):
        raise NotStorable("random:K", "a number of scalars a channel, the same in every layer", random[0])
    drawn_from = getattr(net, "positions_seed", origin.seed)
    if drawn_from != origin.seed:
        raise NotStorable("random:K", f"positions from the network's own seed {origin.seed}", f"seed {drawn_from}")
    entries = tuple(plan_entries(net) if is_own(origin) else parse(origin.name).entries(origin.classes))
    buffers = {name for name, _ in net.named_buffers()}
    own = {name: tuple(value.shape) for name, value in state.items() if name not in buffers}
    wanted = {entry.name: entry.shape for entry in entries}
    if odd := sorted(name for name in own.keys() | wanted.keys() if own.get(name) != wanted.get(name)):
        here, there = own.get(odd[0], "none"), wanted.get(odd[0], "none")
        raise NotStorable(f"network, {odd[0]}", f"{there}, as in {origin.name}", here)
    plan = Plan(entries, trained)
    return replace(plan, redrawn=bool(later_rounds(net, plan)))


def plain_copy(net: nn.Module) -> nn.Module:
    """A copy of a module of the user's, for a reader's values: no scalar of it trains, and nothing is folded yet."""
    copied = deepcopy(net)
    freeze_all_but(copied, "none")
    return copied


def check_buffers(net: nn.Module, replica: nn.Module, norms: Iterable[str]) -> None:
    """Raises NotStorable for a buffer that neither the architecture nor the file brings back.

    norms: the paths of the layers whose running statistics the file holds.
    """
    held = {f"{path}.{name}" for path in norms for name in _STATISTICS}
    own, built = net.state_dict(), replica.state_dict()
    for name, _ in net.named_buffers():
        if name in held or name not in own:
            continue
        if name not in built or not torch.equal(own[name].cpu(), built[name]):
            raise NotStorable(name, "a buffer as the architecture makes it", "one that has changed")


def later_rounds(net: nn.Module, plan: Plan) -> Rounds:
    """Of the filters that were drawn anew and that the seed gives."""
    known: Rounds = getattr(net, "rounds", {})
    return {entry.name: known[entry.name] for entry in plan.filtered() if known.get(entry.name, _NEVER).any()}


def host(name: str, value: Tensor) -> NDArray[np.float32]:
    """A parameter as float32 in C order. Raises NotStorable for another precision, which has rounded the seed's."""
    if value.dtype != torch.float32:
        raise NotStorable(name, "float32", str(value.dtype).removeprefix("torch."), "save it before it is cast")
    return np.ascontiguousarray(value.float().contiguous().numpy())


def compared(
    own: Mapping[str, NDArray[np.float32]], plan: Plan, origin: Origin, rounds: Rounds
) -> tuple[str, list[NDArray[np.float32]]]:
    """The digest of what the seed gives, and the scalars of random:K, parameter by parameter.

    Raises NotStorable, naming the parameter, where the network has something else than the seed gives.
    """
    scalars = []
    with Digest() as digest:
        seeded = [entry for entry in plan.entries if plan.source(entry) != "file"]
        for entry, grown in zip(seeded, drawn(seeded, origin.seed, origin.start, rounds), strict=True):
            source, mine = plan.source(entry), own[entry.name]
            digest.add(grown if source == "seed" else grown.copy())
            if source == "seed+file":
                at = places(entry, origin.seed, plan.scalars)
                scalars.append(mine.reshape(-1)[at])
                grown.reshape(-1)[at] = scalars[-1]
            if not np.isfinite(mine).all():
                raise NotStorable(entry.name, "finite numbers", "NaN or infinity", "its training has failed")
            if not np.array_equal(grown, mine):
                changed = int((grown != mine).sum())
                groups = "+".join(plan.trained) or "none"
                raise NotStorable(
                    entry.name,
                    f"the values of seed {origin.seed}, as the trained groups ({groups}) leave them",
                    f"{changed} of {entry.size} others",
                    "train it through bnonly.freeze_all_but, which remembers the group, or store it whole",
                )
        return digest.hexdigest(), scalars


def check_layers(net: nn.Module, replica: nn.Module, name: str) -> None:
    """Raises NotStorable, naming the layer, where a network computes otherwise than the architecture of its name."""
    pairs = zip_longest(net.named_modules(), replica.named_modules(), fillvalue=("", None))
    for (path, own), (there, wanted) in pairs:
        if own is None or wanted is None or path != there:
            raise NotStorable("network", f"the layers of {name}", f"another one, {path or there}")
        if (here := _way(own)) != (like := _way(wanted)):
            raise NotStorable(f"network, {path or 'as a whole'}", f"{like}, as in {name}", here)


def check_norms(layers: Mapping[str, Any], kept: Sequence[str]) -> float:
    """The eps that a file speaks of: that of all layers with running statistics, `kept`, or without any `common_eps`.

    Raises NotStorable where there is no such thing.
    """
    if not kept:
        return common_eps(layers.values())
    layers = {path: layers[path] for path in kept}
    for path, layer in layers.items():
        if not isinstance(layer, BATCH_NORMS):
            raise NotStorable(path, "a BatchNorm", type(layer).__name__)
        if layer.running_mean is None or layer.running_var is None:
            raise NotStorable(path, "running statistics", "none: it computes them from every batch")
    first, *others = {layer.eps: path for path, layer in layers.items()}.items()
    if others:
        (eps, _), (other, path) = first, others[0]
        raise NotStorable(f"{path}.eps", f"{eps} as in the other layers", other)
    return first[0]


def common_eps(layers: Iterable[Any]) -> float:
    """Of layers without running statistics, which have it of their architecture: 0 where they differ or say none."""
    values = {layer.eps for layer in layers}
    return values.pop() if len(values) == 1 and None not in values else 0.0


def _way(module: nn.Module) -> str:
    """How a layer computes, as far as its class and settings say. Scalars that train and folding change nothing."""
    if any(getattr(module, name) for name in _HOOKS) or "forward" in vars(module):
        return "a forward of its own"
    if isinstance(module, BATCH_NORMS):
        return "BatchNorm"
    if isinstance(module, _ConvNd):
        return f"convolution with {', '.join(f'{name} {getattr(module, name)}' for name in _WAYS)}"
    return f"{plain_kind(module).__name__}({module.extra_repr()})"


def check_input(given: Input, classes: int) -> None:
    """Raises BadInput for what no reader would take."""
    if not isinstance(given, Input) or not all(isinstance(part, tuple) for part in vars(given).values()):
        raise BadInput("input is a bnonly.seedfile.Input of tuples: shape, mean, std, labels")
    if len(given.labels) != classes:
        raise BadInput(f"{len(given.labels)} labels do not name {classes} classes: give one a class, in order")
    if len(given.shape) != 3 or given.shape[0] != 3 or not all(type(n) is int and n > 0 for n in given.shape):
        raise BadInput(f"images of shape {given.shape} are impossible: say (3, height, width)")
    if given.shape[1] * given.shape[2] > Limits.pixels:
        raise BadInput(f"images of shape {given.shape} are larger than readers take: {Limits.pixels} pixels at most")
