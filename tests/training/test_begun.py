"""Runs that go on from another one, some of its filters drawn anew."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

import bnonly
from bnonly.errors import BadInput
from bnonly.training.build import trained_network
from bnonly.training.fit import fit
from tests.training import small


@pytest.fixture(scope="module")
def before(tmp_path_factory):
    return fit(small.config(tmp_path_factory.mktemp("runs"), experiment="before", training={"epochs": 2}))


def after(before, **regrow):
    id = before.result()["id"]
    out = before.path.parent.parent
    return small.config(out, group="bn+random:5%", regrow={"after": id, **regrow}, training={"epochs": 1})


def test_it_begins_where_the_other_ended(before):
    folder = fit(after(before, choose="none"))
    assert folder.metrics()[0]["test"] == before.metrics()[-1]["test"]
    result = folder.result()
    assert (result["redrawn"], result["filters"]) == (0, 336)


def test_filters_are_drawn_anew_and_the_run_needs_the_other_no_longer(before, tmp_path):
    config = after(before, below=0.1)
    folder = fit(config)
    start, result = load_file(folder.start_values), folder.result()
    assert result["redrawn"] == sum(int(v.sum()) for n, v in start.items() if n.startswith("redrawn/")) > 0
    assert folder.metrics()[0]["test"] != before.metrics()[-1]["test"]
    net = trained_network(folder).state_dict()

    shutil.copytree(before.path.parent.parent, tmp_path / "moved")
    shutil.rmtree(tmp_path / "moved" / "before")
    alone = type(folder)(tmp_path / "moved" / folder.path.relative_to(before.path.parent.parent))
    for name, value in trained_network(alone).state_dict().items():
        assert np.array_equal(value, net[name]), name


def test_a_run_can_go_on_from_one_that_went_on(before):
    first = fit(after(before, below=0.1))
    second = fit(after(first, below=0.1))
    kept = [load_file(folder.start_values) for folder in (first, second)]
    names = [name for name in kept[0] if name.startswith("rounds/")]
    assert sum(int(kept[0][name].sum()) for name in names) == first.result()["redrawn"] > 0
    for name in names:
        redrawn = kept[1][name.replace("rounds/", "redrawn/")]
        assert np.array_equal(kept[1][name], kept[0][name] + redrawn), name


def test_where_bn_alone_trained_it_is_stored_as_its_seed_and_rounds(before, tmp_path):
    folder = fit(after(before, below=0.1).model_copy(update={"group": "bn"}))
    net = trained_network(folder)
    bnonly.save(net, tmp_path / "net.safetensors", form="full")
    loaded = bnonly.load(tmp_path / "net.safetensors")
    for name, value in loaded.state_dict().items():
        assert name.endswith("num_batches_tracked") or torch.equal(value, net.state_dict()[name]), name
    bnonly.save(loaded, tmp_path / "again.safetensors", form="full")
    again, first = ((tmp_path / f"{name}.safetensors").read_bytes() for name in ("again", "net"))
    assert again == first


def test_what_is_not_there_or_another_network_is_refused(before):
    with pytest.raises(BadInput, match="no finished run of that id"):
        fit(small.config(before.path.parent.parent, regrow={"after": "0123456789"}))
    other = after(before).model_copy(update={"seed": 5})
    with pytest.raises(BadInput, match="seed and classes of the one before"):
        fit(other)
    with pytest.raises(ValueError, match="need a run to begin from"):
        small.config(before.path, regrow={"choose": "none"})
