"""Ray: a cluster of several simulated nodes, one of which is removed; GPUs that trials share; what is refused."""

from __future__ import annotations

import sys

import pytest

from bnonly.errors import BadInput
from experiments.engines import open_engine
from experiments.engines.ray import Ray
from tests.experiments.trials import all_ended, job, until


@pytest.fixture(scope="module")
def cluster():
    """Three nodes of one CPU each; Ray believes what it is told of the last one's GPU."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    cluster.plain = cluster.add_node(num_cpus=1)
    cluster.add_node(num_cpus=1, num_gpus=1)
    yield cluster
    cluster.shutdown()


@pytest.mark.slow
def test_a_removed_nodes_trial_is_lost_and_comes_back(cluster, tmp_path):
    jobs = [job(tmp_path, "waits", seed=seed, until=str(tmp_path / "go")) for seed in range(3)]
    with Ray(address=cluster.address, gpus=0) as engine:
        assert engine.slots == 3
        for one in jobs:
            engine.submit(one)
        until(lambda: engine.ended(0.1) or len(began(tmp_path)) == 3)
        cluster.remove_node(cluster.plain, allow_graceful=False)
        (lost,) = all_ended(engine, 1).values()
        assert lost.kind == "lost" and "its Ray actor was lost on node " in str(lost.reason)
        (tmp_path / "go").touch()
        assert all(ended.reason is None for ended in all_ended(engine, 2).values())
        engine.submit(next(one for one in jobs if one.id == lost.id))
        assert all_ended(engine, 1)[lost.id].reason is None
    assert len(began(tmp_path)) == 4


@pytest.mark.slow
def test_trials_share_a_gpu(cluster, tmp_path):
    with Ray(address=cluster.address, per_gpu=1) as engine:
        assert engine.slots == 1
        engine.submit(job(tmp_path, "says", variable="CUDA_VISIBLE_DEVICES"))
        assert all_ended(engine, 1).popitem()[1].reason is None
        assert [path.read_text() for path in tmp_path.glob("fit/*/said")] == ["0"]
    with pytest.raises(BadInput, match="no node of the Ray cluster has 2 CPUs for a trial"):
        Ray(address=cluster.address, gpus=0, threads=2).__enter__()


def began(out):
    return [line for path in out.glob("fit/*/began") for line in path.read_text().splitlines()]


@pytest.mark.slow
def test_a_cluster_that_is_not_there(monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_ADDRESS", "nonsense")
    with pytest.raises(BadInput, match=r"no Ray cluster at nonsense"):
        Ray().__enter__()


def test_options_that_cannot_be():
    with pytest.raises(BadInput, match="trials of 2 devices take whole GPUs"):
        open_engine("ray", devices=2, per_gpu=3)
    with pytest.raises(BadInput, match="are counts"):
        open_engine("ray", slots=0)


def test_without_ray(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(BadInput, match=r"engine ray needs ray: pip install 'bnonly\[ray\]'"):
        Ray().__enter__()
