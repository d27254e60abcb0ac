"""bnonly shift, as a user and as a grid meet it."""

from __future__ import annotations

import json

import pytest
import torch

from bnonly.config import RunConfig
from bnonly.examine import shift
from bnonly.examine.shifting import _loader, asked
from bnonly.examine.subject import of_run
from bnonly.training.fit import fit
from tests.data.pictures import image_folder
from tests.test_cli import without_torch
from tests.training import small


def test_a_runs_file(run, said, passes):
    folder = run()
    lines = said("shift", folder.path, "--most", "1", "--images", "50").out.splitlines()
    assert lines[-1] == str(folder.path / "shift.json") and len(passes) == 1
    assert lines[0] == "50 images, 9 shifts, circular, up to 1 pixels"
    facts = folder.shift()
    assert facts["images"] == 50 and facts["offsets"] == [-1, 0, 1] and len(facts["examples"]) == 8
    assert facts["asked"] == {"border": "circular", "most": 1, "pairs": 0, "seed": 0, "images": 50, "evenly": True}
    assert 0.1 <= facts["distinct"]["mean"] < facts["consistency"]["mean"] <= 1
    assert facts["by_shift"][1][1] == facts["unmoved"]
    assert shift(folder, most=1, images=50, quiet=True) == facts and len(passes) == 1
    done = without_torch("shift", str(folder.path), "--most", "1", "--images", "50", "--json", cwd=folder.path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == facts


def test_without_shifts_it_is_the_runs_own_score(run, passes):
    folder = run("all")
    facts = shift(folder, most=0, border="black", quiet=True)
    assert facts["unmoved"] == facts["top1"]["mean"] == pytest.approx(folder.result()["test"]["top1"])
    assert facts["consistency"] == {"mean": 1, "se": 0} and facts["distinct"]["mean"] is None
    other = shift(folder, most=0, border="circular", quiet=True)
    assert len(passes) == 2 and other["top1"] == facts["top1"]


def test_drawn_pairs(run, said, passes):
    folder = run()
    request = ("shift", folder.path, "--most", "2", "--pairs", "3", "--seed", "4", "--json")
    facts = json.loads(said(*request).out)
    assert facts["pairs"] == 3 and facts["images"] == 360 and facts["asked"]["seed"] == 4
    assert 0 < facts["consistency"]["se"] < 0.03
    again = json.loads(said(*request, "--force").out)
    assert len(passes) == 2 and again["consistency"] == facts["consistency"]


def test_a_full_file_is_as_its_run(run, files, tmp_path, said):
    own, out = shift(run(), most=1, images=40, quiet=True), tmp_path / "shift.json"
    said("shift", files["full"], "--most", "1", "--images", "40", "-o", out)
    facts = json.loads(out.read_text())
    for part in ("asked", "consistency", "top1", "right", "data_sha256"):
        assert facts[part] == own[part], part
    assert facts["run"] is None


def test_what_is_asked_unless_one_says():
    digits = RunConfig()
    usual = {"border": "circular", "most": 4, "pairs": 0, "seed": 0, "images": None}
    assert asked(digits) == usual == asked(digits, seed=3)
    imagenet = RunConfig.model_validate({"data": {"source": "imagenet", "path": "."}})
    assert asked(imagenet) == usual | {"border": "crop", "most": 31, "pairs": 5}
    assert asked(imagenet, border="black", pairs=0) == usual | {"border": "black"}


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--most", "9"], "need images of 10 x 10 or more"),
        (["--border", "crop"], "crop is for ImageNet's folders"),
        (["--pairs", "-1"], "pairs are at least 0"),
        (["--images", "0"], "images at least 1"),
        (["--most", "-2"], "shifts by -2 pixels are impossible"),
    ],
)
def test_what_cannot_be_asked(flags, says, run, said):
    folder = run()
    assert says in said("shift", folder.path, *flags, status=2).err
    assert not (folder.path / "shift.json").exists()


def test_a_folded_file_will_do(files, said):
    folded, full = (
        json.loads(said("shift", files[form], "--most", "1", "--images", "40", "--json").out)
        for form in ("folded", "full")
    )
    assert folded["consistency"] == full["consistency"] and folded["unmoved"] == full["unmoved"]


def test_crops_of_larger_images(tmp_path, said):
    """Of 40 pixels 32 are shown: 8 x 8 crops, of which the one from (4, 4) is evaluation's."""
    data = {"source": "imagenet", "path": image_folder(tmp_path / "data"), "size": 32, "resize": 40, "workers": 1}
    training = {"epochs": 1, "batch_size": 16}
    folder = fit(small.config(tmp_path / "runs", data=data, training=training, network={"name": "cifar_resnet8"}))
    facts = json.loads(said("shift", folder.path, "--json").out)
    assert facts["asked"] == {"border": "crop", "most": 7, "pairs": 0, "seed": 0, "images": None}
    assert facts["offsets"] == list(range(8)) and facts["unmoved"] is None and facts["images"] == 21
    assert facts["by_shift"][4][4] == pytest.approx(folder.result()["test"]["top1"])
    drawn = json.loads(said("shift", folder.path, "--pairs", "4", "--images", "10", "--json").out)
    assert drawn["images"] == 10 and drawn["pairs"] == 4


def test_some_images_are_evenly_spaced(run):
    """A data set may be sorted by class: of the first images all would be of one."""
    who = of_run(run())
    opened = who.open()
    whole = torch.cat([labels for _, labels in opened.batches.in_order()])
    some = _loader(who, opened, "circular", 90)
    assert some.images == 90 and len(whole) == 360
    assert torch.equal(torch.cat([labels for _, labels in some.in_order()]), whole[::4])
    assert _loader(who, opened, "circular", None) is opened.batches
    assert _loader(who, opened, "circular", 360) is opened.batches
