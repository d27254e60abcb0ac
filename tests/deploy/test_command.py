"""`bnonly deploy`, its file read by a stand-in."""

from __future__ import annotations

import json
import re
import sys
from types import SimpleNamespace

import pytest
import torch

from bnonly.cli import main
from bnonly.deploy.compact import compact
from bnonly.deploy.cost import cost
from tests.deploy import nets


@pytest.fixture
def net(monkeypatch):
    """A network that bnonly.seedfile.load gives for any path, with what a file says of it."""
    made = nets.network("cifar_resnet8", 7, 0.5)
    known = SimpleNamespace(shape=(3, 16, 16), labels=("ape", "bee"), mean=(0.5, 0.5, 0.5), std=None)
    arch = SimpleNamespace(title="cifar_resnet8")
    object.__setattr__(made, "stored", SimpleNamespace(input=known, arch=arch))
    monkeypatch.setitem(sys.modules, "bnonly.seedfile", SimpleNamespace(load=lambda path: made))
    return made


def test_deploy(net, tmp_path, capsys):
    out = tmp_path / "net.pt2"
    assert main(["deploy", "net.safetensors", "-o", str(out), "--compact"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[-1] == str(out) and printed[-2] == f"{out.stat().st_size:,} bytes"
    assert printed[0] == "cifar_resnet8, seed 7, for images of 3 x 16 x 16"
    before, after = cost(net, (3, 16, 16)), cost(compact(net), (3, 16, 16))
    for name in ("multiply_adds", "parameters", "channels"):
        (row,) = [line.split() for line in printed if line.startswith(name.replace("_", "-"))]
        assert row[1:3] == [f"{getattr(before, name):,}", f"{getattr(after, name):,}"]
    assert re.search(r"latency +[\d.]+ ms +[\d.]+ ms  [\d.]+ times as fast", "\n".join(printed))
    extra = {"bnonly.json": ""}
    x = nets.images(16)
    assert nets.distance(torch.export.load(out, extra_files=extra).module(), x, nets.exact(net, x)) < 1e-5
    facts = json.loads(extra["bnonly.json"])
    assert set(facts) == {"input", "name", "seed", "labels", "mean"}  # std is not known
    assert (facts["seed"], facts["labels"]) == ("0" * 31 + "7", ["ape", "bee"])


def test_another_ending_is_refused_before_anything_is_read(net, tmp_path, capsys):
    assert main(["deploy", "nowhere.safetensors", "-o", str(tmp_path / "net.pb")]) == 2
    assert "net.pb is neither .onnx nor .pt2" in capsys.readouterr().err
    assert main(["deploy", "nowhere.safetensors"]) == 2
    assert "-o/--out" in capsys.readouterr().err
