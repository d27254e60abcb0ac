"""Sparsity and clamping against numbers counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import bnonly
from bnonly.errors import BadInput
from bnonly.measure.accuracy import evaluate
from bnonly.measure.gamma import clamped, gammas, sparsity


def net():
    made = nn.Sequential(nn.BatchNorm1d(4), nn.ReLU(), nn.LayerNorm(4))
    with torch.no_grad():
        made[0].weight.copy_(torch.tensor([0.0, -0.005, 0.02, 1.0]))
        made[2].weight.copy_(torch.tensor([0.01, 0.5, -0.5, 2.0]))
    return made


def test_sparsity_counts_strictly_below():
    found = sparsity(net(), (0.001, 0.01, 0.5))
    assert found["below"] == [1 / 8, 2 / 8, 4 / 8]
    assert found["layers"] == {"0": [1 / 4, 2 / 4, 3 / 4], "2": [0, 0, 1 / 4]}
    assert found["quantiles"]["0.5"] == pytest.approx(0.015)
    assert (found["quantiles"]["0.0"], found["quantiles"]["1.0"]) == (-0.5, 2.0)
    assert sparsity(nn.Linear(2, 2)) == {}


def test_sparsity_of_a_real_network_equals_numpys():
    found = sparsity(bnonly.network("cifar_resnet56", seed=1))
    everything = np.concatenate([g.numpy() for g in gammas(bnonly.network("cifar_resnet56", seed=1)).values()])
    assert len(everything) == 4256 // 2
    assert found["below"] == [float(np.mean(np.abs(everything) < np.float32(t))) for t in found["thresholds"]]


def test_clamping_is_within_the_block_alone():
    made = net()
    with clamped(made, 0.03) as count:
        assert count == 4
        assert made[0].weight.tolist() == [0, 0, 0, 1]
    assert made[0].weight.tolist() == pytest.approx([0.0, -0.005, 0.02, 1.0])
    with pytest.raises(RuntimeError), clamped(made, 0.03):
        raise RuntimeError
    torch.testing.assert_close(made.eval()(torch.eye(4)), net().eval()(torch.eye(4)))
    with pytest.raises(BadInput, match="at least 0"), clamped(made, -1):
        pass
    with pytest.raises(BadInput, match="no gamma"), clamped(nn.Linear(2, 2), 0.1):
        pass


def test_evaluate_equals_one_pass_over_everything():
    generator = torch.Generator().manual_seed(0)
    model = nn.Linear(5, 7).train()
    inputs, labels = torch.randn(50, 5, generator=generator), torch.randint(7, (50,), generator=generator)
    found = evaluate(model, zip(inputs.split(16), labels.split(16), strict=True))
    logits = model(inputs).detach()
    assert found.loss == pytest.approx(float(nn.functional.cross_entropy(logits, labels)), rel=1e-6)
    assert found.top1 == float((logits.argmax(1) == labels).double().mean())
    ranks = (logits > logits.gather(1, labels[:, None])).sum(1)
    assert found.top5 == float((ranks < 5).double().mean())
    assert found.images == 50
    assert model.training
