"""A trained network and the images it is looked at with: a finished run, or a full seed+BN file and a source.

Without torch until it is opened.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnonly.config import RunConfig
from bnonly.config.layers import nested, validated
from bnonly.config.run import NOT_IN_ID
from bnonly.errors import BadInput
from bnonly.files import now
from bnonly.progress import console
from bnonly.runs import RunFolder

if TYPE_CHECKING:
    import torch
    from torch import nn

    from bnonly.data.batches import Loader
    from bnonly.data.images import Dataset
    from bnonly.seedfile.contents import Contents


@dataclass(frozen=True)
class Opened:
    """The network on the device, the evaluation batches, and what the images are."""

    net: nn.Module
    batches: Loader
    device: torch.device
    data: Dataset
    data_sha256: str


@dataclass(frozen=True)
class Subject:
    """A network not yet grown. path: the run's folder, or the file. config: its data, device and precision count.

    run: its id, None for a file. net_sha256: of final.safetensors, or of the file. data_sha256: of a run's images;
    those of a file are known when it is opened. classes, shape: names, and [3, H, W], that its images must have;
    shape None where an old run does not say.
    """

    path: Path
    config: RunConfig
    run: str | None
    net_sha256: str
    data_sha256: str | None
    classes: tuple[str, ...]
    shape: tuple[int, ...] | None
    grow: Callable[[], nn.Module]

    @property
    def precision(self) -> str:
        return self.config.training.precision

    def identity(self) -> dict[str, Any]:
        """By which results of the same subject are known again."""
        facts = {"run": self.run, "precision": self.precision, "net_sha256": self.net_sha256}
        return facts | ({"data_sha256": self.data_sha256} if self.data_sha256 else {})

    def answers(self, facts: dict[str, Any] | None, version: int = 1) -> bool:
        """Whether results, as read from a file of that version, are of this subject."""
        if facts is None or facts.get("version") != version:
            return False
        return all(facts.get(name) == value for name, value in self.identity().items())

    def facts(self, opened: Opened, began: float, version: int = 1) -> dict[str, Any]:
        """What every file of results begins with. began: by time.monotonic(), when its making did."""
        from bnonly.training.environment import environment

        return {
            "version": version,
            "run": self.run,
            "precision": self.precision,
            "net_sha256": self.net_sha256,
            "data_sha256": opened.data_sha256,
            "environment": environment(opened.device),
            "made": now(),
            "seconds": round(time.monotonic() - began, 1),
        }

    def open(self) -> Opened:
        """Grow the network and read the images. Raises BadInput where these are not the ones it was trained for."""
        from bnonly.training.allocator import keep_freed_memory
        from bnonly.training.build import evaluation_batches, placed, run_data
        from bnonly.training.environment import pick_device

        device = pick_device(self.config.training.device)
        net, data = self.grow(), run_data(self.config)
        digest = data.digest()
        self._check(data, digest)
        keep_freed_memory()
        net = placed(net, self.config, device)
        return Opened(net, evaluation_batches(self.config, data, device), device, data, digest)

    def _check(self, data: Dataset, digest: str) -> None:
        from bnonly.training.build import image_shape

        if self.data_sha256 is not None:
            if digest != self.data_sha256:
                raise BadInput(
                    f"these are not the images that {self.path} was evaluated on: --data.path says where those are"
                )
            return
        source, found = self.config.data.source, tuple(image_shape(self.config, data))
        if found != self.shape or len(data.classes) != len(self.classes):
            wanted, got = ("x".join(map(str, shape)) for shape in (self.shape or (), found))
            raise BadInput(
                f"{source} has {len(data.classes)} classes of {got} images, and {self.path} was trained for "
                f"{len(self.classes)} of {wanted}: name its data with --data.source and --data.path"
            )
        if data.classes != self.classes:
            say = f"the classes of {source} have other names than those of {self.path}: are they in the same order?"
            console().print(say, markup=False)


def subject(path: Path, changes: Mapping[str, str] | None = None, *, gamma: bool = True) -> Subject:
    """`of_run` of a folder, `of_file` of a file. changes: fields of the configuration by dotted name, as texts."""
    if path.is_dir():
        return of_run(RunFolder(path), changes)
    if not path.exists():
        raise BadInput(f"{path} does not exist: name a run's folder, as `bnonly fit` prints it, or a seed+BN file")
    return of_file(path, changes, gamma=gamma)


def of_run(folder: RunFolder, changes: Mapping[str, str] | None = None) -> Subject:
    """A finished run, on its own evaluation images. changes: what decides no number, as data.path or training.device.

    Raises BadInput for a run that is not finished, and for changes of what decided it.
    """
    config, result = folder.finished()
    changes = changes or {}
    if odd := [name for name in changes if name not in NOT_IN_ID]:
        raise BadInput(f"--{odd[0]}: {folder.path} is a run and knows its data and precision, so leave it out")
    if "data.path" in changes and config.data.source == "digits":
        raise BadInput("--data.path: digits come with scikit-learn and lie in no folder, so leave it out")

    def grow() -> nn.Module:
        from bnonly.training.build import trained_network

        return trained_network(folder)

    return Subject(
        folder.path,
        validated({str(folder.path / "config.yaml"): config.plain(), "the flags": nested(changes)}),
        config.id,
        _sha256(folder.final),
        result["data_sha256"],
        tuple(result["classes"]),
        tuple(result["image_shape"]) if "image_shape" in result else None,
        grow,
    )


def of_file(path: Path, changes: Mapping[str, str] | None = None, *, gamma: bool = True) -> Subject:
    """A seed+BN file, on the images that `changes` name, digits unless they do.

    Mean, standard deviation and size are the file's. gamma: whether it is needed; then a file of folded form, whose
    gamma is gone, raises BadInput. Raises `seedfile.errors.SeedFileError` for one that is none or damaged.
    """
    from bnonly.seedfile.contents import open_file

    contents = open_file(path)
    head = contents.header
    if gamma and head.bn.form == "folded":
        raise BadInput(
            f"{path} is of folded form, so its gamma is gone: export the run with --form full, or name its folder"
        )
    given = nested(changes or {})
    own: dict[str, Any] = {"mean": list(head.input.mean), "std": list(head.input.std)}
    if given.get("data", {}).get("source") in ("folder", "imagenet") and len({*head.input.shape[1:]}) == 1:
        own["size"] = head.input.shape[1]
    return Subject(
        path,
        validated({str(path): {"data": own, "tracking": "off"}, "the flags": given}),
        None,
        contents.sha256,
        None,
        head.input.labels,
        head.input.shape,
        lambda: _grown(contents, path),
    )


def _grown(contents: Contents, path: Path) -> nn.Module:
    from bnonly.seedfile.errors import SeedFileError
    from bnonly.seedfile.loading import network_of

    try:
        return network_of(contents)
    except SeedFileError as error:
        error.file = str(path)
        raise


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BadInput(
            f"{path} cannot be read ({error.strerror}): train the run again, or copy its file back"
        ) from error
