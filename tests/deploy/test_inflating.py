"""Self-inflating files of every kind of seed+BN file, and what becomes of them in onnxruntime."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper, numpy_helper

import bnonly
from bnonly.cli import main
from bnonly.deploy import inflating
from bnonly.deploy.compact import folded
from bnonly.deploy.export import export
from bnonly.deploy.inflating import Inflating
from bnonly.deploy.opening import opening
from bnonly.deploy.shorten import shorten
from bnonly.errors import BadInput, ExportFailed
from tests.deploy import nets

GOLDEN = Path(__file__).parents[1] / "golden" / "seedfile"
FILES = sorted(path.stem for path in GOLDEN.glob("*.safetensors") if not path.stem.startswith("affine"))
KINDS = {"bn-output", "full-fp32-raw", "gamma-random-30-shortcut", "sign-two-classes", "uniform-fan-out"}
KINDS |= {"folded-fp16-raw", "regrown-shortcut-rans-1"}


def loaded(name):
    return bnonly.load(GOLDEN / f"{name}.safetensors")


def initial(net):
    """A model that holds the weights of `folded(net)` and gives them back."""
    values = {name: value.numpy() for name, value in folded(net).state_dict().items()}
    held = [numpy_helper.from_array(value, name) for name, value in values.items()]
    outputs = [helper.make_tensor_value_info(f"{n}!", onnx.TensorProto.FLOAT, v.shape) for n, v in values.items()]
    nodes = [helper.make_node("Identity", [name], [f"{name}!"]) for name in values]
    graph = helper.make_graph(nodes, "held", [], outputs, held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), values


def session_of(source, level="ORT_ENABLE_ALL", saved=None):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    if saved:
        options.optimized_model_filepath = str(saved)
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n in KINDS else pytest.mark.slow) for n in FILES])
def test_weights_of_every_kind_of_file_come_back(name):
    net = loaded(name)
    model, values = initial(net)
    grows = Inflating(net)
    grows.rewrite(model)
    onnx.checker.check_model(model, full_check=True)
    for (key, wanted), got in zip(values.items(), session_of(model.SerializeToString()).run(None, {}), strict=True):
        # Weight and scale are float32 here and float64 in `folded`: two roundings and one.
        assert np.allclose(got, wanted, rtol=2.4e-7, atol=0), key
    trained = sum(p.numel() for p in net.parameters()) - grows.grown
    assert len(model.SerializeToString()) < len(grows.ordinary) / 2.4 and trained < grows.grown / 10
    exported = {each.name: each.data_type for each in model.graph.initializer}
    assert not {onnx.TensorProto.DOUBLE} & set(exported.values())


def test_weights_that_differ_are_found():
    net = loaded("regrown-shortcut-rans-1")
    grows = Inflating(net)
    model, _ = initial(net)
    before = grows._parameters["fc.weight"].copy()
    grows._parameters["fc.weight"] = np.nextafter(before, np.float32(9))
    with pytest.raises(ExportFailed, match=r"does not grow the weights of fc\.weight"):
        grows.rewrite(model)


def test_too_many_weights(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(inflating, "LARGEST", 77_359)
    out = tmp_path / "net.onnx"
    assert main(["deploy", str(GOLDEN / "folded-fp16-raw.safetensors"), "-o", str(out), "--self-inflating"]) == 2
    said = capsys.readouterr().err
    assert "cifar_resnet8 would have to grow 77,360 weights" in said and len(said.splitlines()) == 1
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(inflating, "LARGEST", 77_360)
    assert Inflating(loaded("folded-fp16-raw")).grown == 77_360
    with pytest.raises(BadInput, match="would have to grow"):  # some filters twice
        Inflating(loaded("regrown"))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["net.pt2"], "--self-inflating writes ONNX: net.pt2 is no .onnx"),
        (["net.onnx", "--compact"], "--self-inflating grows all channels: leave --compact out"),
    ],
)
def test_what_cannot_be_is_refused_first(arguments, sentence, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["deploy", "nowhere.safetensors", "--self-inflating", "-o", *arguments]) == 2
    assert sentence in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_other_layers_are_refused_as_ever(tmp_path, capsys):
    out = tmp_path / "net.onnx"
    assert main(["deploy", str(GOLDEN / "affine-ln.safetensors"), "-o", str(out), "--self-inflating"]) == 2
    assert "an operation that compaction does not know" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_deploy(tmp_path, capsys):
    out = tmp_path / "net.onnx"
    assert main(["deploy", str(GOLDEN / "bn-output.safetensors"), "-o", str(out), "--self-inflating"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[-2:] == [f"{out.stat().st_size:,} bytes", str(out)]
    rows = {line.split()[0]: line for line in printed if line.startswith(("self-", "ordinary"))}
    found = re.match(r"self-inflating +([\d,]+) +[\d.]+ s +[\d,]+ MB +[\d.]+ ms$", rows["self-inflating"])
    assert found and int(found[1].replace(",", "")) == out.stat().st_size < 13_000
    assert int(rows["ordinary"].split()[1].replace(",", "")) > 300_000
    assert any(line.startswith("76,720 weights grow from the seed; onnxruntime") for line in printed)
    net = loaded("bn-output")
    x = nets.images(16, 3)
    exact = nets.exact(net, x)
    answers = {}
    for level in ("ORT_DISABLE_ALL", "ORT_ENABLE_BASIC", "ORT_ENABLE_ALL"):
        saved = tmp_path / "optimised.onnx"
        answers[level] = session_of(str(out), level, saved).run(None, {"images": x.numpy()})[0]
        assert nets.distance(lambda _, level=level: torch.from_numpy(answers[level]), x, exact) < 1e-5
        left = {node.op_type for node in onnx.load(saved).graph.node}
        # Grown when the session starts, or, without any optimisation, at every call.
        assert ("BitwiseXor" in left) == (level == "ORT_DISABLE_ALL"), left
        if level != "ORT_DISABLE_ALL":
            assert not left & {"Split", "Reshape", "Mul", "Cast", "Slice"}
    known = {entry.key: entry.value for entry in onnx.load(out).metadata_props}
    assert known["name"] == "cifar_resnet8" and int(known["seed"], 16) == net.origin.seed


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_logits(name, tmp_path):
    net = loaded(name)
    paths = [tmp_path / "ordinary.onnx", tmp_path / "net.onnx"]
    export(folded(net), paths[0], (3, 16, 16), like=net)
    export(folded(net), paths[1], (3, 16, 16), like=net, rewrite=Inflating(net).rewrite)
    onnx.checker.check_model(onnx.load(paths[1]), full_check=True)
    x = nets.images(16, 4)
    ordinary, own = (session_of(str(path)).run(None, {"images": x.numpy()})[0] for path in paths)
    assert np.abs(ordinary - own).max() < 1e-5 * np.abs(ordinary).max()


def test_a_file_that_nobody_can_open(tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(b"no model")
    with pytest.raises(ExportFailed, match=r"net\.onnx was written, but a process of its own could not open it: "):
        opening(path)


def test_short_names_do_not_meet_those_that_stay():
    nodes = [
        helper.make_node("Add", ["a", "first"], ["the sum"], name="adds"),
        helper.make_node("Mul", ["the sum", "first"], ["b"], name="multiplies"),
    ]
    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [2]) for name in "ab"]
    held = [numpy_helper.from_array(np.array([2, 3], np.float32), "first")]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    assert shorten(model) == {"": "", "a": "a", "b": "b", "first": "c", "the sum": "d"}
    (got,) = session_of(model.SerializeToString()).run(None, {"a": np.array([1, 1], np.float32)})
    assert got.tolist() == [6, 12]
