"""The mean of the last steps: against one taken by hand, over interruptions, and what it does to the statistics."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from bnonly.errors import Interrupted
from bnonly.training.averaging import Average
from bnonly.training.fit import fit
from bnonly.training.listener import Listener
from tests.training import small


def test_the_mean_of_the_last_steps(tmp_path):
    run = small.config(tmp_path, group="bn", training={"epochs": 3, "average": 1.5})
    net = torch.nn.Linear(3, 2)
    average, seen = Average(net, run.training), []
    for step in range(30):  # ten an epoch
        with torch.no_grad():
            net.weight.add_(step)
        average.add((step + 1) / 10)
        if step + 1 > 15:
            seen.append(net.weight.detach().double().clone())
    assert len(seen) == 15 and average.settle()
    torch.testing.assert_close(net.weight.detach().double(), torch.stack(seen).mean(0), rtol=1e-6, atol=1e-6)


def test_without_it_nothing_is_kept(tmp_path):
    net = torch.nn.Linear(3, 2)
    average = Average(net, small.config(tmp_path, training={"epochs": 1}).training)
    average.add(1.0)
    assert average.state() == ({}, {}) and not average.settle()


class Stop(Listener):
    def step(self, epoch, step, sums):
        if (epoch, step) == (1, 3):
            raise Interrupted("here")


def test_a_run_ends_with_it_and_goes_on_with_it(tmp_path):
    """Half of the first epoch, and all of the second, are averaged."""
    runs = {
        name: small.config(
            tmp_path / name, group="bn", training={"epochs": 2, "average": average, "save_every": 1e-6}
        )
        for name, average in (("plain", 0), ("whole", 1.5), ("broken", 1.5))
    }
    finals = {name: load_file(fit(runs[name]).final) for name in ("plain", "whole")}
    with pytest.raises(Interrupted):
        fit(runs["broken"], (Stop(),))
    finals["broken"] = load_file(fit(runs["broken"]).final)
    for name, value in finals["whole"].items():
        assert np.array_equal(value, finals["broken"][name]), name
    moved = [name for name, value in finals["whole"].items() if not np.array_equal(value, finals["plain"][name])]
    assert any(name.startswith("trained/") for name in moved) and any("running_var" in name for name in moved)


@pytest.mark.slow
def test_it_lowers_the_loss_of_a_noisy_run(tmp_path):
    """A high constant rate: the values wander about a minimum, and their mean lies in it."""
    training = {"epochs": 6, "schedule": "constant", "lr": 0.5, "batch_size": 16}
    losses = [
        fit(small.config(tmp_path, group="bn", training=training | {"average": average})).metrics()[-1]["test"][
            "loss"
        ]
        for average in (0, 3)
    ]
    assert losses[1] < losses[0]


def test_longer_than_the_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match="longer than the 2 of training"):
        small.config(tmp_path, training={"epochs": 2, "average": 3})
