"""Captured steps, by a stand-in for CUDA graphs: what is recorded once and done again is what plain steps do."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from bnonly.training import graphs
from bnonly.training.fit import fit
from tests.training import small

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")


def stand_in(net):
    """As a graph does it: recording changes nothing, doing it again writes into the tensors of the recording."""

    def capture(function):
        before = {name: value.clone() for name, value in net.state_dict().items()}
        found = function()
        kept = [(p, p.grad) for p in net.parameters() if p.grad is not None]
        net.load_state_dict(before)

        def replay():
            for parameter, _ in kept:
                parameter.grad = None
            for mine, new in zip(found, function(), strict=True):
                mine.copy_(new)
            for parameter, gradient in kept:
                gradient.copy_(parameter.grad)
                parameter.grad = None

        return found, replay

    return capture


@pytest.mark.parametrize("group", ["bn", "random:2"])
def test_a_run_of_captured_steps_is_that_of_plain_ones(tmp_path, monkeypatch, group):
    config = small.config(tmp_path / "plain", group=group, training={"epochs": 2, "batch_size": 200, "average": 0.5})
    plain = load_file(fit(config).final)
    made = []

    def engaged(compute, net, config, device):
        made.append(graphs.Captured(compute, net.parameters(), stand_in(net)))
        return made[-1]

    monkeypatch.setattr(graphs, "engaged", engaged)
    captured = load_file(fit(config.model_copy(update={"out": tmp_path / "captured"})).final)
    assert [len(each._graphs) for each in made] == [1]  # the last batches of two epochs only warm up
    for name, value in plain.items():
        assert np.array_equal(value, captured[name]), name


def test_each_shape_has_a_graph_of_its_own():
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3))

    def compute(images, labels):
        loss = torch.nn.functional.cross_entropy(net(images), labels)
        loss.backward()
        return loss.detach().reshape(1), loss.detach()

    captured = graphs.Captured(compute, net.parameters(), stand_in(net))
    for turn in range(graphs.WARM_UP + 2):
        for count in (5, 2):
            images, labels = torch.randn(count, 3, 2, 2), torch.randint(0, 3, (count,))
            _, loss = captured(images, labels)
            found = [p.grad.clone() for p in net.parameters()]
            net.zero_grad()
            _, wanted = compute(images, labels)
            assert torch.equal(loss, wanted)
            assert all(torch.equal(mine, p.grad) for mine, p in zip(found, net.parameters(), strict=True)), turn
            net.zero_grad()
    assert len(captured._graphs) == 2


@needs_cuda
def test_on_a_gpu(tmp_path):
    """Within rounding: captured libraries may choose other kernels."""
    training = {"epochs": 2, "batch_size": 200, "device": "cuda", "engine": "fused"}
    losses = []
    for name in ("captured", "plain"):
        config = small.config(tmp_path / name, training=training)
        with pytest.MonkeyPatch.context() as patch:
            if name == "plain":
                patch.setattr(graphs, "engaged", lambda compute, *_: compute)
            losses.append(fit(config).metrics()[-1]["train"]["loss"])
    assert losses[0] == pytest.approx(losses[1], abs=1e-3)
