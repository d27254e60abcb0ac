"""What training does with a configuration, against torch's own parts and plain loops."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch.nn.functional import cross_entropy

from bnonly.config import RunConfig
from bnonly.config.training import TrainingConfig
from bnonly.data.batches import Preparation
from bnonly.errors import BadInput, TrainingFailed
from bnonly.measure.accuracy import Score, autocast, evaluate
from bnonly.runs import RunFolder
from bnonly.training.build import engaged, run_batches, run_data, run_network, trained_network
from bnonly.training.fit import fit
from bnonly.training.module import GroupTraining
from bnonly.training.optimizers import optimizer
from bnonly.training.schedule import rate
from bnonly.training.terminal import Terminal
from tests.training import small


def test_a_run_equals_a_plain_loop(tmp_path):
    """The paper's recipe as one would write it by hand, without Lightning."""
    run = small.config(tmp_path, training={"epochs": 4, "batch_size": 256})
    folder = fit(run)
    net, data = run_network(run, 10), run_data(run)
    train, test = run_batches(run, data, torch.device("cpu"))
    trained = [p for p in net.parameters() if p.requires_grad]
    sgd = torch.optim.SGD(trained, lr=0.1, momentum=0.9, weight_decay=1e-4)
    fall = torch.optim.lr_scheduler.MultiStepLR(sgd, [2, 3], 0.1)
    for epoch in range(4):
        net.train()
        losses, hits = 0.0, 0
        for images, labels in train.epoch(epoch):
            logits = net(images)
            loss = cross_entropy(logits, labels)
            sgd.zero_grad()
            loss.backward()
            sgd.step()
            losses += loss.item() * len(labels)
            hits += int((logits.argmax(1) == labels).sum())
        fall.step()
        record = folder.metrics()[epoch + 1]
        assert record["train"]["loss"] == pytest.approx(losses / len(data.train), rel=1e-12)
        assert record["train"]["top1"] == hits / len(data.train)
        assert record["test"]["top1"] == evaluate(net, test.in_order()).top1
    ours = trained_network(folder).state_dict()
    assert all(torch.equal(value, ours[name]) for name, value in net.state_dict().items())


def test_the_folder_holds_what_it_should(tmp_path):
    run = small.config(tmp_path, training={"epochs": 3, "batch_size": 256, "keep_gamma_every": 2})
    folder = fit(run)
    assert folder.config() == run
    assert sorted(path.name for path in (folder.path / "gamma").iterdir()) == [
        f"epoch-{epoch:03d}.safetensors" for epoch in (0, 2, 3)
    ]
    final, gamma = load_file(folder.final), load_file(folder.gamma(3))
    assert np.array_equal(final["trained/layer1.0.bn1.weight"], gamma["layer1.0.bn1.weight"])
    assert {name.partition("/")[0] for name in final} == {"trained", "buffer"}
    assert sum(value.size for name, value in final.items() if name.startswith("trained/")) == 672
    result = folder.result()
    assert result is not None
    assert (result["trained_parameters"], result["parameters"]) == (672, 78_042)
    assert result["config"] == run.plain() and result["evaluated"] == "test"
    assert result["storable"] and len(result["sessions"]) == 1
    for fact in ("torch", "lightning", "numpy", "device", "threads", "python", "git", "bnonly"):
        assert fact in result["environment"]
    records = folder.metrics()
    assert records[0]["train"] is None and records[0]["epoch"] == 0
    assert records[0]["gamma"]["thresholds"] == [0.001, 0.01, 0.05, 0.1]
    assert len(records[-1]["gamma"]["layers"]) == 9
    assert all(record["test"]["top5"] >= record["test"]["top1"] for record in records)


def test_frozen_weights_do_not_move_and_are_not_stored(tmp_path):
    run = small.config(tmp_path, group="output")
    folder = fit(run)
    start, end = run_network(run, 10), trained_network(folder)
    moved = {name for name, value in end.named_parameters() if not torch.equal(value, start.get_parameter(name))}
    assert moved == {"fc.weight", "fc.bias"}
    assert not any("conv" in name for name in load_file(folder.final))


def test_a_holdout_is_evaluated_instead_of_the_test_set(tmp_path):
    result = fit(small.config(tmp_path, data={"holdout": 300})).result()
    assert result is not None and result["evaluated"] == "holdout"
    top1 = result["test"]["top1"]
    assert top1 * 300 == pytest.approx(round(top1 * 300)) and top1 * 360 != pytest.approx(round(top1 * 360))


@pytest.mark.parametrize(
    ("values", "torchs"),
    [
        ({}, lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [80 * 10, 120 * 10], 0.1)),
        (
            {"schedule": "cosine", "epochs": 20},
            lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 20 * 10),
        ),
        (
            {"schedule": "constant", "warmup": 5},
            lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda step: min(1, step / 50)),
        ),
    ],
    ids=["milestones", "cosine", "warmup"],
)
def test_rates_are_those_of_torchs_schedulers(values, torchs):
    training = TrainingConfig.model_validate(values)
    sgd = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = torchs(sgd)
    for step in range(training.epochs * 10):
        assert rate(training, step / 10) == pytest.approx(sgd.param_groups[0]["lr"], rel=1e-9, abs=1e-12)
        sgd.step()
        scheduler.step()


def test_warmup_and_cosine_meet():
    training = TrainingConfig(schedule="cosine", warmup=5, epochs=15)
    assert rate(training, 0) == 0
    assert rate(training, 5) == pytest.approx(0.1)
    assert rate(training, 10) == pytest.approx(0.05)
    assert rate(training, 14.999) == pytest.approx(0, abs=1e-6)


def test_weight_decay_is_for_its_group_alone():
    run = RunConfig.model_validate({"group": "bn+output", "training": {"decay_group": "output", "weight_decay": 0.5}})
    net = run_network(run, 10)
    groups = optimizer(net, run.training).param_groups
    assert [group["weight_decay"] for group in groups] == [0.5, 0.0]
    assert [sum(p.numel() for p in group["params"]) for group in groups] == [650, 1120]
    scalars = RunConfig.model_validate({"group": "random:2"})
    (group,) = optimizer(run_network(scalars, 10), scalars.training).param_groups
    assert (group["weight_decay"], sum(p.numel() for p in group["params"])) == (1e-4, 1120)


@pytest.mark.parametrize("name", ["adam", "AdamW", "rmsprop", "adagrad", "nadam", "sgd"])
def test_any_optimiser_of_torch(tmp_path, name):
    options = {"betas": [0.8, 0.9]} if "adam" in name.lower() else {}
    training = {"optimizer": name, "lr": 0.01, "epochs": 1, "optimizer_options": options}
    assert fit(small.config(tmp_path, training=training)).result() is not None


@pytest.mark.parametrize(
    ("training", "says"),
    [
        ({"optimizer": "adamm"}, "did you mean adam"),
        ({"optimizer": "lbfgs"}, "is unknown"),
        ({"optimizer_options": {"nesterovv": True}}, "do not suit sgd"),
        ({"optimizer": "adam", "optimizer_options": {"betas": [2.0, 0.9]}}, "do not suit adam"),
        ({"device": "cuda:9"}, "not on this machine"),
        ({"optimizer": "rprop"}, "has no weight decay"),
    ],
)
def test_what_cannot_be_trained_leaves_nothing_behind(tmp_path, training, says):
    with pytest.raises(BadInput, match=says):
        fit(small.config(tmp_path, training=training))
    assert not list(tmp_path.iterdir())


def test_an_impossible_group_leaves_nothing_behind(tmp_path):
    with pytest.raises(BadInput, match="random:5000 is impossible for cifar_resnet8"):
        fit(small.config(tmp_path, group="random:5000"))
    assert not list(tmp_path.iterdir())


def test_a_loss_that_is_no_number_keeps_the_last_good_state(tmp_path):
    run = small.config(tmp_path, training={"lr": 1e30})
    with pytest.raises(TrainingFailed, match=r"in epoch 1, step 2 of 6; the last good state is kept") as caught:
        fit(run)
    assert "\n" not in str(caught.value)
    folder = RunFolder.of(run)
    assert [record["epoch"] for record in folder.metrics()] == [0]
    assert folder.result() is None
    assert all(math.isfinite(record["test"]["loss"]) for record in folder.metrics())


def test_a_last_step_of_one_image_of_one_pixel_is_explained(tmp_path):
    run = small.config(tmp_path, network={"name": "resnet18"}, training={"batch_size": 359, "epochs": 1, "lr": 1e-9})
    with pytest.raises(TrainingFailed, match="single image for a device in the last step"):
        fit(run)


def test_a_last_step_that_breaks_the_parameters_is_not_saved(tmp_path, monkeypatch):
    run = small.config(tmp_path)
    step = GroupTraining.step

    def breaks(self, images, labels):
        step(self, images, labels)
        if (self.position_epoch, self.position_step) == (1, 6):
            self.net.bn1.weight.data[3] = float("nan")

    monkeypatch.setattr(GroupTraining, "step", breaks)
    with pytest.raises(TrainingFailed, match="epoch 2, its last step; the last good state"):
        fit(run)
    monkeypatch.undo()
    assert [record["epoch"] for record in fit(run).metrics()] == [0, 1, 2, 3]


def test_an_evaluation_that_overflows_does_not_stop_a_sound_run(tmp_path, monkeypatch, capsys):
    """As very deep networks can at their start, when running statistics are still 0 and 1."""
    monkeypatch.setattr("bnonly.training.module.evaluate", lambda *_: Score(math.inf, 0.1, 0.5, 360))
    run = small.config(tmp_path, training={"epochs": 1})
    with Terminal(run) as terminal:
        record = fit(run, (terminal,)).metrics()[1]
    assert record["test"] == {"loss": None, "top1": 0.1, "top5": 0.5}
    assert "test loss overflow top-1 10.00%" in capsys.readouterr().err


def test_label_smoothing_changes_the_training_loss_alone(tmp_path):
    plain = fit(small.config(tmp_path, training={"lr": 1e-30})).metrics()
    smooth = fit(small.config(tmp_path, training={"lr": 1e-30, "label_smoothing": 0.1})).metrics()
    assert smooth[1]["train"]["loss"] != plain[1]["train"]["loss"]
    assert smooth[1]["test"]["loss"] == pytest.approx(plain[1]["test"]["loss"])


def test_formats_agree_within_rounding(tmp_path):
    records = [
        fit(small.config(tmp_path, training={"epochs": 1, "memory_format": layout})).metrics()[1]
        for layout in ("contiguous", "channels_last")
    ]
    assert records[0]["train"]["loss"] == pytest.approx(records[1]["train"]["loss"], rel=1e-3)


def test_the_gradients_of_norms_are_whole_in_bfloat16(tmp_path):
    names, found = {"group": "norm", "network": {"name": "mixer_w32_d1_p4"}}, {}
    images = torch.randn(32, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    for precision in ("fp32", "bf16"):
        run = small.config(tmp_path, **names, training={"precision": precision})
        net = engaged(run_network(run, 10), run).train()
        with autocast(torch.device("cpu"), precision):
            cross_entropy(net(images).float(), torch.arange(32) % 10).backward()
        found[precision] = {name: p.grad for name, p in net.named_parameters() if p.grad is not None}
    assert len(found["fp32"]) == 6
    for name, exact in found["fp32"].items():
        assert (found["bf16"][name] - exact).norm() <= 0.02 * exact.norm(), name


def test_an_unfinished_run_is_not_opened(tmp_path):
    with pytest.raises(BadInput, match="is no finished run"):
        trained_network(RunFolder(tmp_path))


def test_the_default_preparation_is_the_papers():
    assert Preparation().mean == (0.485, 0.456, 0.406) and Preparation().std == (0.229, 0.224, 0.225)


def test_metrics_are_plain_json(tmp_path):
    folder = fit(small.config(tmp_path, training={"epochs": 1}))
    for line in (folder.path / "metrics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
