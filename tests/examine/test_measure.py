"""bnonly measure, as a user and as a grid meet it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from bnonly.data.digits import digits
from bnonly.examine import measure
from bnonly.training.build import trained_network
from tests.test_cli import without_torch


def by_hand(folder):
    """The first ReLU's outputs of a run's network on all test images, [N, C, P], and what its norm puts out."""
    net = trained_network(folder).eval()
    images, mean, std = digits().test, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    pixels = (images.pixels / 255 - np.reshape(mean, (3, 1, 1))) / np.reshape(std, (3, 1, 1))
    with torch.no_grad():
        output = net.bn1(net.conv1(torch.from_numpy(pixels).float())).flatten(2).double().numpy()
    return output, np.maximum(output, 0)


@pytest.mark.parametrize("group", ["bn", "all"])
def test_a_runs_files(group, run, said, passes):
    folder = run(group)
    lines = said("measure", folder.path).out.splitlines()
    assert lines[-1] == str(folder.path / "measures.json") and len(passes) == 1
    assert len({len(line) for line in lines[1:-1]}) == 1 and lines[-2].startswith("all")
    facts, arrays = folder.measures(), load_file(folder.path / "measures.safetensors")
    assert facts["score"]["top1"] == folder.result()["test"]["top1"] and facts["images"] == 360
    stored = load_file(folder.final)
    norms = list(facts["gamma"]["layers"])
    assert list(facts["dead"]["layers"]) == list(facts["effective"]["layers"]) == norms
    assert [facts[part]["all"]["channels"] for part in ("gamma", "beta", "dead")] == [336] * 3
    for name in norms:
        np.testing.assert_array_equal(arrays[f"gamma/{name}"], stored[f"trained/{name}.weight"])
        np.testing.assert_array_equal(arrays[f"beta/{name}"], stored[f"trained/{name}.bias"])
    everything = np.abs(np.concatenate([stored[f"trained/{name}.weight"] for name in norms]))
    assert facts["gamma"]["all"]["below"] == [
        np.mean(everything < np.float32(t)) for t in facts["gamma"]["thresholds"]
    ]
    assert facts["gamma"]["all"]["below"] == folder.metrics()[-1]["gamma"]["below"]
    output, relu = by_hand(folder)
    np.testing.assert_allclose(arrays["output_variance/bn1"], output.var((0, 2)), rtol=1e-4)
    np.testing.assert_allclose(arrays["output_min/bn1"], output.min((0, 2)), rtol=1e-4)
    np.testing.assert_allclose(arrays["relu_zero/bn1"], (relu == 0).mean((0, 2)), atol=1e-4)
    assert facts["relu"]["layers"]["bn1"]["zero"] == pytest.approx((relu == 0).mean(), abs=1e-4)
    assert 0.1 < facts["relu"]["all"]["zero"] < 0.9 and "layer2.0.downsample.1" not in facts["relu"]["layers"]


def test_a_second_time_it_needs_no_torch_and_nothing_is_done(run, passes):
    folder = run()
    facts = measure(folder, quiet=True)
    assert measure(folder, quiet=True) == facts and len(passes) == 1
    done = without_torch("measure", str(folder.path), "--json", cwd=folder.path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == facts
    other = measure(folder, thresholds=[0.3], shares=[0.5], quiet=True)
    assert len(passes) == 2 and other["gamma"]["thresholds"] == [0.3]
    assert list(other["relu"]["all"]["mostly_off"]) == ["0.5"]
    (folder.path / "measures.safetensors").unlink()
    measure(folder, thresholds=[0.3], shares=[0.5], quiet=True)
    assert len(passes) == 3 and (folder.path / "measures.safetensors").exists()


def test_dead_channels_are_those_without_gamma(run):
    from safetensors.numpy import save_file

    folder = run()
    stored = load_file(folder.final)
    stored["trained/layer1.0.bn1.weight"][3:8] = 0
    save_file(stored, folder.final)
    facts = measure(folder, quiet=True)
    assert (
        facts["dead"]["layers"]["layer1.0.bn1"] == {"channels": 16, "dead": 5} and facts["dead"]["all"]["dead"] == 5
    )
    assert facts["effective"]["layers"]["layer1.0.bn1"]["effective"] <= 11


def test_a_full_file_is_measured_as_its_run(run, files, tmp_path, said):
    own = measure(run(), quiet=True)
    out = tmp_path / "full.json"
    said("measure", files["full"], "-o", out)
    facts = json.loads(out.read_text())
    for part in ("gamma", "beta", "dead", "relu", "score", "data_sha256"):
        assert facts[part] == own[part], part
    assert load_file(out.with_suffix(".safetensors")) and json.loads(said("measure", files["full"], "--json").out)


def test_what_cannot_be_asked(run, files, said, tmp_path):
    assert "at least 0" in said("measure", run().path, "--thresholds", "-1", status=2).err
    assert "above 0 and at most 1" in said("measure", files["full"], "--shares", "2", status=2).err
    beside = files["full"].with_suffix(".json")
    assert "would overwrite" in said("measure", files["full"], "-o", beside, status=2).err
    assert not beside.exists()
