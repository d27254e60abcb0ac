"""Weights grown by ONNX's operators, against numpy's and the published vectors, to the bit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper
from onnx.reference import ReferenceEvaluator

from bnonly.deploy.generator import DOMAIN, OPSET
from bnonly.deploy.growth import Growth
from bnonly.randomness import bngen

VECTORS = json.loads((Path(__file__).parents[1] / "golden" / "bngen-1.json").read_text())
SEED = 0x0123456789ABCDEFFEDCBA9876543210
SHAPES = [(3, 3, 3, 7), (1,), (9,), (16, 5), (8,), (17, 3, 5, 5), (2, 1, 1, 1)]


def grown(seed, dist, parts, level="ORT_ENABLE_ALL", reference=False):
    """parts: (stream, shape, scale) of each weight."""
    growth = Growth(seed, dist)
    outputs = []
    for number, (stream, shape, scale) in enumerate(parts):
        growth.weight(f"w{number}", stream, shape, scale)
        outputs.append(helper.make_tensor_value_info(f"w{number}", onnx.TensorProto.FLOAT, shape))
    graph = helper.make_graph(growth.nodes(), "weights", [], outputs, growth.constants())
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, 1)]
    model = helper.make_model(graph, opset_imports=opsets, functions=growth.functions(), ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    if reference:
        return ReferenceEvaluator(model).run(None, {})
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {})


def equal(one, other):
    return one.shape == other.shape and one.dtype == other.dtype and one.tobytes() == other.tobytes()


@pytest.mark.parametrize("runtime", ["folded", "run", "reference"])
@pytest.mark.parametrize("dist", bngen.DISTRIBUTIONS)
def test_every_bit_is_numpys(dist, runtime):
    streams = [0, 5, 5, (1 << 32) | 7, (255 << 32) | 3000, 62, 61]
    scales = [bngen.he_scale(fan, dist) for fan in (1, 2, 27, 144, 576, 577, 4608)]
    parts = list(zip(streams, SHAPES, scales, strict=True))
    how = {"folded": {}, "run": {"level": "ORT_DISABLE_ALL"}, "reference": {"reference": True}}[runtime]
    for seed in (0, SEED, (1 << 128) - 1):
        for (stream, shape, scale), got in zip(parts, grown(seed, dist, parts, **how), strict=True):
            wanted = bngen.scaled(seed, stream, int(np.prod(shape)), dist, scale).reshape(shape)
            assert equal(got, wanted), (dist, hex(seed), stream, shape)


@pytest.mark.parametrize("name", ["he_fan_in_sha256", "uniform_he_fan_in", "sign_he_fan_in", "normal_he_fan_out"])
def test_published_vectors(name):
    dist = {"uniform": "uniform", "sign": "sign"}.get(name.partition("_")[0], "normal")
    known = VECTORS[name]
    for each in known if isinstance(known, list) else [known]:
        fan = each.get("fan_in") or each["fan_out"]
        part = (each["stream"], (each["n"],), bngen.he_scale(fan, dist))
        if each["n"] <= 2000:
            (got,) = grown(int(each["seed"], 16), dist, [part])
            assert bngen.sha256(got) == each["sha256"]


@pytest.mark.slow
def test_a_million_normals():
    (each,) = (known for known in VECTORS["he_fan_in_sha256"] if known["n"] > 10**6)
    part = (each["stream"], (each["n"],), bngen.he_scale(each["fan_in"], "normal"))
    assert bngen.sha256(grown(int(each["seed"], 16), "normal", [part])[0]) == each["sha256"]


def test_stored_numbers_are_as_they_were():
    values = {
        "half": np.array([[1.5, -0.0, 65504.0], [2.0**-24, 0.25, -3.0]], np.float32),
        "single": np.array([0.1, 1e30, 1e-40, np.pi], np.float32),
        "line": np.array([0.5], np.float32),
        "number": np.array(np.e, np.float32),
    }
    growth = Growth(0, "normal")
    for name, own in values.items():
        growth.store(f"{name} values", own)
    names = {each.name: each.data_type for each in growth.constants()}
    assert names["half"] == onnx.TensorProto.FLOAT16 and names["single"] == onnx.TensorProto.FLOAT
    outputs = [
        helper.make_tensor_value_info(f"{n} values", onnx.TensorProto.FLOAT, v.shape) for n, v in values.items()
    ]
    graph = helper.make_graph(growth.nodes(), "values", [], outputs, growth.constants())
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    assert not growth.functions()
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for own, got in zip(values.values(), session.run(None, {}), strict=True):
        assert equal(np.asarray(got), own)
