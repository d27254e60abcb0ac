"""From numbers to a network's values: the plan, the distributions, and what they may not depend on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import bnonly
from bnonly.errors import BadInput
from bnonly.randomness import bngen
from bnonly.randomness.initialise import frozen_digest, initialise
from bnonly.randomness.plan import plan
from bnonly.randomness.start import Start

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "cifar_resnet14.json").read_text())


def test_the_plan_of_resnet14_is_as_ever():
    entries = plan(bnonly.network("cifar_resnet14", seed=0))
    assert [[e.index, e.name, e.role, list(e.shape), e.fan_in, e.fan_out] for e in entries] == GOLDEN["plan"]


@pytest.mark.parametrize("seed", GOLDEN["digests"])
def test_the_values_of_resnet14_are_as_ever(seed):
    assert frozen_digest(bnonly.network("cifar_resnet14", seed=int(seed))) == GOLDEN["digests"][seed]


def test_the_plan_is_state_dict_order_without_buffers():
    net = bnonly.network("resnet50", seed=0)
    buffers = {name for name, _ in net.named_buffers()}
    assert [e.name for e in plan(net)] == [name for name in net.state_dict() if name not in buffers]


def test_each_parameter_has_its_own_stream():
    seed = (1 << 127) + 12345
    net = bnonly.network("cifar_resnet14", seed=seed)
    values = dict(net.named_parameters())
    for entry in plan(net):
        found = values[entry.name].numpy().ravel()
        if entry.role == "weight":
            assert np.array_equal(found, bngen.he_weights(seed, entry.index, entry.size, entry.fan_in))
        elif entry.role == "gamma":
            assert np.array_equal(found, bngen.gamma_unit(seed, entry.index, entry.size))
        elif entry.role == "bias":
            assert np.array_equal(found, bngen.linear_bias(seed, entry.index, entry.size, entry.fan_in))
        else:
            assert not found.any()


def test_bits_do_not_depend_on_threads_format_or_dtype_of_the_default():
    expected = frozen_digest(bnonly.network("cifar_resnet14", seed=5))
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        torch.set_default_dtype(torch.float64)
        net = bnonly.network("cifar_resnet14", seed=5)
    finally:
        torch.set_num_threads(threads)
        torch.set_default_dtype(torch.float32)
    assert frozen_digest(net) == expected
    assert frozen_digest(bnonly.network("cifar_resnet14", seed=5).to(memory_format=torch.channels_last)) == expected
    refilled = bnonly.network("cifar_resnet14", seed=6).to(memory_format=torch.channels_last)
    initialise(refilled, 5)
    assert frozen_digest(refilled) == expected


def test_the_global_random_state_is_left_alone():
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    bnonly.network("cifar_resnet14", seed=5, start=Start(weights="orthogonal"))
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.parametrize("weights", ["normal", "uniform", "sign"])
@pytest.mark.parametrize("scale", ["fan_in", "fan_out"])
def test_variance_is_two_over_fan(weights, scale):
    net = bnonly.network("cifar_wrn14_4", seed=1, start=Start(weights=weights, scale=scale))
    for entry in plan(net):
        if entry.role == "weight" and entry.size > 1 << 15:
            variance = float(net.get_parameter(entry.name).double().var())
            assert variance == pytest.approx(2 / getattr(entry, scale), rel=0.03)


def test_orthogonal_rows_or_columns_and_is_not_storable():
    net = bnonly.network("cifar_resnet14", seed=1, start=Start(weights="orthogonal"))
    for entry in plan(net):
        if entry.role == "weight":
            matrix = net.get_parameter(entry.name).flatten(1).double()
            product = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
            torch.testing.assert_close(product, torch.eye(len(product), dtype=torch.float64), atol=1e-5, rtol=0)
    assert not Start(weights="orthogonal").storable
    assert Start().storable


@pytest.mark.parametrize(
    ("gamma", "low", "high", "mean"), [("uniform", 0, 1, 0.5), ("symmetric", -1, 1, 0), ("ones", 1, 1, 1)]
)
@pytest.mark.parametrize("beta", ["zeros", "ones"])
def test_gamma_and_beta_starts(gamma, low, high, mean, beta):
    net = bnonly.network("cifar_resnet110", seed=2, start=Start(gamma=gamma, beta=beta))
    entries = plan(net)
    gammas = torch.cat([net.get_parameter(e.name) for e in entries if e.role == "gamma"])
    betas = torch.cat([net.get_parameter(e.name) for e in entries if e.role == "beta"])
    assert low <= gammas.min() <= gammas.max() <= high
    assert float(gammas.mean()) == pytest.approx(mean, abs=0.03)
    assert (betas == (beta == "ones")).all()


def test_unknown_starts_and_kinds_are_refused():
    with pytest.raises(BadInput, match="gamma='twos'"):
        Start(gamma="twos")
    with pytest.raises(BadInput, match="weight of Embedding has no rule"):
        plan(torch.nn.Embedding(3, 3))
