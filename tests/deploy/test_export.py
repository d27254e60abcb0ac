"""Exported files, run by the runtimes they are for, against the plain network in float64."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from bnonly.deploy import export as exporting
from bnonly.deploy.compact import compact, folded
from bnonly.deploy.export import check_path, export
from bnonly.errors import BadInput, ExportFailed
from bnonly.networks.residual import Bottleneck
from tests.deploy import nets

FACTS = {"name": "cifar_resnet8", "seed": "0" * 31 + "7", "labels": ["ape", "bee"], "mean": [0.5, 0.25, 0.125]}


def by_onnxruntime(path, x):
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"images": x.numpy()})[0])


@pytest.mark.parametrize("kind", ["small", "constant", "folded, with a pool"])
def test_onnx(kind, tmp_path, capfd):
    if kind == "folded, with a pool":
        net, size, rewritten = nets.small_imagenet(Bottleneck, 1, 0.3), 33, folded
    else:
        net, size, rewritten = nets.network("cifar_resnet8", 1, 1.0 if kind == "constant" else 0.4), 32, compact
    path = tmp_path / "net.onnx"
    count = export(rewritten(net), path, (3, size, size), FACTS)
    assert [file.name for file in tmp_path.iterdir()] == ["net.onnx"] and path.stat().st_size == count
    assert capfd.readouterr() == ("", "")
    for images in (1, 5):
        x = nets.images(size, images)
        assert nets.distance(lambda x: by_onnxruntime(path, x), x, nets.exact(net, x)) < 1e-5
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert [entry.version for entry in model.opset_import if entry.domain == ""] >= [18]
    assert not {node.op_type for node in model.graph.node} & {"BatchNormalization", "ScatterND", "ScatterElements"}
    known = {entry.key: entry.value for entry in model.metadata_props}
    assert known["name"] == "cifar_resnet8" and json.loads(known["labels"]) == ["ape", "bee"]
    assert "normalised" in known["input"]
    shapes = [[d.dim_param or d.dim_value for d in part.type.tensor_type.shape.dim] for part in model.graph.input]
    assert shapes == [["batch", 3, size, size]] and [part.name for part in model.graph.output] == ["logits"]
    assert str(Path(torch.__file__).parents[1]).encode() not in path.read_bytes()


def test_pt2(tmp_path, capfd):
    net = nets.network("cifar_resnet8", 1, 0.4)
    path = tmp_path / "net.pt2"
    export(compact(net), path, (3, 16, 16), FACTS)
    assert capfd.readouterr() == ("", "")
    extra = {"bnonly.json": ""}
    program = torch.export.load(path, extra_files=extra)
    for images in (1, 5):
        x = nets.images(16, images)
        assert nets.distance(program.module(), x, nets.exact(net, x)) < 1e-5
    assert json.loads(extra["bnonly.json"]).items() >= FACTS.items()


def test_a_file_that_disagrees_is_not_put_in_place(tmp_path, monkeypatch):
    path = tmp_path / "net.pt2"
    path.write_text("what was here")
    net = compact(nets.network("cifar_resnet8", 1, 0.9))

    def read_wrong(data):
        run = exporting._read_pt2(data)
        return lambda images: run(images) * np.float32(1.001)

    monkeypatch.setitem(exporting._WRITERS, ".pt2", (exporting._write_pt2, read_wrong))
    with pytest.raises(ExportFailed, match="its logits differ from the network's by"):
        export(net, path, (3, 8, 8))
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("net.pt2", "what was here")]


def test_what_an_exporter_raises_is_one_sentence(tmp_path, monkeypatch):
    def fails(*arguments):
        print("chatter")
        raise RuntimeError("no such operator\nand a page of text")

    monkeypatch.setitem(exporting._WRITERS, ".pt2", (fails, exporting._read_pt2))
    with pytest.raises(ExportFailed, match=r"gave up \(RuntimeError: no such operator\)$"):
        export(torch.nn.Identity(), tmp_path / "net.pt2", (3, 8, 8))
    assert not list(tmp_path.iterdir())


def test_paths_are_checked_first(monkeypatch):
    with pytest.raises(BadInput, match=r"neither .onnx nor .pt2"):
        check_path(Path("net.pt"))
    monkeypatch.setattr(exporting, "find_spec", lambda name: None if name == "onnxruntime" else sys)
    with pytest.raises(BadInput, match=r"needs onnxruntime: pip install 'bnonly\[onnx\]'"):
        check_path(Path("net.onnx"))
    check_path(Path("net.pt2"))


def test_too_many_weights_for_one_onnx_file(monkeypatch, tmp_path):
    monkeypatch.setattr(exporting, "_LARGEST_ONNX", 1000)
    with pytest.raises(BadInput, match=r"write a \.pt2"):
        export(compact(nets.network("cifar_resnet8")), tmp_path / "net.onnx", (3, 8, 8))


@pytest.mark.slow
def test_equal_networks_give_equal_onnx_bytes():
    net = compact(nets.network("cifar_resnet8", 1, 0.95))
    files = [exporting._write_onnx(net, torch.zeros(2, 3, 8, 8), FACTS) for _ in range(2)]
    assert files[0] == files[1] and io.BytesIO(files[0]).read(1)
