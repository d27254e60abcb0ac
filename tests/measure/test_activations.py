"""Zeros, constants and variances against numpy on outputs computed layer by layer, without hooks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import bnonly
from bnonly.measure import activations
from bnonly.measure.accuracy import evaluate
from bnonly.measure.activations import Activations, dead_channels, effective_channels, relu_zeros
from bnonly.measure.gamma import betas, distribution, gammas

N = 11


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def moved(model):
    """With trained values: the first gamma of every layer 0, the second channel far below 0."""
    with torch.no_grad():
        for seed, (name, value) in enumerate(model.state_dict().items()):
            if value.dtype.is_floating_point:
                drawn = numbers(*value.shape, seed=seed)
                value.copy_(drawn.square() + 0.1 if name.endswith("var") else drawn)
        for layer in model.modules():
            if isinstance(layer, activations.NORMS):
                layer.weight.view(-1)[0] = 0
                layer.bias.view(-1)[1] = -1e3
    return model.eval()


def seen_by(model, images, batch=4):
    with Activations(model) as seen:
        evaluate(model, ((part, torch.zeros(len(part), dtype=torch.long)) for part in images.split(batch)))
    return seen


def expect_relu(found, outputs):
    """outputs: [N, C, P] of all images."""
    zero = outputs.numpy() == 0
    np.testing.assert_array_equal(found["zero"], zero.mean((0, 2)))
    np.testing.assert_array_equal(found["off"], zero.all(2).mean(0))
    np.testing.assert_array_equal(found["positions"], [zero.shape[2]] * zero.shape[1])


def expect_norm(found, outputs):
    values = outputs.double().numpy()
    np.testing.assert_array_equal(found["min"], values.min((0, 2)))
    np.testing.assert_array_equal(found["max"], values.max((0, 2)))
    np.testing.assert_allclose(found["mean"], values.mean((0, 2)), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found["variance"], values.var((0, 2)), rtol=1e-5, atol=1e-9)


class Convolutional(nn.Module):
    """F.relu, its in-place form, nn.ReLU in place and Tensor.relu; one norm feeds two ReLUs."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 5, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(5)
        self.conv = nn.Conv2d(5, 6, 3, stride=2, bias=False)
        self.gn = nn.GroupNorm(2, 6)
        self.act = nn.ReLU(inplace=True)
        self.mix = nn.Conv2d(6, 6, 1)
        self.fc = nn.Linear(6, 4)

    def forward(self, x):
        x = F.relu(self.stem(x), inplace=True)
        x = F.relu(self.bn1(x))
        x = self.mix(self.act(self.gn(self.conv(x)))).relu()
        return self.fc(x.mean((2, 3)))


def flat(x):
    return x.reshape(len(x), x.shape[1], -1)


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("at_once", [1, 1 << 22])
def test_a_convolutional_network(memory, at_once, monkeypatch):
    monkeypatch.setattr(activations, "_AT_ONCE", at_once)
    net, images = moved(Convolutional()), numbers(N, 3, 9, 9, seed=99).to(memory_format=memory)
    seen = seen_by(net.to(memory_format=memory), images)
    with torch.no_grad():
        stem = F.conv2d(images, net.stem.weight, net.stem.bias, padding=1).clamp(min=0)
        bn = net.bn1
        first = F.batch_norm(stem, bn.running_mean, bn.running_var, bn.weight, bn.bias, eps=bn.eps)
        second = F.conv2d(first.clamp(min=0), net.conv.weight, stride=2)
        second = F.group_norm(second, 2, net.gn.weight, net.gn.bias, net.gn.eps)
        third = F.conv2d(second.clamp(min=0), net.mix.weight, net.mix.bias).clamp(min=0)
    relus, norms = seen.relus(), seen.norms()
    assert list(relus) == ["", "bn1", "gn", "gn:2"] and list(norms) == ["bn1", "gn"]
    for name, output in {"": stem, "bn1": first.clamp(min=0), "gn": second.clamp(min=0), "gn:2": third}.items():
        expect_relu(relus[name], flat(output))
    expect_norm(norms["bn1"], flat(first))
    expect_norm(norms["gn"], flat(second))
    assert relus["bn1"]["off"][1] == 1 and norms["bn1"]["variance"][0] == 0
    assert norms["bn1"]["min"][0] == norms["bn1"]["max"][0] == net.bn1.bias[0].item()


class Tokens(nn.Module):
    """LayerNorm over the last dimension of [N, T, C], and one over [C, H, W]; their ReLUs' channels come last."""

    def __init__(self):
        super().__init__()
        self.whole = nn.LayerNorm((2, 3, 3))
        self.norm = nn.LayerNorm(9)
        self.wide = nn.Linear(9, 7)
        self.last = nn.LayerNorm(7)
        self.fc = nn.Linear(7, 4)

    def forward(self, x):
        x = self.norm(self.whole(x).flatten(2))
        x = torch.relu(self.wide(x)).mean(1)
        return self.fc(self.last(x).relu())


def test_channels_of_layer_norms_come_last():
    net, images = moved(Tokens()), numbers(N, 2, 3, 3, seed=98)
    seen = seen_by(net, images)
    with torch.no_grad():
        whole = F.layer_norm(images, (2, 3, 3), net.whole.weight, net.whole.bias)
        norm = F.layer_norm(whole.flatten(2), (9,), net.norm.weight, net.norm.bias)
        wide = (norm @ net.wide.weight.T + net.wide.bias).clamp(min=0)
        last = F.layer_norm(wide.mean(1), (7,), net.last.weight, net.last.bias)
    norms, relus = seen.norms(), seen.relus()
    expect_norm(norms["whole"], whole.reshape(N, 18, 1))
    expect_norm(norms["norm"], norm.transpose(1, 2))
    expect_norm(norms["last"], last[:, :, None])
    assert list(relus) == ["norm", "last"]
    expect_relu(relus["norm"], wide.transpose(1, 2))
    expect_relu(relus["last"], last.clamp(min=0)[:, :, None])


def test_a_layer_norm_of_pictures_has_its_channels_first():
    class LayerNorm2d(nn.LayerNorm):
        def forward(self, x):
            return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    net = nn.Sequential(LayerNorm2d(5), nn.Flatten(), nn.Linear(5 * 25, 4)).eval()
    images = numbers(N, 5, 5, 5, seed=97)
    with torch.no_grad():
        expect_norm(seen_by(net, images).norms()["0"], flat(net[0](images)))


def test_a_residual_network_by_the_names_of_its_norms():
    net = bnonly.network("cifar_resnet8", seed=3).eval()
    seen = seen_by(net, numbers(6, 3, 8, 8, seed=96))
    layers = [name for name in gammas(net) if "downsample" not in name]
    assert list(seen.relus()) == layers and list(seen.norms()) == list(gammas(net))


def test_shares_dead_and_effective_channels_are_what_they_say():
    relus = {
        "a": {"zero": np.array([0.5, 1.0]), "off": np.array([0.9, 1.0]), "positions": np.full(2, 4.0)},
        "b": {"zero": np.array([0.0, 0.1]), "off": np.array([0.0, 0.3]), "positions": np.full(2, 1.0)},
    }
    found = relu_zeros(relus, (0.3, 0.9, 0.99))
    assert found["layers"]["a"] == {
        "channels": 2,
        "zero": 0.75,
        "zero_outputs": 0.75,
        "off": 0.5,
        "mostly_off": {"0.3": 1, "0.9": 1, "0.99": 0.5},
    }
    assert found["all"]["mostly_off"] == {"0.3": 0.75, "0.9": 0.5, "0.99": 0.25}
    assert found["all"]["zero"] == pytest.approx(0.4) and relu_zeros({}) == {}
    assert found["all"]["zero_outputs"] == pytest.approx((4 * 1.5 + 0.1) / 10)  # a's channels have four times as many
    norms = {
        name: {"min": np.zeros(4), "max": np.array(v, float), "variance": np.array(v, float)}
        for name, v in {"even": [2, 2, 2, 2], "one": [0, 5, 0, 0], "none": [0, 0, 0, 0], "tiny": [1e-200] * 4}.items()
    }
    assert dead_channels(norms) == {
        "all": {"channels": 16, "dead": 7},
        "layers": {name: {"channels": 4, "dead": dead} for name, dead in zip(norms, (0, 3, 4, 0), strict=True)},
    }
    effective = effective_channels(norms)["layers"]
    assert [effective[name]["effective"] for name in norms] == pytest.approx([4, 1, 0, 4])


def test_nothing_is_left_behind_and_a_failed_forward_does_not_matter():
    net, images = moved(Convolutional()), numbers(N, 3, 9, 9, seed=95)
    with Activations(net) as seen:
        with torch.no_grad(), pytest.raises(RuntimeError):
            net(images[:, :2])
        evaluate(net, [(images, torch.zeros(N, dtype=torch.long))])
    first = {name: found["zero"] for name, found in seen.relus().items()}
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
    with torch.no_grad():
        net(images)  # is not counted
    for name, found in seen.relus().items():
        np.testing.assert_array_equal(found["zero"], first[name])
    again = seen_by(net, images, batch=N).relus()
    assert {name: found["zero"].tolist() for name, found in again.items()} == {
        n: z.tolist() for n, z in first.items()
    }


def test_distributions_are_numpys():
    net = moved(Convolutional())
    found = distribution(gammas(net), (0.1, 1.0))
    by_layer = {"bn1": net.bn1.weight, "gn": net.gn.weight}
    assert list(found["layers"]) == list(by_layer) and found["thresholds"] == [0.1, 1.0]
    cases = {name: (found["layers"][name], value.detach().double().numpy()) for name, value in by_layer.items()}
    cases["all"] = (found["all"], np.concatenate([values for _, values in cases.values()]))
    for facts, values in cases.values():
        assert facts["channels"] == len(values)
        assert [facts["mean"], facts["std"]] == pytest.approx([values.mean(), values.std()], rel=1e-12)
        assert (facts["min"], facts["max"]) == (values.min(), values.max())
        assert facts["quantiles"]["0.25"] == pytest.approx(np.quantile(values, 0.25))
        assert facts["below"] == [np.mean(np.abs(values) < 0.1), np.mean(np.abs(values) < 1)]
    assert "below" not in distribution(betas(net))["all"] and distribution({}) == {}
