"""One run: the whole configuration, and the digest that names its folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, field_validator, model_validator

from bnonly.config.base import Group, Hint, Section
from bnonly.config.compression import LAST, CompressionConfig
from bnonly.config.data import DataConfig
from bnonly.config.network import NetworkConfig
from bnonly.config.regrow import RegrowConfig
from bnonly.config.training import SPEEDS, TrainingConfig
from bnonly.groups import parse_group

# Fields that decide no number of the result.
NOT_IN_ID = ("experiment", "out", "tracking", "project")
NOT_IN_ID += ("data.path", "data.mirrors", "data.download", "data.workers")
NOT_IN_ID += ("training.device", "training.threads", "training.keep_gamma_every", "training.save_every")

Experiment = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$"),
    Hint(allowed="letters, digits and . _ -, a letter or digit first"),
]


class RunConfig(Section):
    """Everything that decides a run. `speed: paper | fast` is shorthand for precision and memory format."""

    version: Literal[1] = 1
    """Of this schema; it counts up when a default changes."""
    experiment: Experiment = "fit"
    """Folder within out, and the wandb group."""
    out: Path = Path("runs")
    """Where runs are kept: out/experiment/id."""
    seed: Annotated[int, Field(ge=0, lt=1 << 128)] = 0
    """Decides initial values, random positions, data order and augmentation."""
    group: Group = "bn"
    """What trains: bn, gamma, beta, output, shortcut, random:K, norm, all, none, or a sum as bn+output."""
    network: NetworkConfig = NetworkConfig()
    data: DataConfig = DataConfig()
    training: TrainingConfig = TrainingConfig()
    regrow: RegrowConfig = RegrowConfig()
    compression: CompressionConfig = CompressionConfig()
    tracking: Literal["off", "offline", "online", "auto"] = "auto"
    """wandb: auto is online where one is logged in, else offline; it never stops a run."""
    project: str = "bnonly"
    """wandb's project."""

    @field_validator("group")
    @classmethod
    def _is_group(cls, group: str) -> str:
        return "+".join(parse_group(group))

    @field_validator("tracking", mode="before")
    @classmethod
    def _yaml_off(cls, mode: Any) -> Any:
        return "off" if mode is False else mode  # YAML reads a bare off as false

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        # A part that is not named gets its dependent defaults all the same.
        return {"data": {}, "training": {}} | expand_speed(given)

    @model_validator(mode="after")
    def _consistent(self) -> RunConfig:
        if self.group != "all" and not self.compression.off:
            raise ValueError(f"compression is of weights that train: it needs group all, not {self.group}")
        most = (1 - LAST) * self.training.epochs
        if self.compression.prune and self.training.average > most + 1e-9:
            raise ValueError(
                f"weights are pruned during the first {LAST:.0%} of the epochs, and a mean with steps of these would "
                f"bring them back: with compression.prune training.average may be {most:g} at most"
            )
        return self

    def plain(self) -> dict[str, Any]:
        """Strings, numbers, lists and dictionaries only."""
        return self.model_dump(mode="json")

    def flat(self) -> dict[str, Any]:
        """The same by dotted name."""
        return flattened(self.plain())

    def deciding(self) -> dict[str, Any]:
        """The fields that decide numbers and differ from their defaults, by dotted name.

        Defaults are left out so that an option added later does not rename the runs made before it.
        """
        defaults, own = _defaults(), self.flat()
        return {
            name: value
            for name, value in own.items()
            if name not in NOT_IN_ID and (name not in defaults or value != defaults[name])
        }

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.plain(), sort_keys=False, allow_unicode=True)

    @property
    def id(self) -> str:
        """Ten hexadecimal digits that name this run among all others."""
        text = json.dumps({"version": self.version} | self.deciding(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:10]


@cache
def _defaults() -> dict[str, Any]:
    return RunConfig.model_construct().flat()


def expand_speed(values: dict[str, Any]) -> dict[str, Any]:
    """`speed` replaced by what it stands for; fields given beside it win. An unknown speed stays, to be refused."""
    speed, training = values.get("speed"), values.get("training", {})
    if not isinstance(speed, str) or speed not in SPEEDS or not isinstance(training, dict):
        return values
    rest = {key: value for key, value in values.items() if key != "speed"}
    return rest | {"training": SPEEDS[speed] | training}


def flattened(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested fields by dotted name; `layers.nested` the other way round."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict) and key != "optimizer_options":
            flat |= flattened(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
