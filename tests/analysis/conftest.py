"""A small laboratory on the disk, which several tests read and none changes."""

from __future__ import annotations

import json

import pytest

from analysis.frames import read
from tests.analysis.made import TOP1, config, write_grid, write_run


@pytest.fixture(scope="session")
def out(tmp_path_factory):
    """A small laboratory: two depths, two groups, seeds, a failure, a run under way, and digits beside CIFAR-10."""
    out = tmp_path_factory.mktemp("runs")
    grid = []
    for network in ("cifar_resnet8", "cifar_resnet14"):
        for group in ("bn", "all"):
            grid += [config(out, network, group, seed) for seed in range(3)]
    for run in grid:
        top1 = TOP1[run.seed] if (run.network.name, run.group) == ("cifar_resnet14", "bn") else None
        write_run(run, top1=top1, extras=run.seed == 0)
    write_run(config(out, "cifar_resnet14", "bn", data={"source": "digits"}), top1=0.9)
    write_run(config(out, "cifar_resnet14", "bn", training={"weight_decay": 0.0}), top1=0.3)
    late, bad, never = (config(out, "cifar_resnet14", "output", seed) for seed in range(3))
    write_run(late, ended=1)
    path = write_run(bad, ended=2)
    (path / "failure.json").write_text(
        json.dumps({"reason": "no memory", "kind": "killed", "attempts": 2, "log": "x"})
    )
    write_grid(out, [*grid, late, bad, never], stages=("fit", "measure"))
    return out


@pytest.fixture(scope="session")
def frames(out):
    return read([out])
