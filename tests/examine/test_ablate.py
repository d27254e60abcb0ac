"""bnonly ablate, as a user and as a grid meet it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from bnonly.data.digits import digits
from bnonly.examine import ablate, of_run
from bnonly.examine.ablating import rows
from bnonly.measure.points import Point
from bnonly.training.build import trained_network
from tests.test_cli import without_torch


def by_hand(folder, threshold):
    """Top-1 and loss of a run's network with small gammas set to 0 in the stored values, in one batch."""
    net = trained_network(folder).eval()
    stored, clamped = load_file(folder.final), 0
    for name, value in net.named_parameters():
        gamma = stored.get(f"trained/{name}")
        if gamma is not None and gamma.ndim == 1 and name.endswith("weight"):
            small = np.abs(gamma) < np.float32(threshold)
            value.data.copy_(torch.from_numpy(np.where(small, 0, gamma)))
            clamped += int(small.sum())
    images, mean, std = digits().test, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    pixels = (images.pixels / 255 - np.reshape(mean, (3, 1, 1))) / np.reshape(std, (3, 1, 1))
    with torch.no_grad():
        logits = net(torch.from_numpy(pixels).float()).double()
    labels = torch.from_numpy(images.labels)
    top1 = (logits.argmax(1) == labels).double().mean()
    return float(top1), float(torch.nn.functional.cross_entropy(logits, labels)), clamped


@pytest.mark.parametrize("group", ["bn", "all"])
def test_a_runs_table_and_file(group, run, said, passes):
    folder = run(group)
    lines = said("ablate", folder.path, "--thresholds", "0.1", "30%").out.splitlines()
    assert lines[-1] == str(folder.path / "ablation.json") and len(passes) == 3
    assert lines[0] == "336 channels, 360 images, fp32"
    end = lines[1].index("loss") + len("loss")
    assert {(line[end - 1].isdigit(), line[end]) for line in lines[3:5]} == {(True, " ")}
    facts = folder.ablation()
    assert facts["run"] == folder.config().id and facts["images"] == 360 and facts["version"] == 1
    recorded = folder.result()["test"]
    assert facts["intact"]["top1"] == pytest.approx(recorded["top1"], abs=1e-9)
    assert facts["intact"]["loss"] == pytest.approx(recorded["loss"], rel=1e-6)
    assert [point["amount"] for point in facts["points"]] == [0.1, 0.3]
    for point in facts["points"]:
        top1, loss, clamped = by_hand(folder, point["amount"])
        assert (point["clamped"], point["share"]) == (clamped, clamped / 336) and clamped
        assert point["top1"] == pytest.approx(top1, abs=1 / 360 + 1e-9)  # rounding may tip one image
        assert point["loss"] == pytest.approx(loss, rel=1e-5)


def test_shares_over_the_network_and_in_each_layer(run):
    folder = run()
    asked = {"smallest": [0.25], "largest": [0.25], "random": [0.25], "per_layer": True, "repeats": 2, "seed": 7}
    facts = ablate(folder, thresholds=[], **asked, quiet=True)
    assert [(p["scope"], p["way"], p["seed"]) for p in facts["points"]] == [
        (scope, *rest)
        for scope in ("network", "layer")
        for rest in (("smallest", None), ("largest", None), ("random", 7), ("random", 8))
    ]
    assert {p["clamped"] for p in facts["points"]} == {84}  # a quarter of 336, and of 16, 32 and 64
    assert len({p["loss"] for p in facts["points"]}) == 8
    assert facts == folder.ablation()


def test_it_goes_on_where_it_stopped(run, passes, monkeypatch, said):
    folder = run()
    monkeypatch.setattr("bnonly.examine.ablating._SECONDS_A_SAVE", 0.0)
    from bnonly.measure import ablation

    evaluate = ablation.evaluate

    def stopped(*args):
        if len(passes) == 3:
            raise KeyboardInterrupt
        return evaluate(*args)

    monkeypatch.setattr(ablation, "evaluate", stopped)
    said("ablate", folder.path, "--thresholds", "0.1", "0.2", "0.3", status=130)
    first = folder.ablation()
    assert [point["amount"] for point in first["points"]] == [0.1] and len(passes) == 3
    monkeypatch.setattr(ablation, "evaluate", evaluate)
    passes.clear()
    said("ablate", folder.path, "--thresholds", "0.3", "0.1", "0.2", "0")
    assert len(passes) == 2
    facts = folder.ablation()
    assert [point["amount"] for point in facts["points"]] == [0.0, 0.1, 0.2, 0.3]
    assert facts["points"][1] == first["points"][0] and facts["intact"] == first["intact"]
    passes.clear()
    said("ablate", folder.path, "--thresholds", "0.1", "--force")
    assert len(passes) == 2 and len(folder.ablation()["points"]) == 1


def test_what_is_there_already_needs_no_torch(run):
    folder = run()
    facts = ablate(folder, thresholds=[0.1, 0.2], quiet=True)
    written = (folder.path / "ablation.json").read_bytes()
    done = without_torch("ablate", str(folder.path), "--thresholds", "0.2", "--json", cwd=folder.path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == facts and (folder.path / "ablation.json").read_bytes() == written


@pytest.mark.parametrize(
    "change",
    [
        lambda facts: facts | {"version": 2},
        lambda facts: facts | {"net_sha256": "0" * 64},
        lambda facts: facts | {"data_sha256": "0" * 64},
        lambda facts: facts | {"precision": "bf16"},
        lambda facts: facts | {"points": "none"},
        lambda facts: facts | {"intact": {"top1": "high"}},
        lambda facts: facts | {"points": [{**point, "way": "elsewhere"} for point in facts["points"]]},
        lambda facts: facts | {"points": [{**point, "amount": -1.0} for point in facts["points"]]},
        lambda facts: facts | {"points": [{**point, "top1": None} for point in facts["points"]]},
        lambda facts: facts | {"points": [[], None, 3]},
        lambda facts: [facts],
        None,
    ],
)
def test_a_file_of_something_else_does_not_answer(change, run):
    folder = run()
    facts = ablate(folder, thresholds=[0.1], quiet=True)
    path = folder.path / "ablation.json"
    text = path.read_text()
    path.write_text(text[:-20] if change is None else json.dumps(change(facts)))
    again = ablate(folder, thresholds=[0.1], quiet=True)
    assert rows(again) == rows(facts) and again["intact"] == facts["intact"] and folder.ablation() == again


def test_a_full_file_answers_as_its_run(run, files, tmp_path, said):
    own = ablate(run(), thresholds=[0.1], random=[0.5], repeats=1, quiet=True)
    request = ["--thresholds", "0.1", "--random", "0.5", "--repeats", "1"]
    facts = json.loads(said("ablate", files["full"], *request, "--json").out)
    for a, b in zip([own["intact"], *own["points"]], [facts["intact"], *facts["points"]], strict=True):
        assert a["top1"] == b["top1"] and a["loss"] == pytest.approx(b["loss"], rel=1e-6)
    assert facts["run"] is None and facts["data_sha256"] == own["data_sha256"]
    out = tmp_path / "out.json"
    lines = said("ablate", files["full"], "--thresholds", "0.1", "-o", out).out.splitlines()
    assert lines[-1] == str(out) and json.loads(out.read_text())["points"] == facts["points"][:1]
    said("ablate", files["full"], *request, "-o", out)
    assert json.loads(out.read_text())["points"] == facts["points"]
    shown = said("ablate", files["full"], "--thresholds", "0.1").out.splitlines()
    assert shown == lines[:-1]


def test_the_table_shows_the_mean_of_the_draws(run, said):
    folder = run()
    lines = said("ablate", folder.path, "--thresholds", "--random", "0.5", "--repeats", "3").out.splitlines()
    points = folder.ablation()["points"]
    assert len(points) == 3 and len(lines) == 5
    assert lines[3].split()[:4] == ["random", "0.5", "168", "50.0%"] and lines[3].endswith("mean of 3 draws")
    assert lines[3].split()[4] == f"{np.mean([point['top1'] for point in points]):.2%}"


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--thresholds", "-0.1"], "at least 0"),
        (["--thresholds", "small"], "no number"),
        (["--smallest", "2"], "from 0 to 1, as 0.1 or 10%"),
        (["--thresholds"], "nothing to clamp"),
        (["-o", "x.json"], "keeps its ablation.json itself"),
        (["--data.path", "/nowhere"], "digits come with scikit-learn"),
        (["--data.source", "cifar10"], "knows its data"),
        (["--data.source", "cifar11"], "did you mean cifar10?"),
        (["--training.precision", "bf16"], "leave it out"),
        (["--training.device", "cuda:77"], "not on this machine"),
        (["--treshold", "1"], "did you mean --thresholds?"),
    ],
    ids=lambda part: " ".join(part) if isinstance(part, list) else None,
)
def test_what_a_run_cannot_be_asked(argv, says, run, said):
    folder = run()
    before = sorted(path.name for path in folder.path.iterdir())
    done = said("ablate", folder.path, *argv, status=2)
    assert says in done.err.splitlines()[-1] and not done.out
    assert sorted(path.name for path in folder.path.iterdir()) == before


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["-o", "x.txt"], "ends in .json"),
        (["--data.source", "folder"], "needs data.path"),
        (["--data.source", "folder", "--data.path", "/nowhere"], "does not exist"),
        (["--training.precision", "fp8"], "invalid choice"),
        (["--data.size", "huge"], "data.size = 'huge'"),
    ],
    ids=lambda part: " ".join(part) if isinstance(part, list) else None,
)
def test_what_a_file_cannot_be_asked(argv, says, files, said):
    assert says in said("ablate", files["full"], *argv, status=2).err.splitlines()[-1]


def test_what_is_no_trained_network_is_refused(files, run, said, tmp_path):
    for verb in ("ablate", "measure"):
        assert "is of folded form, so its gamma is gone" in said(verb, files["folded"], status=2).err
        assert "does not exist" in said(verb, tmp_path / "nothing", status=2).err
        assert "is no finished run: name a run's folder" in said(verb, tmp_path, status=2).err
    folder = run()
    (folder.path / "result.json").unlink()
    assert "is no finished run: finish it with" in said("ablate", folder.path, status=2).err
    (tmp_path / "text").write_text("no network")
    assert "text: " in said("ablate", tmp_path / "text", status=2).err


def test_a_file_on_images_it_was_not_trained_for_is_refused(files, said, tmp_path):
    from tests.data.pictures import write_cifar, write_folder

    write_cifar(tmp_path, "cifar10", 4, images=4)
    flags = ["--data.source", "cifar10", "--data.path", tmp_path]
    done = said("ablate", files["full"], *flags, status=2)
    assert "10 classes of 3x32x32 images" in done.err and "was trained for 10 of 3x8x8" in done.err
    write_folder(tmp_path / "own", size=(8, 8))
    flags = ["--data.source", "folder", "--data.path", tmp_path / "own"]
    assert "was trained for 10 of 3x8x8" in said("ablate", files["full"], *flags, status=2).err


def test_a_run_whose_images_have_changed_is_refused(tmp_path, said):
    from bnonly.training.fit import fit
    from tests.data.pictures import write_folder
    from tests.training import small

    write_folder(tmp_path / "a", size=(8, 8))
    data = {"source": "folder", "path": str(tmp_path / "a")}
    folder = fit(small.config(tmp_path / "runs", data=data, training={"epochs": 1, "batch_size": 6}))
    (tmp_path / "a").rename(tmp_path / "moved")
    assert "does not exist" in said("ablate", folder.path, status=2).err
    said("ablate", folder.path, "--data.path", tmp_path / "moved", "--thresholds", "0.1")
    assert of_run(folder).answers(folder.ablation())
    picture = next((tmp_path / "moved").rglob("test/*/*"))
    next(path for path in (tmp_path / "moved").rglob("train/*/*") if path.suffix == picture.suffix).replace(picture)
    done = said("ablate", folder.path, "--data.path", tmp_path / "moved", "--thresholds", "0.2", status=2)
    assert "these are not the images" in done.err


def test_points_are_kept_by_what_they_are(run):
    folder = run()
    ablate(folder, thresholds=[0.1], smallest=[0.1], random=[0.1], repeats=1, quiet=True)
    assert set(rows(folder.ablation())) == {
        Point("below", 0.1),
        Point("smallest", 0.1),
        Point("random", 0.1, "network", 0),
    }
