"""Clamped scores against a forward by hand; how many passes they take; what is left behind."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from bnonly.errors import BadInput
from bnonly.measure.ablation import ablate
from bnonly.measure.points import Point, points

IMAGES, CLASSES = 40, 3


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def net():
    """Linear, BatchNorm, ReLU, Linear, with trained values; two gammas are 0 already."""
    made = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, CLASSES))
    with torch.no_grad():
        for seed, value in enumerate(made.parameters()):
            value.copy_(numbers(*value.shape, seed=seed))
        made[1].weight.copy_(torch.tensor([0.0, -0.0, 0.01, -0.02, 0.3, -0.3, 1.0, -2.0]))
        made[1].running_mean.copy_(numbers(8, seed=20))
        made[1].running_var.copy_(numbers(8, seed=21).square() + 0.1)
    return made


class Source:
    """Batches that count how often they are asked for."""

    def __init__(self):
        self.inputs, self.passes = numbers(IMAGES, 6, seed=30), 0
        self.labels = torch.arange(IMAGES) % CLASSES

    def __call__(self):
        self.passes += 1
        return zip(self.inputs.split(16), self.labels.split(16), strict=True)


def by_hand(model, source, gamma):
    """Loss and accuracy in numpy, float64."""
    state = {name: value.double().numpy() for name, value in model.state_dict().items()}
    x = source.inputs.double().numpy() @ state["0.weight"].T + state["0.bias"]
    x = (x - state["1.running_mean"]) / np.sqrt(state["1.running_var"] + 1e-5) * gamma + state["1.bias"]
    logits = np.maximum(x, 0) @ state["3.weight"].T + state["3.bias"]
    labels = source.labels.numpy()
    loss = np.log(np.exp(logits).sum(1)) - logits[np.arange(IMAGES), labels]
    return loss.mean(), (logits.argmax(1) == labels).mean()


def test_scores_are_those_of_a_forward_by_hand():
    model, source = net(), Source()
    zeroed = {
        None: [],
        Point("below", 0.015): [0, 1, 2],
        Point("smallest", 0.5): [0, 1, 2, 3],
        Point("largest", 0.25): [6, 7],
        Point("largest", 0.5, "layer"): [4, 5, 6, 7],
    }
    found = {done.point: done for done in ablate(model, source, [p for p in zeroed if p], quiet=True)}
    assert list(found) == list(zeroed)
    for point, places in zeroed.items():
        gamma = model[1].weight.detach().double().numpy().copy()
        gamma[places] = 0
        loss, top1 = by_hand(model, source, gamma)
        assert found[point].score.loss == pytest.approx(loss, rel=1e-5)
        assert found[point].score.top1 == top1 and found[point].score.images == IMAGES
        assert found[point].channels == len(places)


def test_equal_clampings_cost_one_pass():
    model, source = net(), Source()
    asked = points([0.0, 1e-9, 0.001, 0.011, 0.012, 0.3, 0.5], [0.25, 0.375], [], [0.0])
    found = {done.point: done.score for done in ablate(model, source, asked, quiet=True)}
    # Intact; 0.01 gone; 0.02 gone too; all up to 0.3.
    assert source.passes == 4 and len(found) == 1 + len(asked)
    assert found[Point("below", 0.001)] == found[Point("smallest", 0.25)] == found[None]
    assert found[Point("smallest", 0.375)] == found[Point("below", 0.012)] != found[None]
    again = list(ablate(model, source, points([0.01, 0.02, 1.5]), known=found, quiet=True))
    assert source.passes == 5 and len(again) == 4  # 0.02 in float32 is not below 0.02


def test_twenty_thresholds_cost_at_most_twenty_one_passes():
    source = Source()
    assert len(list(ablate(net(), source, points(np.linspace(0.1, 2.5, 20)), quiet=True))) == 21
    assert source.passes <= 21


def test_gamma_is_put_back_to_the_bit_whatever_happens():
    model, source = net().train(), Source()
    before = {name: value.clone() for name, value in model.state_dict().items()}

    def failing():
        yield from list(source())[:1]
        if source.passes > 2:
            raise OSError("the disk is gone")

    done = []
    with pytest.raises(OSError, match="gone"):
        done.extend(ablate(model, failing, points([0.011, 0.1, 0.5]), quiet=True))
    assert source.passes == 3
    left = iter(ablate(model, source, points([0.5]), quiet=True))
    next(left), next(left)
    left.close()
    for name, value in model.state_dict().items():
        assert value.numpy().tobytes() == before[name].numpy().tobytes(), name
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("norm", [nn.LayerNorm(6), nn.GroupNorm(3, 6), nn.RMSNorm(6)], ids=lambda n: type(n).__name__)
def test_other_norms_are_clamped_too(norm):
    model, source = nn.Sequential(norm, nn.Linear(6, CLASSES)).eval(), Source()
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([0.01, 1.0, -0.02, 2.0, 0.5, 0.25]))
    (intact, done) = ablate(model, source, [Point("smallest", 1 / 3)], quiet=True)
    with torch.no_grad():
        normal = norm(source.inputs)
        normal[:, [0, 2]] = 0 if getattr(norm, "bias", None) is None else norm.bias[[0, 2]]
        expected = nn.functional.cross_entropy(model[1](normal), source.labels)
    assert done.channels == 2 and done.score.loss == pytest.approx(float(expected), rel=1e-5)
    assert intact.score != done.score


def test_a_network_without_gamma_is_refused():
    with pytest.raises(BadInput, match="no gamma to clamp"):
        list(ablate(nn.Linear(6, CLASSES), Source(), points([0.1])))
