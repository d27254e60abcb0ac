"""Building the kernels, and doing without."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from bnonly.fused import native
from bnonly.runs import RunFolder
from tests.training import small

needs_compiler = pytest.mark.skipif(native._compiler() is None, reason="no compiler here")


@pytest.fixture
def fresh():
    native.kernels.cache_clear()
    yield
    native.kernels.cache_clear()


def test_without_a_compiler_torch_does_the_work(fresh, monkeypatch, capsys):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert native.kernels() is None and native.kernels() is None
    assert capsys.readouterr().err.count("no C++ compiler was found") == 1


@needs_compiler
def test_a_compiler_that_fails_is_named(fresh, monkeypatch, capsys, tmp_path):
    broken = tmp_path / "c++"
    broken.write_text('#!/bin/sh\n[ "$1" = --version ] && echo broken 1.0 && exit\necho out of paper >&2\nexit 3\n')
    broken.chmod(0o755)
    monkeypatch.setenv("CXX", str(broken))
    assert native.kernels() is None
    said = capsys.readouterr().err
    assert str(broken) in said and "out of paper" in said
    assert not list((Path(os.environ["BNONLY_CACHE"]) / "kernels").glob("*"))


@needs_compiler
def test_they_are_built_once_and_again_where_the_file_is_torn(fresh, capsys):
    compiler = native._compiler()
    assert compiler is not None
    path = native.library(compiler)
    path.parent.mkdir()
    path.write_bytes(b"torn")
    assert native.kernels() is not None
    assert "building native kernels" in capsys.readouterr().err
    native.kernels.cache_clear()
    assert native.kernels() is not None
    assert not capsys.readouterr().err
    assert list(path.parent.iterdir()) == [path]


def test_a_run_by_the_fused_engine(tmp_path):
    from bnonly.examine.measuring import measure
    from bnonly.training.fit import fit

    training = {"epochs": 1, "memory_format": "channels_last"}
    stock = fit(small.config(tmp_path, training=training)).result()
    folder = fit(small.config(tmp_path, training={**training, "engine": "fused"}))
    result = RunFolder(folder.path).result()
    assert result is not None and stock is not None and result["id"] != stock["id"]
    assert result["environment"]["kernels"] in ("native", "torch")
    assert result["frozen_sha256"] == stock["frozen_sha256"]
    assert result["train"]["loss"] == pytest.approx(stock["train"]["loss"], abs=1e-3)
    assert measure(folder)["relu"]["layers"]
