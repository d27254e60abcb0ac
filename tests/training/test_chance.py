"""What dropout draws: by seed, epoch and step, in any process, and after an interruption."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bnonly.networks import network
from bnonly.training import build, frozen
from bnonly.training.chance import Chance, draws, may_draw
from bnonly.training.fit import fit
from tests.training import small
from tests.training.test_resume import interrupted


@pytest.fixture
def dropping(monkeypatch):
    """Every run's network has dropout before its output layer; gives the masks, one a step."""
    masks = []

    class Kept(nn.Dropout):
        def forward(self, x):
            found = super().forward(x)
            if self.training:
                masks.append(found != 0)
            return found

    def grown(*arguments, **named):
        net = network(*arguments, **named)
        net.drop = Kept(0.5)
        net.fc.register_forward_pre_hook(lambda layer, inputs: net.drop(inputs[0]))
        return net

    monkeypatch.setattr(build, "network", grown)
    return masks


def test_equal_runs_draw_alike_and_other_seeds_otherwise(tmp_path, dropping):
    one = small.state(fit(small.config(tmp_path / "one")))
    first, before = dropping[:18], torch.rand(1)
    assert small.state(fit(small.config(tmp_path / "again"))) == one
    assert all(torch.equal(a, b) for a, b in zip(first, dropping[18:], strict=True))
    assert torch.rand(1) != before, "torch's own generator is left alone"
    fit(small.config(tmp_path / "other", seed=1))
    assert not any(torch.equal(a, b) for a, b in zip(first, dropping[36:], strict=True))
    assert not any(torch.equal(first[0], other) for other in first[1:])


def test_a_run_that_goes_on_draws_what_it_would_have_drawn(tmp_path, dropping):
    whole = fit(small.config(tmp_path / "whole"))
    run = small.config(tmp_path / "broken")
    interrupted(run, 1, 3)
    torch.manual_seed(99)
    assert small.state(fit(run)) == small.state(whole)


def test_inputs_of_an_output_layer_behind_dropout_are_not_kept(tmp_path, dropping, monkeypatch):
    monkeypatch.setattr(frozen, "Features", None)
    data, training = {"source": "digits", "crop": 0, "flip": False}, {"bn_statistics": "frozen", "epochs": 1}
    fit(small.config(tmp_path, group="output", data=data, training=training))
    assert dropping


def test_a_block_draws_by_seed_epoch_step_and_process_and_leaves_no_trace():
    net, device = nn.Sequential(nn.Dropout(0.5)), torch.device("cpu")
    torch.manual_seed(1)
    wanted = torch.rand(2)
    torch.manual_seed(1)
    found = {}
    for place in ((7, 0, 0, 0), (8, 0, 0, 0), (7, 1, 0, 0), (7, 0, 1, 0), (7, 0, 0, 1)):
        seed, epoch, step, rank = place
        for _ in range(2):
            with Chance(net, seed, device, rank).of(epoch, step):
                found.setdefault(place, []).append(torch.rand(1).item())
    assert all(one == again for one, again in found.values())
    assert len({one for one, _ in found.values()}) == len(found)
    assert torch.equal(torch.rand(2), wanted)


def test_whether_a_network_may_draw():
    for name in ("cifar_resnet8", "cifar_resnet8_gn", "mixer_w32_d2_p2_r8", "vit_w32_d2_p2", "vgg11_bn"):
        assert not may_draw(network(name, seed=1)), name
    assert may_draw(network("torchvision/mobilenet_v3_small", seed=1))
    images, net = torch.zeros(2, 3), nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.1))
    assert draws(net, images, "fp32") and not draws(net.eval(), images, "fp32")
