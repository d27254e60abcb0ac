"""A second reader, in JavaScript and written from docs/seedfile.md alone, finds in every file what this one finds."""

from __future__ import annotations

import hashlib
import json
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

import bnonly
import bnonly.seedfile.errors
import bnonly.seedfile.header
from bnonly.networks.registry import parse
from bnonly.randomness.start import Start
from bnonly.seedfile.header import Input
from bnonly.seedfile.plan import Plan
from tests.seedfile.forge import Forged
from tests.seedfile.networks import pictures, trained
from tests.seedfile.readers import NODE, READER, answers

pytestmark = pytest.mark.skipif(NODE is None, reason="the second reader runs in node")

BUFFERS = ("running_mean", "running_var", "num_batches_tracked")
ROUNDED = 1e-5  # the file's logits have six digits, and both sides compute in float64


@dataclass(frozen=True)
class Case:
    group: str
    how: dict[str, Any] = field(default_factory=dict)
    net: dict[str, Any] = field(default_factory=dict)
    input: Input = field(default_factory=lambda: pictures(8))


ODD = ["café", "\U0001f600 “quoted”", 'a "b" \\ c', "tab\tline\nbell\x07del\x7f", "", "\u2028", "\ufb33"]
CASES = {
    "folded": Case("bn"),
    "fp16": Case("bn", {"dtype": "fp16"}),
    "bf16": Case("bn", {"dtype": "bf16"}),
    "full": Case("bn", {"form": "full"}),
    "full fp16": Case("bn", {"form": "full", "dtype": "fp16"}),
    "full bf16 mask": Case("bn", {"form": "full", "dtype": "bf16", "codec": "mask", "clamp": 0.3}),
    "mask": Case("bn", {"codec": "mask", "clamp": 0.3}),
    "mask bf16": Case("bn", {"codec": "mask", "clamp": 0.3, "dtype": "bf16"}),
    "mask, no scale left": Case("bn", {"codec": "mask", "clamp": 1e3}),
    "rans": Case("bn", {"codec": "rans"}),
    "rans, clamped": Case("bn", {"codec": "rans", "clamp": 0.3, "step": 1024}),
    "rans, no scale left": Case("output", {"codec": "rans", "clamp": 1e3, "step": 1}),
    "gamma": Case("gamma"),
    "beta+norm": Case("beta+norm"),
    "none": Case("none"),
    "output": Case("output", {"dtype": "fp16"}),
    "bn+output": Case("bn+output", {"codec": "rans", "dtype": "bf16"}),
    "shortcut": Case("shortcut"),
    "random:2": Case("random:2"),
    "random:3+shortcut": Case("random:3+shortcut", {"dtype": "bf16"}),
    "random:40": Case("random:40+output+bn", {"codec": "mask", "form": "full"}),  # 27 and 16 in some channels
    "uniform": Case("bn", net={"start": Start("uniform", "fan_out")}),
    "sign": Case("random:1", net={"start": Start("sign", "fan_in", "ones", "ones")}),
    "fan_out": Case("bn", net={"start": Start("normal", "fan_out", "symmetric")}),
    "seed of 128 bits": Case("random:2", net={"seed": 0xFEDCBA98_76543210_89ABCDEF_01234567}),
    "greatest seed": Case("bn", net={"seed": 2**128 - 1}),
    "one class": Case("bn+output", net={"classes": 1}, input=pictures(5, ["all"])),
    "labels": Case("bn", net={"classes": len(ODD)}, input=pictures(9, ODD)),
    "oblong": Case("bn", input=Input((3, 7, 12), (0.0,) * 3, (1.0,) * 3, tuple("0123456789"))),
    "one pixel": Case("bn", input=pictures(1)),
    "wide": Case("bn", net={"name": "cifar_wrn8_2"}),
    "two blocks": Case("random:2+output", net={"name": "cifar_resnet14"}),
}
INFO = {
    "\U0001f600": 1,
    "\ufb33": [1e21, 1e-7, 5e-324, 0.1, 2**53 - 1, True, None, {}, []],
    "": {"b": 1.5, "a": -0.0},
}


@dataclass(frozen=True)
class Both:
    net: torch.nn.Module
    said: dict[str, Any]


def read_twice(cases: dict[str, Case], folder: Path) -> dict[str, Both]:
    files = {}
    for number, (name, case) in enumerate(cases.items()):
        files[name] = folder / f"{number}.safetensors"
        bnonly.save(trained(case.group, **case.net), files[name], input=case.input, info=INFO, **case.how)
    said = answers(files)
    return {name: Both(bnonly.load(path), said[name]) for name, path in files.items()}


@pytest.fixture(scope="module")
def both(tmp_path_factory) -> dict[str, Both]:
    return read_twice(CASES, tmp_path_factory.mktemp("files"))


def digest_of(net: torch.nn.Module, names: list[str]) -> str:
    state = net.state_dict()
    return hashlib.sha256(b"".join(state[name].numpy().astype("<f4").tobytes() for name in names)).hexdigest()


def check(found: Both) -> None:
    head = found.net.stored
    assert isinstance(head, bnonly.seedfile.header.Header)
    names = list(found.net.state_dict())
    wanted = {
        "header_sha256": head.digest(),
        "plan_sha256": head.plan_sha256,
        "frozen_sha256": head.frozen_sha256,
        "payload_sha256": head.payload_sha256,
        "parameters_sha256": digest_of(found.net, [name for name in names if not name.endswith(BUFFERS)]),
        "statistics_sha256": None,
    }
    if head.bn.form == "full":
        kinds = [[name for name in names if name.endswith(kind)] for kind in BUFFERS[:2]]
        wanted["statistics_sha256"] = digest_of(found.net, kinds[0] + kinds[1])
    said = dict(found.said)
    ratio = said.pop("ratio", None)
    assert said == wanted
    assert ratio is not None and ratio < ROUNDED < head.check.rtol


@pytest.mark.parametrize("name", CASES)
def test_both_readers_find_the_same(both, name):
    check(both[name])


def test_the_cases_are_what_they_say(both):
    """Else the ones above might all be one file."""
    assert len({found.said["header_sha256"] for found in both.values()}) == len(CASES)
    assert both["rans"].net.stored.codec == both["bn+output"].net.stored.codec == "rans-1"
    weights = {found.said["parameters_sha256"] for name, found in both.items() if name not in ("gamma", "none")}
    assert len(weights) > 24


PLANS = [
    *(parse(f"resnet{depth}") for depth in (18, 34, 50, 101, 152, 200)),
    *map(parse, ("cifar_resnet866", "cifar_wrn14_32", "cifar_wrn20_3")),
]


def test_plans_of_networks_too_large_to_draw(both, tmp_path):
    """With a wrong payload digest: a reader that says so has found the plan's digest right, and drawn nothing."""
    path = tmp_path / "small.safetensors"
    bnonly.save(trained("bn"), path, input=pictures(8))
    files = {}
    for network in PLANS:
        for groups in ((), ("output",), ("shortcut",), ("random:2",), ("random:3", "shortcut", "output")):
            forged = Forged.of(path)
            plan = Plan(tuple(network.entries(10)), groups)
            forged.header["arch"]["id"], forged.header["trained"] = network.name, list(groups)
            forged.header["plan_sha256"], forged.header["bn"]["channels"] = plan.digest(), sum(plan.sizes())
            forged.header["requires"] = list(plan.requires("raw"))
            forged.header["head"] = "stored" if "output" in groups else "seeded"
            forged.header["payload_sha256"] = "0" * 64
            name = f"{network.name} {groups}"
            files[name] = tmp_path / f"{len(files)}.safetensors"
            files[name].write_bytes(forged.resealed().data())
    assert {said["error"] for said in answers(files).values()} == {"PayloadDigestMismatch"}
    for path in files.values():
        with pytest.raises(bnonly.seedfile.errors.PayloadDigestMismatch):
            bnonly.load(path)


@pytest.mark.slow
def test_networks_for_imagenet(tmp_path):
    cases = {
        "basic": Case("random:2", net={"name": "resnet18", "classes": 10}, input=pictures(40)),
        "bottleneck": Case("bn+shortcut", {"codec": "mask"}, {"name": "resnet50", "classes": 10}, pictures(33)),
    }
    for found in read_twice(cases, tmp_path).values():
        said = {**found.said, "ratio": found.said["ratio"] / 10}  # these were written in float32
        check(Both(found.net, said))


def test_one_file_or_a_refusal_on_the_command_line(tmp_path):
    path = tmp_path / "net.safetensors"
    bnonly.save(trained("none"), path, input=pictures(4))
    assert NODE
    good = subprocess.run([NODE, READER, path], capture_output=True, text=True)
    path.write_bytes(path.read_bytes()[:-1])
    bad = subprocess.run([NODE, READER, path], capture_output=True, text=True)
    assert (good.returncode, bad.returncode, good.stderr, bad.stderr) == (0, 1, "", "")
    assert json.loads(good.stdout)["ratio"] < ROUNDED
    assert json.loads(bad.stdout) == {"error": "CorruptFile", "field": "buffer"}
