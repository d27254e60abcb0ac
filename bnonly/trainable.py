"""Which parameters train: named groups and their sums.

Normalisation layers are found by type, output layer and shortcuts by the role the network declares (`net.roles`),
convolution channels by type; nothing is found by its name.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from bnonly.errors import BadInput
from bnonly.groups import Scalars, parse_group, random_scalars
from bnonly.networks import origin_of, title
from bnonly.networks.folded import is_folded
from bnonly.networks.parts import Conv2d
from bnonly.randomness import bngen
from bnonly.randomness.plan import BATCH_NORMS, NORMS, RANDOM_VALUES, plan


def freeze_all_but(net: nn.Module, group: str, *, seed: int | None = None) -> list[nn.Parameter]:
    """Freeze every parameter of `net` but the group's; returns the parameters that train, in the network's order.

    group: a name of `bnonly.groups.GROUPS` or a sum of them. seed: for random:K, where the positions come from; the
    network's own unless given. Layers stay in the mode they are in: BatchNorm goes on using batch statistics in
    train mode. Call it again to change the group; trained values stay as they are.
    Raises BadInput, in a sentence, for a group that this network cannot train.
    """
    parts = parse_group(group)
    _check_gamma(net, parts)
    chosen = set(select(net, group))
    if scalars := random_scalars(parts):
        _check_random(net, scalars)
        seed = _seed(net, seed)
    for layer in list(net.modules()):
        if isinstance(layer, ScalarTrained):
            _withdraw_scalars(layer)
    for name, parameter in net.named_parameters():
        parameter.requires_grad_(name in chosen)
    if scalars and seed is not None:
        indices = {entry.name: entry.index for entry in plan(net)}
        for name, layer in _convolutions(net).items():
            if not layer.weight.requires_grad:
                _train_scalars(layer, scalars, seed, indices[f"{name}.weight".lstrip(".")])
    _remember(net, parts, seed)
    return [parameter for parameter in net.parameters() if parameter.requires_grad]


def trained_groups(net: nn.Module) -> tuple[str, ...]:
    """The parts of every group that `freeze_all_but` was given, in their order: what may differ from the seed."""
    return getattr(net, "trained", ())


def _remember(net: nn.Module, parts: tuple[str, ...], seed: int | None) -> None:
    known = [part for part in (*trained_groups(net), *parts) if part != "none"]
    object.__setattr__(net, "trained", tuple(dict.fromkeys(known)))
    if (header := getattr(net, "stored", None)) is not None:
        # What its file says of accuracy and training will not be true of what comes now.
        object.__setattr__(net, "stored", replace(header, info={}))
    if random_scalars(parts):
        object.__setattr__(net, "positions_seed", seed)


def _check_gamma(net: nn.Module, parts: tuple[str, ...]) -> None:
    if {"bn", "gamma", "beta", "norm", "all"} & set(parts) and is_folded(net):
        raise BadInput(
            f"group {'+'.join(parts)} is impossible for {title(net)}: it was stored in folded form, where gamma and "
            "beta are one with the running statistics; store it with form full to train it on"
        )


def select(net: nn.Module, group: str) -> dict[str, nn.Parameter]:
    """The existing parameters a group names, by name; of random:K those of its values that already train."""
    parts = parse_group(group)
    named = dict(net.named_parameters())
    names = {name for part in parts for name in _names(net, part)}
    return {name: parameter for name, parameter in named.items() if name in names}


@dataclass(frozen=True)
class Counts:
    """Numbers of parameters by the columns of the paper's table 1."""

    total: int
    bn: int
    output: int
    shortcut: int


def count(net: nn.Module) -> Counts:
    """How many parameters each column of the paper's table has; 0 where the network has no such part."""

    def size(names: set[str]) -> int:
        return sum(parameter.numel() for name, parameter in net.named_parameters() if name in names)

    declared = {role: set(_of_role(net, role)) for role in ("output", "shortcut")}
    total = sum(entry.size for entry in plan(net))
    return Counts(total, size(_of_norms(net, BATCH_NORMS)), size(declared["output"]), size(declared["shortcut"]))


def trained_of(net: nn.Module) -> tuple[int, int]:
    """How many parameters train now, and how many the network has."""
    return sum(p.numel() for p in net.parameters() if p.requires_grad), sum(entry.size for entry in plan(net))


def _names(net: nn.Module, part: str) -> set[str]:
    if part == "none":
        return set()
    if part == "all":
        return {name for name, _ in net.named_parameters()}
    if part.startswith("random:"):
        return {name for name, _ in net.named_parameters() if name.rpartition(".")[2] == RANDOM_VALUES}
    if part in ("output", "shortcut"):
        found = set(_of_role(net, part))
        missing = f"it declares no {part} layer"
    else:
        kinds = BATCH_NORMS if part == "bn" else NORMS
        wanted = {"gamma": ("weight",), "beta": ("bias",)}.get(part, ("weight", "bias"))
        found = {name for name in _of_norms(net, kinds) if name.rpartition(".")[2] in wanted}
        missing = f"it has no {'BatchNorm' if part == 'bn' else 'normalisation'} layer with parameters"
        if part == "bn" and _of_norms(net, NORMS):
            missing += ", but others: group norm trains those"
    if not found:
        raise BadInput(f"group {part} is impossible for {title(net)}: {missing}")
    return found


def _of_norms(net: nn.Module, kinds: tuple[type, ...]) -> set[str]:
    return {
        f"{path}.{name}".lstrip(".")
        for path, layer in net.named_modules()
        if isinstance(layer, kinds)
        for name, _ in layer.named_parameters(recurse=False)
    }


def _of_role(net: nn.Module, role: str) -> list[str]:
    roles: dict[str, list[str]] = getattr(net, "roles", {})
    return [
        f"{path}.{name}".lstrip(".")
        for path in roles.get(role, [])
        for name, _ in net.get_submodule(path).named_parameters()
        if name.rpartition(".")[2] != RANDOM_VALUES
    ]


def _convolutions(net: nn.Module) -> dict[str, _ConvNd]:
    return {path: layer for path, layer in net.named_modules() if isinstance(layer, _ConvNd)}


def _seed(net: nn.Module, seed: int | None) -> int:
    if seed is not None:
        return seed
    if (origin := origin_of(net)) is None:
        raise BadInput("random:K draws its positions from a seed, and this network has none: pass seed=")
    return origin.seed


def _check_random(net: nn.Module, scalars: Scalars) -> None:
    layers = _convolutions(net)
    largest = max((layer.weight[0].numel() for layer in layers.values()), default=0)
    if not largest or scalars.count > largest:
        what = f"its largest filter has {largest} scalars" if largest else "it has no convolution"
        raise BadInput(f"group {scalars} is impossible for {title(net)}: {what}")
    for path, layer in layers.items():
        if not isinstance(layer, ScalarTrained) and type(layer) not in _SCALAR_TRAINED:
            raise BadInput(
                f"group {scalars} cannot train scalars of {path}: {type(layer).__name__} is no plain convolution"
            )


class ScalarTrained(_ConvNd):
    """A convolution of which only some scalars train: `random_values` [channels, K] at `random_positions`.

    The values are a small parameter of their own, so momentum and weight decay can touch nothing else. Each forward
    writes them into `weight`, and state_dict knows `weight` alone: it is that of the plain network, both ways.
    """

    random_values: nn.Parameter
    random_positions: Tensor  # int64 [channels, K], places among a channel's scalars in C order
    others: object | None = None
    """Another object whenever somebody else may have changed the weight."""
    _written: int | None = None  # the weight's version, when the scalars were
    _conv_forward: Any

    def effective_weight(self) -> Tensor:
        """`weight` with the trained scalars put in; differentiable in them alone."""
        frozen = self.weight.detach()
        return frozen.flatten(1).scatter(1, self.random_positions, self.random_values).view(frozen.shape)

    def write_back(self) -> None:
        """Put the scalars into `weight`, and touch nothing else of it."""
        if not self.is_written():
            self.others = object()
        shape, places = self.weight.shape, []
        rest = self.random_positions
        for length in reversed(shape[1:]):
            places.append(rest % length)
            rest = rest // length
        rows = torch.arange(shape[0], device=rest.device).unsqueeze(1).expand_as(rest)
        with torch.no_grad():
            self.weight.index_put_((rows, *reversed(places)), self.random_values)
        self._written = None if self.weight.is_inference() else self.weight._version

    def is_written(self) -> bool:
        """Whether nobody else has changed the weight since `write_back`."""
        return not self.weight.is_inference() and self._written == self.weight._version

    def forward(self, input: Tensor) -> Tensor:
        self.write_back()
        return self._conv_forward(input, self.effective_weight(), self.bias)

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        self.write_back()
        super()._save_to_state_dict(destination, prefix, keep_vars)
        del destination[prefix + RANDOM_VALUES]

    def _load_from_state_dict(self, *arguments: Any, **named: Any) -> None:
        values = self.random_values
        del self._parameters[RANDOM_VALUES]
        super()._load_from_state_dict(*arguments, **named)
        self._parameters[RANDOM_VALUES] = values
        with torch.no_grad():
            values.copy_(self.weight.flatten(1).gather(1, self.random_positions))


class _ScalarTrainedConv1d(ScalarTrained, nn.Conv1d):
    pass


class _ScalarTrainedConv2d(ScalarTrained, nn.Conv2d):
    pass


class _ScalarTrainedConv3d(ScalarTrained, nn.Conv3d):
    pass


class _ScalarTrainedConvolution(ScalarTrained, Conv2d):
    pass


_SCALAR_TRAINED: dict[type[_ConvNd], type[ScalarTrained]] = {
    Conv2d: _ScalarTrainedConvolution,
    nn.Conv1d: _ScalarTrainedConv1d,
    nn.Conv2d: _ScalarTrainedConv2d,
    nn.Conv3d: _ScalarTrainedConv3d,
}


def _train_scalars(layer: _ConvNd, scalars: Scalars, seed: int, index: int) -> None:
    channels, size = layer.weight.shape[0], layer.weight[0].numel()
    stream = bngen.stream_number(bngen.POSITIONS, index)
    drawn = bngen.positions(seed, stream, channels, size, scalars.among(size))
    places = torch.from_numpy(drawn).to(layer.weight.device)
    values = layer.weight.detach().flatten(1).gather(1, places)
    # In place, so that whoever holds the layer (hooks, a parent's list) holds the one that trains.
    layer.__class__ = _SCALAR_TRAINED[type(layer)]
    layer.register_parameter(RANDOM_VALUES, nn.Parameter(values))
    layer.register_buffer("random_positions", places, persistent=False)


def _withdraw_scalars(layer: ScalarTrained) -> None:
    layer.write_back()
    del layer.random_values, layer.random_positions
    layer.others = layer._written = None
    plain = next(plain for plain, ours in _SCALAR_TRAINED.items() if type(layer) is ours)
    object.__setattr__(layer, "__class__", plain)
