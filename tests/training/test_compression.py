"""Pruning and rounding of weights that train: against the definitions, over interruptions, and how a run ends."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from bnonly.config.compression import CompressionConfig
from bnonly.data.batches import Batches
from bnonly.errors import Interrupted
from bnonly.training.compression import Compression, rounded
from bnonly.training.fit import fit
from bnonly.training.listener import Listener
from bnonly.training.module import GroupTraining
from tests.training import small


@pytest.mark.parametrize("bits", range(2, 9))
def test_rounded_weights_lie_on_steps_that_they_tell(bits):
    weights = torch.from_numpy(np.random.default_rng(bits).standard_normal((5, 7, 3, 3)).astype(np.float32))
    weights[0] *= 1e-3
    weights[1, 2] = 0
    weights[2] = 0
    found, most = rounded(weights, bits), 2 ** (bits - 1) - 1
    for own, filter in zip(found.double(), weights.double(), strict=True):
        size = own.abs().max() / most
        steps = own / size if size else own
        assert torch.equal(steps, steps.round()) and float(size) == float(size.half())
        inside = filter.abs() <= size * most
        assert ((own - filter).abs()[inside] <= size / 2 * 1.0001).all()
    assert not found[2].any() and not found[1, 2].any()


def test_more_bits_lose_less_and_about_what_max_found():
    """Max (1960), table II: the mean squared error of the best uniform levels for a normal variable."""
    weights = torch.from_numpy(np.random.default_rng(1).standard_normal((4, 40_000)).astype(np.float32))
    for bits, error in ((3, 0.03744), (4, 0.01154), (5, 0.003495), (6, 0.001041)):  # of 2^b levels; ours are one less
        own = float((rounded(weights, bits) - weights).square().mean())
        assert error * 0.98 < own < error * 1.45


def compressed(net, epochs=10, **asked):
    training = small.config("runs", training={"epochs": epochs}).training
    return Compression(net, CompressionConfig(**asked), training)


def test_the_smallest_weights_go_in_the_whole_network_and_stay_away():
    net = torch.nn.Sequential(torch.nn.Linear(30, 20), torch.nn.Linear(20, 10))
    sizes = torch.cat([layer.weight.detach().abs().flatten() for layer in net])
    compression = compressed(net, prune=0.8)
    shares = []
    for epoch in range(1, 11):
        compression.before_step()
        compression.before_update()
        with torch.no_grad():  # an optimiser's momentum: large, so that a pruned weight might come back
            for layer in net:
                layer.weight[layer.weight == 0] += 10
        compression.after_step(epoch, 100)
        weights = torch.cat([layer.weight.detach().flatten() for layer in net])
        shares.append(float((weights == 0).float().mean()))
    assert shares == sorted(shares) and shares[0] == 0 and shares[6:] == [pytest.approx(0.8)] * 4
    middle = 0.8 * (1 - (1 - (0.4 - 0.1) / 0.6) ** 3)
    assert shares[3] == pytest.approx(middle, abs=1e-3)
    assert torch.equal(weights != 0, sizes > sizes.sort().values[round(0.8 * len(sizes)) - 1])
    assert all(layer.bias.all() for layer in net)


def test_the_gradient_is_that_of_rounded_weights_and_moves_the_others():
    net = torch.nn.Linear(6, 4, bias=False)
    before, images = net.weight.detach().clone(), torch.randn(8, 6)
    compression = compressed(net, bits=3)
    compression.before_step()
    assert torch.equal(net.weight, rounded(before, 3)) and not torch.equal(net.weight, before)
    net(images).square().sum().backward()
    wanted = 2 * (images @ rounded(before, 3).T).T @ images
    torch.testing.assert_close(net.weight.grad, wanted)
    assert torch.equal(compression.state()["trained/weight"], before)
    compression.before_update()
    assert torch.equal(net.weight, before) and not compression.state()
    with compression.shown():
        assert torch.equal(net.weight, rounded(before, 3))
    assert torch.equal(net.weight, before)
    assert compression.settle() and torch.equal(net.weight, rounded(before, 3))
    with compression.shown():
        assert torch.equal(net.weight, rounded(before, 3)), "what is rounded once is left"


class Stop(Listener):
    def step(self, epoch, step, sums):
        if (epoch, step) == (1, 3):
            raise Interrupted("here")


@pytest.mark.parametrize("engine", ["modules", "fused"])
def test_a_run_ends_with_it_and_goes_on_with_it(engine, tmp_path):
    asked = {"prune": 0.7, "bits": 4}
    runs = {
        name: small.config(
            tmp_path / name, group="all", training={"save_every": 1e-6, "engine": engine}, compression=asked
        )
        for name in ("whole", "broken")
    }
    whole = fit(runs["whole"])
    with pytest.raises(Interrupted):
        fit(runs["broken"], (Stop(),))
    broken = fit(runs["broken"])
    assert small.metrics(whole) == small.metrics(broken)
    finals = load_file(whole.final), load_file(broken.final)
    weights = [value for name, value in finals[0].items() if name.startswith("trained/") and value.ndim > 1]
    assert sum((w == 0).sum() for w in weights) / sum(w.size for w in weights) >= 0.7
    for weight in weights:
        for own in weight.reshape(len(weight), -1):
            assert len(np.unique(own)) <= 15
    assert all(np.array_equal(finals[0][name], finals[1][name]) for name in finals[0])
    assert whole.metrics()[-1]["test"]["top1"] > 0.3


def rescued_in_the_last_evaluation(monkeypatch):
    """Runs end while they are shown their first test image at the very end, as a slow one does at SIGTERM."""
    training = []

    def begin(module, original=GroupTraining.begin):
        training.append(module)
        original(module)

    def in_order(batches, original=Batches.in_order):
        if training and (training[-1].position_epoch, training[-1].position_step) == (2, 6):
            assert training[-1].rescue()
            raise Interrupted("rescued")
        yield from original(batches)

    monkeypatch.setattr(GroupTraining, "begin", begin)
    monkeypatch.setattr(Batches, "in_order", in_order)


@pytest.mark.parametrize("asked", [{"bits": 2}, {"prune": 0.5, "bits": 3}])
def test_a_run_rescued_in_its_last_evaluation_is_rounded_once(asked, tmp_path, monkeypatch):
    whole, broken = (small.config(tmp_path / name, group="all", compression=asked) for name in ("whole", "broken"))
    done = small.state(fit(whole))
    with monkeypatch.context() as patch:
        rescued_in_the_last_evaluation(patch)
        with pytest.raises(Interrupted):
            fit(broken)
    assert small.state(fit(broken)) == done


def test_a_mean_of_the_last_epochs_keeps_the_share_of_zeros(tmp_path):
    run = {"group": "all", "compression": {"prune": 0.8}}
    folder = fit(small.config(tmp_path, training={"epochs": 4, "average": 1.2, "batch_size": 100}, **run))
    final = load_file(folder.final)
    weights = [value for name, value in final.items() if name.startswith("trained/") and value.ndim > 1]
    assert sum((w == 0).sum() for w in weights) / sum(w.size for w in weights) >= 0.8 - 1e-6
    with pytest.raises(ValueError, match=r"with compression.prune training.average may be 1.2 at most"):
        small.config(tmp_path, training={"epochs": 4, "average": 1.3}, **run)


def test_it_is_for_weights_that_train(tmp_path):
    with pytest.raises(ValueError, match="it needs group all, not bn"):
        small.config(tmp_path, compression={"bits": 4})
