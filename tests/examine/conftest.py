"""Runs of one epoch, trained once; each test gets copies, since the verbs write into them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bnonly.cli import main
from bnonly.runs import RunFolder
from bnonly.training.fit import fit
from tests.training import small


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> dict[str, RunFolder]:
    out = tmp_path_factory.mktemp("trained")
    return {group: fit(small.config(out, group=group, training={"epochs": 1})) for group in ("bn", "all")}


@pytest.fixture
def run(trained, tmp_path):
    """run(group): a copy of the run of that group."""

    def copied(group: str = "bn") -> RunFolder:
        folder = RunFolder(tmp_path / group)
        shutil.copytree(trained[group].path, folder.path)
        return folder

    return copied


@pytest.fixture(scope="session")
def files(trained, tmp_path_factory) -> dict[str, Path]:
    """The bn run as a seed+BN file of each form."""
    folder = tmp_path_factory.mktemp("files")
    found = {form: folder / f"{form}.safetensors" for form in ("full", "folded")}
    for form, path in found.items():
        assert main(["export", str(trained["bn"].path), "-o", str(path), "--form", form, "--no-measure"]) == 0
    return found


@pytest.fixture
def said(capsys):
    """said(verb, ..., status=0): what a call of bnonly prints."""

    def call(*argv, status: int = 0):
        assert main([str(part) for part in argv]) == status, capsys.readouterr().err
        return capsys.readouterr()

    return call


@pytest.fixture
def passes(monkeypatch) -> list[int]:
    """How often the test images were gone through: an entry a pass."""
    from bnonly.data.batches import Batches

    seen, in_order = [], Batches.in_order

    def counted(self):
        seen.append(self.images)
        return in_order(self)

    monkeypatch.setattr(Batches, "in_order", counted)
    return seen
