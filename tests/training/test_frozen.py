"""BatchNorm with frozen statistics, and the output layer trained on inputs computed once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import nn

from bnonly.data.batches import Batches, Preparation
from bnonly.data.images import Images
from bnonly.networks import network
from bnonly.networks.residual import ResNet
from bnonly.trainable import freeze_all_but
from bnonly.training import frozen
from bnonly.training.fit import fit
from tests.training import small

SLOW = {"data": {"source": "digits", "crop": 0, "flip": False}}


def run(out, group="output", data=None, **training):
    values = {"epochs": 3, "bn_statistics": "frozen", **training}
    return small.config(out, group=group, data=data or SLOW["data"], training=values)


def test_statistics_are_the_mean_of_the_batches():
    torch.manual_seed(0)
    net = nn.Sequential(nn.BatchNorm2d(3, momentum=0.3), nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    batches = [(torch.randn(size, 3, 8, 8) * size, torch.zeros(size)) for size in (5, 9, 2)]
    net(batches[0][0])  # what was there before does not count
    frozen.estimate(net, batches)
    seen = torch.stack([images.transpose(0, 1).flatten(1).var(1) for images, _ in batches])
    first, last = net[0], net[2]
    assert torch.allclose(first.running_var, seen.mean(0), rtol=1e-5)
    inner = [net[1](nn.functional.batch_norm(x, None, None, first.weight, first.bias, True)) for x, _ in batches]
    mean = torch.stack([x.mean((0, 2, 3)) for x in inner]).mean(0)
    assert torch.allclose(last.running_mean, mean, rtol=1e-4, atol=1e-6)
    assert first.momentum == 0.3 and net.training and first.training


@pytest.mark.parametrize("group", ["bn", "output"])
def test_statistics_do_not_move(tmp_path, group):
    def buffers(epochs):
        state = load_file(fit(run(tmp_path, group, epochs=epochs)).final)
        return {name: value for name, value in state.items() if name.startswith("buffer/")}

    one, three = buffers(1), buffers(3)
    assert one and all(np.array_equal(one[name], three[name]) for name in one)
    assert all(np.any(value != 1) for name, value in one.items() if name.endswith("running_var"))


def test_bn_learns_with_them(tmp_path):
    first, *_, last = fit(run(tmp_path, "bn", lr=0.05)).metrics()
    assert last["train"]["loss"] < 2.2 and last["test"]["top1"] > first["test"]["top1"]


def test_the_output_layer_alone_is_shown_its_inputs(tmp_path, monkeypatch):
    passes, forward = [], ResNet.forward
    monkeypatch.setattr(ResNet, "forward", lambda net, x: passes.append(len(x)) or forward(net, x))
    quick = fit(run(tmp_path / "quick"))
    assert sum(passes) == 1437 + 1437 + 360  # statistics, and then each image once
    monkeypatch.setattr(frozen, "_free", lambda device: 1000)
    slow = fit(run(tmp_path / "slow"))
    assert sum(passes) > 5 * 1437
    for ours, theirs in zip(quick.metrics(), slow.metrics(), strict=True):
        for part in ("train", "test"):
            if ours[part]:
                assert ours[part]["loss"] == pytest.approx(theirs[part]["loss"], rel=1e-4)
                assert ours[part]["top1"] == pytest.approx(theirs[part]["top1"], abs=0.003)
    ours, theirs = load_file(quick.final), load_file(slow.final)
    assert ours.keys() == theirs.keys()
    assert all(np.allclose(ours[name], theirs[name], rtol=1e-3, atol=1e-5) for name in ours)


@pytest.mark.parametrize(
    ("group", "data"),
    [("bn+output", {"crop": 0, "flip": False}), ("output", {"crop": 2}), ("output", {"flip": True})],
)
def test_where_inputs_change_images_are_shown(tmp_path, monkeypatch, group, data):
    monkeypatch.setattr(frozen, "Features", None)
    fit(run(tmp_path, group, {"source": "digits", "crop": 0, "flip": False} | data, epochs=1))


def test_features_come_in_the_order_of_images():
    rng = np.random.default_rng(0)
    images = Images(rng.integers(0, 256, (23, 3, 8, 8), np.uint8), rng.integers(0, 10, 23))
    net = network("cifar_resnet8", seed=1)
    freeze_all_but(net, "output")
    assert frozen.lone_output(net) == "fc"
    batches = Batches(images, 5, Preparation(), torch.device("cpu"), seed=3)
    features = frozen.Features(net, net.fc, batches, "fp32")
    assert (features.images, features.steps, features.device) == (23, 5, batches.device)
    net.eval()
    for pairs in (zip(features.epoch(4, 2), batches.epoch(4, 2), strict=True),
                  zip(features.in_order(), batches.in_order(), strict=True)):  # fmt: skip
        for (seen, labels), (shown, theirs) in pairs:
            assert torch.equal(labels, theirs)
            assert torch.allclose(net.fc(seen), net(shown), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("group", "alone"), [("output", True), ("bn", False), ("bn+output", False), ("none", False)])
def test_whether_the_output_layer_is_alone(group, alone):
    net = network("cifar_resnet8", seed=1)
    freeze_all_but(net, group)
    assert frozen.lone_output(net) == ("fc" if alone else None)


@pytest.mark.parametrize("group", ["output", "bn"])
def test_a_killed_run_goes_on_to_the_bit(tmp_path, group):
    straight = fit(run(tmp_path / "straight", group))
    config = run(tmp_path / "killed", group)
    dies = "take = module.GroupTraining.step\n"
    dies += "def step(self, images, labels):\n"
    dies += "    if self.position_epoch == 1 and self.position_step == 4: die()\n"
    dies += "    take(self, images, labels)\n"
    dies += "    if self.position_step == 3: self.save()\n"
    process = small.run_process(config, dies + "module.GroupTraining.step = step")
    process.communicate()
    assert process.returncode == -9
    again = fit(config)
    assert small.state(again) == small.state(straight) and small.metrics(again) == small.metrics(straight)


@pytest.mark.parametrize("group", ["output", "bn"])
def test_two_processes_equal_one(tmp_path, group):
    """One with the output layer alone on its inputs; two always on images."""
    one, two = (fit(run(tmp_path / str(n), group, devices=n, sync_bn=True, epochs=2)) for n in (1, 2))
    ours, theirs = load_file(one.final), load_file(two.final)
    assert all(np.allclose(ours[name], theirs[name], rtol=2e-3, atol=1e-4) for name in ours)
