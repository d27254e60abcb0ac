"""Perceptual losses in small: the data is what it says, scores are those of other libraries, stages are answered."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest
import torch
import torchvision
from sklearn.metrics import jaccard_score
from torch import nn
from torchmetrics.functional.image import peak_signal_noise_ratio

from analysis.neighbours.perceptual import SLIDES, Loss, label
from experiments import scenes as made
from experiments.drawing import neighbour_files
from experiments.engines import Job
from experiments.grid import Stage, Trial, trials
from experiments.perceptual import EXPERIMENT, random
from experiments.perceptual_nets import Dense, SRResNet, begun, enlarged, reduced
from experiments.perceptual_runs import SCORES, _batches, _pretrained, answered, found, weights_file
from experiments.status import is_done
from experiments.work import perform

ASKED = {"steps": 2, "size": 16, "images": 8, "batch": 4, "amount": 1.0}


def stage(task, loss, **changes):
    return Stage("experiments.perceptual_runs:train", {"task": task, "loss": loss, **ASKED, **changes})


def performed(tmp_path, *stages):
    (trial,) = trials("perceptual", "smoke", tmp_path)
    trial = Trial(trial.config, stages)
    perform(Job(trial.id, trial.config.plain(), trial.plain_stages))
    return trial


def test_scenes_are_consistent():
    found = made.scenes(20, 32, 3)
    again, other = made.scenes(20, 32, 3), made.scenes(20, 32, 4)
    assert (found.images == again.images).all() and not (found.images == other.images).all()
    assert found.images.min() >= 0 and found.images.max() <= 1 and set(np.unique(found.labels)) == set(range(5))
    assert found.depth.max() == made.FAR and found.depth.min() >= made.NEAR * 0.99
    for labels, depth in zip(found.labels, found.depth, strict=True):
        things = [set(labels[(depth == far) & (labels > 0)]) for far in np.unique(depth[labels > 0])]
        assert 1 <= len(things) <= 6 and all(
            len(kinds) == 1 for kinds in things
        )  # a depth is a thing's, and of a kind
        ground = depth[-1][labels[-1] == 0]
        assert (ground < 2 * made.NEAR).all()  # the nearest row


def test_no_pixel_is_in_both_parts(monkeypatch):
    columns = np.broadcast_to((np.arange(640) // 3)[None, :, None], (427, 640, 3)).astype(np.uint8)
    monkeypatch.setattr(made, "photographs", lambda: {"columns": columns})
    train, test = made.patches(48)
    assert (
        train.max() < test.min() and train.shape[1:] == test.shape[1:] == (3, 48, 48) and len(train) > 3 * len(test)
    )


def test_photographs_are_in_colour_and_differ_from_each_other():
    shapes = {name: pixels.shape for name, pixels in made.photographs().items()}
    assert len(shapes) == 6 and len(set(shapes.values())) == 4
    assert all(
        shape[2] == 3 and pixels.dtype == np.uint8
        for shape, pixels in zip(shapes.values(), made.photographs().values(), strict=True)
    )


def test_labels_are_scored_as_scikit_learn_does():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 5, 8, 8, generator=generator)
    wanted = torch.randint(0, 4, (3, 8, 8), generator=generator)  # class 4 does not occur
    scores = SCORES["segmentation"](logits, wanted, torch.empty(0))
    said = logits.argmax(1).flatten()
    assert scores["miou"] == pytest.approx(jaccard_score(wanted.flatten(), said, labels=range(4), average="macro"))
    assert scores["right"] == pytest.approx((wanted.flatten() == said).float().mean().item())


def test_pictures_and_depth_are_scored_by_their_definitions():
    draw = np.random.default_rng(0)
    found, wanted = (torch.from_numpy(draw.random((2, 3, 16, 16), np.float32)) for _ in range(2))
    scores = SCORES["super-resolution"](found, wanted, reduced(wanted))
    assert scores["psnr"] == pytest.approx(float(peak_signal_noise_ratio(found, wanted, data_range=1.0)), rel=1e-5)
    assert scores["bicubic_psnr"] > scores["psnr"] and -1 <= scores["ssim"] <= 1
    one, two = draw.random((2, 4, 1, 8, 8)) + 0.5
    scores = SCORES["depth"](torch.from_numpy(one), torch.from_numpy(two), torch.empty(0))
    assert scores["relative"] == pytest.approx(np.mean(np.abs(one - two) / two))
    assert scores["rmse"] == pytest.approx(made.FAR * np.sqrt(np.mean((one - two) ** 2)))


def test_networks_predict_maps_of_the_right_size_from_the_seeds_values():
    with torch.device("meta"):
        pairs = [(SRResNet(4, 1), (2, 3, 48, 44)), (Dense(5, 4), (2, 5, 12, 11))]
    for net, shape in pairs:
        net = begun(net, 3)
        first = next(net.parameters()).clone()
        assert net(torch.rand(2, 3, 12, 11)).shape == shape
        assert torch.equal(first, next(begun(net, 3).parameters())) and not (first == 0).any()
    with torch.device("meta"):
        net = SRResNet()
    small = torch.rand(2, 3, 12, 12)
    assert (begun(net, 3)(small) - enlarged(small)).abs().max() < 0.02  # training begins at bicubic enlargement
    assert enlarged(reduced(torch.full((1, 3, 16, 16), 0.5))).allclose(torch.tensor(0.5))


def test_each_epoch_shows_whole_batches_of_different_images():
    seen = [part.tolist() for part in _batches(8, 3, 5, seed=1)]
    assert all(len(part) == 3 for part in seen) and len({*seen[0], *seen[1]}) == 6 and seen[:2] != seen[2:4]


def test_stages_are_answered_and_a_seed_decides_the_scores(tmp_path):
    stages = [stage("segmentation", loss) for loss in ({}, random(4))] + [stage("depth", random(4, (1, 1), kernel=1))]
    one, two = (performed(tmp_path / name, *stages) for name in "ab")
    assert is_done(one) and not is_done(Trial(one.config, (stage("segmentation", random(5)),)))
    scores = [[found(t.config, t.folder, s.options)["scores"] for s in stages] for t in (one, two)]
    assert scores[0] == scores[1] and scores[0][0] != scores[0][1]
    assert set(scores[0][0]) == {"miou", "right"} and set(scores[0][2]) == {"relative", "rmse"}


def test_a_loss_that_overflows_is_a_result(tmp_path):
    wild = stage("segmentation", random(64, weights="normal:900000"))
    trial = performed(tmp_path, wild)
    facts = found(trial.config, trial.folder, wild.options)
    assert facts["scores"] is None and facts["diverged"] == 0 and is_done(trial)


def test_pretrained_weights_are_waited_for(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    asked = stage("depth", {"pretrained": "vgg19"})
    trial = performed(tmp_path, asked)
    assert answered(trial.config, trial.folder, asked.options)
    assert "not in torch's cache" in found(trial.config, trial.folder, asked.options)["unavailable"]
    weights_file("vgg19").parent.mkdir(parents=True)
    weights_file("vgg19").touch()
    assert not answered(trial.config, trial.folder, asked.options)


def test_pretrained_weights_are_read(tmp_path, monkeypatch):
    class Small(nn.Module):
        def __init__(self):
            super().__init__()
            self.features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2))

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torchvision.models, "vgg19", Small)
    weights_file("vgg19").parent.mkdir(parents=True)
    state = {"features.0.weight": torch.ones(4, 3, 3, 3), "features.0.bias": torch.zeros(4)}
    torch.save(state, weights_file("vgg19"))
    net, layers = _pretrained("vgg19")
    assert layers == ("1",) and torch.equal(net[0].weight, state["features.0.weight"])


def test_tables(tmp_path):
    stages = [stage("segmentation", loss) for loss in ({}, random(4), random(4, weights="xavier"))]
    trial = performed(tmp_path, *stages, stage("segmentation", random(4), amount=10.0))
    written = neighbour_files("perceptual", [trial], "the command")
    assert set(written) == {"perceptual.csv", "grids.csv", "perceptual.png", "perceptual.svg"}
    rows = list(csv.DictReader(io.StringIO(written["perceptual.csv"].decode())))
    assert [row["loss"] for row in rows] == ["pixel alone", "blocks 22444", "amount 10", "weights xavier"]
    assert {row["command"] for row in rows} == {"the command"} and all(row["torch"] for row in rows)
    table = {(row["grid"], row["loss"]): row for row in csv.DictReader(io.StringIO(written["grids.csv"].decode()))}
    assert float(table["weights", "weights xavier"]["slides_miou_percent"]) == 69.8
    assert float(table["weights", "weights he"]["slides_miou_percent"]) == 71.25
    assert float(table["weights", "weights he"]["miou"]) == float(rows[1]["miou"])
    gain = float(rows[1]["miou"]) - float(rows[0]["miou"])
    assert float(table["weights", "weights he"]["gain"]) == pytest.approx(gain) and gain
    assert float(table["none", "pixel alone"]["gain"]) == 0
    assert neighbour_files("perceptual", [Trial(trial.config, ())], "") == {}


def test_every_published_number_has_its_run():
    stages = [each.options for each in EXPERIMENT.stages_of("cpu")]
    assert SLIDES.keys() - {label(Loss(**each["loss"]), each["amount"]) for each in stages} <= {"kernel 3"}
    assert len(stages) == len({str(each) for each in stages})
