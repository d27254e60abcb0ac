"""What two runs must share before they are averaged, and what a network's name says, in words for a figure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pydantic import ValidationError

from analysis.folders import at, text
from bnonly.config import RunConfig
from bnonly.config.run import NOT_IN_ID, flattened
from bnonly.errors import BadInput
from bnonly.networks.registry import parse

PAPER_EPOCHS = 160
SOURCES = {"digits": "digits", "cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "imagenet": "ImageNet"}
START = ("network.weights", "network.scale", "network.gamma", "network.beta")
DECAY = ("training.weight_decay", "training.decay_group")

# Said by columns of their own, or equal within rounding.
_APART = {"version", "seed", "group", "network.name", "data.source", "training.epochs", "training.precision"}
_APART |= {"training.memory_format", "training.engine"} | set(NOT_IN_ID)


@dataclass(frozen=True)
class Setting:
    """Everything that decides numbers, but for network, group and seed. Runs of two settings are never averaged.

    deviations: field and value wherever it is not the paper's recipe for that source and number of epochs.
    """

    source: str
    epochs: int | None
    precision: str
    deviations: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Setting:
        """Of a configuration as plain values, which need not be whole."""
        source, epochs = text(at(config, "data", "source")), at(config, "training", "epochs")
        epochs = epochs if type(epochs) is int else None
        usual = _usual(source, epochs)
        odd = {
            name: value
            for name, value in flattened(config).items()
            if (name not in _APART or (name == "data.path" and source in ("folder", "imagenet")))
            and value is not None
            and value != usual.get(name)
        }
        deviations = tuple(sorted((name, _short(value)) for name, value in odd.items()))
        return cls(source, epochs, text(at(config, "training", "precision")), deviations)

    @property
    def papers_recipe(self) -> bool:
        """Whether only the number of epochs, and precision, may set it apart from the paper's CIFAR-10 runs."""
        return self.source == "cifar10" and not self.deviations

    def label(self, without: tuple[str, ...] = ()) -> str:
        """In words, one setting one label: `CIFAR-10, 10 epochs, weight_decay 0`; without some fields."""
        parts = [SOURCES.get(self.source, self.source or "unknown data")]
        parts += [f"{self.epochs} epoch{'' if self.epochs == 1 else 's'}" if self.epochs else "unknown epochs"]
        parts += [self.precision] if self.precision not in ("", "fp32") else []
        parts += [
            f"{name.partition('.')[2] or name} {value}" for name, value in self.deviations if name not in without
        ]
        return ", ".join(parts)


def schedule(config: Mapping[str, Any]) -> str:
    """Optimiser and learning rate in words: `sgd, lr 0.1, x0.1 after 80 and 120 of 160 epochs`."""
    training = at(config, "training")
    kind, lr, epochs = (at(training, name) for name in ("schedule", "lr", "epochs"))
    stones = at(training, "milestones")
    stones = [f"{stone:g}" for stone in stones if isinstance(stone, int | float)] if isinstance(stones, list) else []
    how = {"cosine": "half a cosine to 0 over", "constant": "constant for"}.get(text(kind), "for")
    if kind == "milestones" and stones:
        how = f"x{text(at(training, 'lr_factor'))} after {' and '.join(stones)} of"
    warmup = at(training, "warmup")
    warm = f", warm-up {warmup:g}" if isinstance(warmup, int | float) and warmup else ""
    optimizer = text(at(training, "optimizer")) or "unknown"
    return f"{optimizer}, lr {text(lr) or '?'}, {how} {text(epochs) or '?'} epochs{warm}"


@dataclass(frozen=True)
class Shape:
    """A network's family, depth and width factor (1: 16 channels in the first stage) as far as its name says,
    and its name in a figure.
    """

    family: str
    depth: int | None
    width: float | None
    label: str


@lru_cache(maxsize=1024)
def shape(network: str) -> Shape:
    """`cifar_resnet14` and `cifar_wrn14_1` are one network, and one family with all other widths."""
    try:
        arguments = parse(network).arguments
    except BadInput:
        return Shape(network, None, None, network)
    family = re.sub(r"\d.*", "", network).replace("cifar_wrn", "cifar_resnet")
    depth, width = arguments.get("depth"), arguments.get("factor", 1)
    if "patch" in arguments:
        return Shape(network.partition("_")[0], depth, None, network)
    if "width" in arguments:
        width = arguments["width"] / 16
    if depth is None or not family.endswith("resnet"):
        return Shape(family, depth, width, network)
    name = f"WRN-{depth}-{width}" if "factor" in arguments else f"ResNet-{depth}"
    narrow = f", width {arguments['width']}" if "width" in arguments else ""
    if norm := re.search("_(gn|ln)$", network):
        family, narrow = family + norm[0], f", {norm[1].upper()}"
    return Shape(family, depth, width, name + narrow)


@lru_cache(maxsize=1024)
def trained_parameters(network: str, group: str) -> int | None:
    """How many parameters a sum of bn, norm, output and shortcut, all or none trains; None for other groups and
    names.
    """
    parts = set(group.split("+"))
    if not parts <= {"bn", "norm", "output", "shortcut", "all", "none"}:
        return None
    try:
        architecture = parse(network)
    except BadInput:
        return None
    if architecture.family.library:  # whose networks are known by building them, with torch
        return None
    return sum(
        entry.size
        for entry in architecture.entries()
        if "all" in parts
        or entry.part in parts
        or (entry.role in ("gamma", "beta") and ("norm" in parts or ("bn" in parts and entry.statistics)))
    )


def canonical(group: str) -> str:
    """A sum in one order, so that bn+output and output+bn are one group."""
    return "+".join(sorted(part.strip() for part in group.split("+")))


@lru_cache(maxsize=256)
def _usual(source: str, epochs: int | None) -> dict[str, Any]:
    try:
        data = {"source": source, "path": "."}
        return RunConfig.model_validate({"data": data, "training": {"epochs": epochs or PAPER_EPOCHS}}).flat()
    except ValidationError:
        return {}


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)
