"""A run's folder as a neighbour reads it: the files that are there, each taken only if it holds what it should, and
how its numbers were made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, FiniteFloat, ValidationError

from analysis.folders import STAGE, content, number, text, yaml_mapping
from analysis.settings import Setting, shape
from bnonly.config import RunConfig
from bnonly.files import read_object
from bnonly.networks.antialias import TAPS
from bnonly.runs import RunFolder

_MADE = ("device", "device_name", "threads", "torch", "lightning", "numpy", "git")
FILTERS = ("none", *TAPS)


class File(BaseModel):
    """What a neighbour needs of a JSON file; more may be in it."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Made(File):
    """A file that says how it was made."""

    environment: dict[str, Any]
    train_seconds: FiniteFloat | None = None


class Score(File):
    top1: FiniteFloat


class Result(Made):
    """Of result.json."""

    test: Score
    train: Score
    trained_parameters: int


Model = TypeVar("Model", bound=File)


@dataclass(frozen=True)
class Kept:
    """The folder of a run, or of a trial that trains nothing, and the files in it that count.

    command: of the grid that made it, for its rows. odd: takes a sentence on each file that holds something else.
    """

    config: RunConfig
    path: Path
    files: frozenset[str]
    command: str = ""
    odd: list[str] = field(default_factory=list, compare=False)

    def load(self, name: str, model: type[Model]) -> Model | None:
        """A file's facts; None where there is none, or where it holds something else."""
        if name not in self.files:
            return None
        try:
            return model.model_validate(read_object(self.path / name))
        except ValidationError:
            self.odd.append(f"{self.path / name} does not hold what it should, and is left out")
            return None

    def bytes_of(self, name: str) -> bytes:
        """A file's content; nothing where there is none."""
        return content(self.path / name) if name in self.files else b""

    def result(self) -> Result | None:
        return self.load("result.json", Result)

    @property
    def given_up(self) -> bool:
        """Whether it failed, and nobody is to try it again."""
        return "failure.json" in self.files and RunFolder(self.path).given_up

    def setting(self, *without: str) -> str:
        """In words, all that decides numbers but network, group and seed, and but some fields."""
        return Setting.of(self.config.plain()).label(without)

    def provenance(self, made: Made | None) -> dict[str, Any]:
        """How a row was made, as columns; of a run without a result what is known."""
        return provenance(self.config, made.model_dump() if made else None, self.command)

    def own_provenance(self, made: Made) -> dict[str, Any]:
        """`provenance` of a task that trains by itself, in float32 by plain modules, whatever presets say of runs."""
        return self.provenance(made) | {"dtype": "fp32", "engine": "modules"}

    @property
    def order(self) -> tuple[Any, ...]:
        """By what it is, so that the order of folders does not show."""
        config, form = self.config, shape(self.config.network.name)
        what = (form.family, form.depth or 0, form.width or 0, config.group)
        how = (FILTERS.index(config.network.antialias), config.data.crop, config.training.lr)
        return (config.data.source, config.training.epochs, *what, *how, config.seed, config.id)


def kept(path: Path, files: frozenset[str], odd: list[str]) -> Kept | None:
    """A folder as it was found; None where no file in it holds a run's configuration."""
    for plain in _configurations(path, files):
        try:
            return Kept(RunConfig.model_validate(plain), path, files, odd=odd)
        except ValidationError:
            continue
    return None


def _configurations(path: Path, files: frozenset[str]) -> Any:
    for name in ("result.json", *sorted(filter(STAGE.fullmatch, files))):
        if name in files:
            yield (read_object(path / name) or {}).get("config")
    if "config.yaml" in files:
        yield yaml_mapping(path / "config.yaml")


def provenance(config: RunConfig, result: Mapping[str, Any] | None, command: str) -> dict[str, Any]:
    """How a run's row was made, as columns; of a run without a result what is known."""
    made = result or {"environment": {}, "train_seconds": None}
    return {
        "dtype": config.training.precision,
        "engine": config.training.engine,
        **{name: _plain(made["environment"].get(name)) for name in _MADE},
        "train_seconds": made["train_seconds"],
        "run": config.id,
        "command": command,
    }


def _plain(value: Any) -> Any:
    return value if value is None or value == number(value) else text(value)


def fields(values: File, names: tuple[str, ...]) -> Mapping[str, Any]:
    """Some of a file's facts, as columns."""
    return {name: getattr(values, name) for name in names}
