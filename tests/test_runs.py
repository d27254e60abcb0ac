"""A run's folder: tolerant reading, one process at a time, nothing half-written."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from bnonly import files
from bnonly.config import RunConfig
from bnonly.errors import BadInput, RunRefused
from bnonly.runs import RunFolder


@pytest.fixture
def config(tmp_path):
    return RunConfig(out=tmp_path)


@pytest.fixture
def folder(config):
    folder = RunFolder.of(config)
    folder.path.mkdir(parents=True)
    return folder


def test_the_layout(config):
    folder = RunFolder.of(config)
    assert folder.path == config.out / "fit" / config.id
    assert folder.gamma(160).name == "epoch-160.safetensors"
    assert (folder.result(), folder.metrics(), folder.config()) == (None, [], None)


def test_a_torn_last_line_is_passed_over(folder):
    for epoch in range(3):
        folder.append_metrics({"epoch": epoch})
    path = folder.path / "metrics.jsonl"
    whole = path.read_bytes()
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        assert folder.metrics() == [{"epoch": epoch} for epoch in range(whole[:cut].count(b"}"))]
    path.write_bytes(whole + b'\xff\x00{"ep')
    assert len(folder.metrics()) == 3


def test_a_torn_result_is_no_result(folder):
    folder.finish({"test": 1})
    assert folder.result() == {"test": 1}
    path = folder.path / "result.json"
    path.write_bytes(path.read_bytes()[:-5])
    assert folder.result() is None


@pytest.mark.parametrize("text", ["seed: -1", "{", "seed: 2001-13-45", "seed: !!bool maybe", "[" * 3000, "&a [*a]"])
def test_a_damaged_configuration_is_none(folder, text):
    (folder.path / "config.yaml").write_text(text)
    assert folder.config() is None


def test_the_configuration_of_another_run_is_refused(config, folder):
    folder.start(config)
    folder.start(config)
    assert folder.config() == config
    path = folder.path / "config.yaml"
    path.write_text(path.read_text().replace("lr: 0.1", "lr: 0.2"))
    with pytest.raises(RunRefused, match=r"config.yaml is not the configuration"):
        folder.start(config)
    path.write_text("{")
    with pytest.raises(RunRefused):
        folder.start(config)


def test_another_process_is_refused_and_told_who_has_it(folder):
    script = (
        "import sys, time; from pathlib import Path; from bnonly.runs import RunFolder\n"
        "with RunFolder(Path(sys.argv[1])).locked(): print('have it', flush=True); time.sleep(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", script, str(folder.path)], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None and other.stdout.readline() == "have it\n"
        with pytest.raises(RunRefused, match=rf"in use by process {other.pid} on "), folder.locked():
            pass
    finally:
        other.kill()
        other.communicate()
    with folder.locked():  # a dead process holds nothing
        pass


def test_files_are_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "deep" / "file"
    files.write_atomically(path, b"old")

    def fails(*_):
        raise OSError(28, "No space left on device")

    for step in ("fsync", "replace"):
        monkeypatch.setattr(os, step, fails)
        with pytest.raises(BadInput, match=r"file cannot be written \(No space left"):
            files.write_atomically(path, b"new")
        monkeypatch.undo()
        assert path.read_bytes() == b"old"
        assert [entry.name for entry in path.parent.iterdir()] == ["file"]


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("in the way")
    config = RunConfig(out=tmp_path / "file")
    with pytest.raises(BadInput, match="choose another --out"), RunFolder.of(config).locked():
        pass


def test_records_survive_as_they_were(folder):
    records = [{"epoch": 0, "test": {"top1": 0.1234567890123}}, {"epoch": 1}]
    folder.rewrite_metrics(records)
    assert folder.metrics() == records
    assert json.loads((folder.path / "metrics.jsonl").read_text().splitlines()[0]) == records[0]
