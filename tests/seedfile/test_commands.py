"""export, inspect, verify and inflate, as a user meets them."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file

import bnonly
from bnonly.cli import main
from bnonly.runs import RunFolder
from bnonly.seedfile.contents import open_file
from bnonly.training.build import trained_network
from bnonly.training.fit import fit
from tests.seedfile.made import GOLDEN, golden, rewritten, setting
from tests.test_cli import without_torch
from tests.training import small


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A finished run of each group that can be stored, and one of all."""
    out = tmp_path_factory.mktemp("runs")
    groups = ("bn", "gamma", "beta", "norm", "output", "bn+output", "shortcut", "random:2", "all")
    return {group: fit(small.config(out, group=group, training={"epochs": 1})) for group in groups}


def said(capsys, *argv, status=0):
    assert main([str(part) for part in argv]) == status
    return capsys.readouterr()


@pytest.mark.parametrize("group", ["bn", "gamma", "beta", "norm", "output", "bn+output", "shortcut", "random:2"])
def test_every_group_is_exported_measured_and_verified(group, runs, tmp_path, capsys):
    file = tmp_path / "net.safetensors"
    facts = json.loads(said(capsys, "export", runs[group].path, "-o", file, "--json").out)
    recorded = runs[group].result()["test"]
    assert facts["before"]["top1"] == pytest.approx(recorded["top1"], abs=1e-6)
    assert facts["after"]["top1"] == pytest.approx(facts["before"]["top1"], abs=0.006)
    assert facts["after"]["loss"] == pytest.approx(facts["before"]["loss"], rel=1e-4)
    assert facts["bytes"] == file.stat().st_size and facts["times_smaller"] == pytest.approx(
        4 * 78_042 / facts["bytes"], abs=0.01
    )
    checked = json.loads(said(capsys, "verify", file, "--json").out)
    assert checked["verified"] and checked["probe"] < 1e-4 and checked["frozen_sha256"] == facts["frozen_sha256"]
    assert open_file(file).header.trained == tuple(group.split("+"))


def test_what_export_prints(runs, tmp_path, capsys):
    file = tmp_path / "new" / "net.safetensors"
    lines = said(capsys, "export", runs["bn"].path, "-o", file, "--clamp", "0.2").out.splitlines()
    assert "times smaller than 78,042 weights in float32 (312,168 bytes)" in lines[0]
    assert "channels have scale 0" in lines[1] and "% before, " in lines[2]
    assert lines[-1] == str(file)
    head = open_file(file).header
    assert head.info == {
        "clamp": 0.2,
        "data": "digits",
        "epochs": 1,
        "group": "bn",
        "run": runs["bn"].config().id,
        "top1": round(runs["bn"].result()["test"]["top1"], 6),
    }
    assert head.input.shape == (3, 8, 8) and head.input.labels == tuple("0123456789")


def test_calibration_moves_running_statistics_alone(runs, tmp_path, capsys):
    files = [tmp_path / name for name in ("plain", "right")]
    for file, more in zip(files, ([], ["--calibrate", "100"]), strict=True):
        said(capsys, "export", runs["bn"].path, "-o", file, "--form", "full", "--dtype", "fp16", *more)
    plain, right = (bnonly.load(file).state_dict() for file in files)
    moved = {name for name in plain if not torch.equal(plain[name], right[name])}
    assert moved and all(".running_" in f".{name}" for name in moved)
    assert bnonly.load(files[1]).stored.info["calibrate"] == 100
    for count, says in (
        ("-1", "-1 is impossible"),
        ("1000000", "more than the 1,4"),
        ("x", "'x' is no whole number"),
    ):
        done = said(capsys, "export", runs["bn"].path, "-o", tmp_path / "n", "--calibrate", count, status=2)
        assert says in done.err and not (tmp_path / "n").exists()


def test_exporting_twice_gives_the_same_bytes(runs, tmp_path):
    for name in ("one", "two"):
        assert main(["export", str(runs["bn"].path), "-o", str(tmp_path / name), "--no-measure"]) == 0
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_fallback_is_said(tmp_path, runs, capsys, monkeypatch):
    monkeypatch.setattr("bnonly.seedfile.codecs.REACH", 1)
    done = said(capsys, "export", runs["bn"].path, "-o", tmp_path / "x", "--codec", "rans", "--no-measure")
    assert "codec mask instead of rans" in done.err and "codec mask" in done.out
    how = ("--codec", "rans", "--outliers", "widen")
    done = said(capsys, "export", runs["bn"].path, "-o", tmp_path / "x", *how, "--no-measure")
    assert "instead" not in done.err and "codec rans-1" in done.out


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--codec", "rans", "--form", "full"], "form folded"),
        (["--step", "3"], "power of two"),
        (["--clamp", "-1"], "from 0 up"),
        (["--data", "/nowhere"], "data"),
    ],
)
def test_impossible_exports_write_nothing(argv, says, runs, tmp_path, capsys):
    file = tmp_path / "net.safetensors"
    file.write_bytes(b"the old one")
    done = said(capsys, "export", runs["bn"].path, "-o", file, *argv, status=2)
    assert says in done.err and done.err.count("\n") <= 2 and file.read_bytes() == b"the old one"


def test_all_is_refused(runs, tmp_path, capsys):
    done = said(capsys, "export", runs["all"].path, "-o", tmp_path / "x", status=2)
    assert "every weight was trained" in done.err and not (tmp_path / "x").exists()


def test_runs_that_are_none(runs, tmp_path, capsys):
    assert "is no finished run" in said(capsys, "export", tmp_path, "-o", tmp_path / "x", status=2).err
    copy = shutil.copytree(runs["bn"].path, tmp_path / "copy")
    (copy / "result.json").unlink()
    assert "finish it with" in said(capsys, "export", copy, "-o", tmp_path / "x", status=2).err


def test_other_images_than_the_runs_are_refused(runs, tmp_path, capsys):
    copy = shutil.copytree(runs["bn"].path, tmp_path / "copy")
    result = json.loads((copy / "result.json").read_text())
    (copy / "result.json").write_text(json.dumps(result | {"data_sha256": "0" * 64}))
    assert "--data" in said(capsys, "export", copy, "-o", tmp_path / "x", status=2).err
    assert main(["export", str(copy), "-o", str(tmp_path / "x"), "--no-measure"]) == 0


def test_a_run_of_an_earlier_version_has_no_image_shape(runs, tmp_path):
    copy = shutil.copytree(runs["bn"].path, tmp_path / "copy")
    result = json.loads((copy / "result.json").read_text())
    del result["image_shape"]
    (copy / "result.json").write_text(json.dumps(result))
    assert main(["export", str(copy), "-o", str(tmp_path / "x"), "--no-measure"]) == 0
    assert open_file(tmp_path / "x").header.input.shape == (3, 8, 8)


def test_inspect_needs_no_torch(tmp_path):
    shown = without_torch("inspect", str(GOLDEN / "bn-output.safetensors"), cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert "cifar_resnet8, 10 classes, 78,042 weights" in shown.stdout and "640 of head.weight" in shown.stdout
    told = without_torch("inspect", str(GOLDEN / "bn-output.safetensors"), "--json", cwd=tmp_path)
    facts = json.loads(told.stdout)
    assert facts["header"]["trained"] == ["bn", "output"] and facts["header"]["input"]["labels"][0].startswith("chat")


@pytest.mark.parametrize("form", ["folded-fp32-raw", "full-fp32-raw", "random-2"])
def test_inflate_gives_the_plain_state_dict(form, tmp_path, capsys):
    state = tmp_path / "state.safetensors"
    assert said(capsys, "inflate", GOLDEN / f"{form}.safetensors", "-o", state).out.splitlines()[-1] == str(state)
    tensors = load_file(state)
    plain = bnonly.network("cifar_resnet8", 0)
    assert {name: value.shape for name, value in tensors.items()} == {
        name: tuple(value.shape) for name, value in plain.state_dict().items()
    }
    own = bnonly.load(GOLDEN / f"{form}.safetensors").state_dict()
    assert all(np.array_equal(value, own[name].numpy()) for name, value in tensors.items())
    with safe_open(state, "np") as file:
        assert json.loads(file.metadata()["bnonly"])["arch"] == "cifar_resnet8"


def test_inflate_does_not_overwrite_its_source(tmp_path, capsys):
    file = tmp_path / "net.safetensors"
    file.write_bytes(golden("folded-fp32-raw"))
    assert "is the file itself" in said(capsys, "inflate", file, "-o", file, status=2).err
    assert file.read_bytes() == golden("folded-fp32-raw")


@pytest.mark.parametrize("verb", ["inspect", "verify", "inflate"])
def test_files_that_are_none(verb, tmp_path, capsys):
    more = ["-o", tmp_path / "state"] if verb == "inflate" else []
    assert "cannot be read" in said(capsys, verb, tmp_path / "nothing", *more, status=2).err
    (tmp_path / "text").write_text("not a network")
    done = said(capsys, verb, tmp_path / "text", *more, status=2)
    assert done.err.startswith(f"bnonly: {tmp_path / 'text'}: header: ") and done.err.count("\n") == 1


def test_verify_draws_the_weights(tmp_path, capsys):
    (tmp_path / "x").write_bytes(rewritten(setting("init.seed", f"{8:032x}")))
    done = said(capsys, "verify", tmp_path / "x", status=2)
    assert f"{tmp_path / 'x'}: frozen_sha256: expected" in done.err
    assert main(["inspect", str(tmp_path / "x")]) == 0  # which says what stands there, and draws nothing


def test_the_function_is_that_of_the_run(runs, tmp_path):
    import torch

    assert main(["export", str(runs["bn+output"].path), "-o", str(tmp_path / "x"), "--no-measure"]) == 0
    net = trained_network(RunFolder(runs["bn+output"].path)).eval()
    images = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.allclose(bnonly.load(tmp_path / "x")(images), net(images), rtol=1e-4, atol=1e-4)
