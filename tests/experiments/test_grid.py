"""Grids expand to the runs that their files promise; every experiment of the laboratory does."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest

from bnonly.config.layers import nested
from bnonly.errors import BadInput
from experiments import grid
from experiments.grid import By, Experiment, experiment, trials
from experiments.pictures import CLASSES

OUT = Path("runs")
PAPER_DEPTHS = (14, 32, 56, 110, 218, 434, 866)
PAPER_WIDTHS = (1, 2, 4, 8, 16, 32)


def expanded(name: str, preset: str, *given: str):
    path = ("data.path=/data",) if name == "imagenet" and preset != "smoke" else ()
    return trials(name, preset, OUT, (*given, *path))


@pytest.mark.parametrize(("name", "preset"), list(product(grid.EXPERIMENTS, grid.PRESETS)))
def test_every_experiment_expands_to_runs_of_its_own_once_each(name, preset):
    found = expanded(name, preset)
    assert len(found) == len({trial.id for trial in found}) == sum(1 for _ in experiment(name).points(preset))
    assert {trial.config.out for trial in found} == {OUT}
    assert {trial.config.experiment for trial in found} <= {name, *experiment(name).shares}


@pytest.mark.parametrize("name", grid.EXPERIMENTS)
def test_smoke_needs_no_download_and_no_minutes(name):
    found = expanded(name, "smoke")
    assert len(found) <= 12
    assert all(trial.config.training.epochs == 2 and trial.config.tracking == "off" for trial in found)
    assert {trial.config.data.source for trial in found} == {"imagenet" if name == "imagenet" else "digits"}


def test_the_papers_grids():
    """Depths, widths, epochs, batch and seeds of Frankle et al. (2021), and ImageNet's own recipe."""
    for name, networks in (
        ("depth", [f"cifar_resnet{depth}" for depth in PAPER_DEPTHS]),
        ("width", [f"cifar_wrn14_{factor}" for factor in PAPER_WIDTHS]),
    ):
        found = expanded(name, "paper")
        assert {(t.config.network.name, t.config.group, t.config.seed) for t in found} == set(
            product(networks, ("bn", "bn+output", "output", "random:2", "all"), range(5))
        )
        assert {(t.config.training.epochs, t.config.training.batch_size) for t in found} == {(160, 128)}
    recipe = {(t.config.training.epochs, t.config.training.batch_size) for t in expanded("imagenet", "paper")}
    assert recipe == {(90, 1024)}


def test_seeds_vary_slowest():
    """So that the first fifth of the paper's runs is a whole figure."""
    seeds = [trial.config.seed for trial in expanded("depth", "paper")]
    assert seeds == sorted(seeds)


@pytest.mark.parametrize("preset", grid.PRESETS)
def test_runs_that_are_the_same_are_kept_once(preset):
    home = {trial.id: trial.folder.path for name in ("depth", "width") for trial in expanded(name, preset)}
    for name in ("clamp", "gamma_sparsity"):
        assert all(trial.folder.path == home[trial.id] for trial in expanded(name, preset))
    shared = [trial for trial in expanded("groups", preset) if trial.id in home]
    assert shared and all(trial.folder.path == home[trial.id] for trial in shared)


def test_set_wins_over_presets_and_axes():
    found = expanded("depth", "cpu", "training.epochs=7", "seed=3", "network.name=cifar_resnet8")
    assert {(t.config.training.epochs, t.config.seed, t.config.network.name) for t in found} == {
        (7, 3, "cifar_resnet8")
    }
    assert [trial.config.group for trial in found] == ["bn", "bn+output", "output", "random:2", "all"]


def test_where_a_run_is_kept_is_not_in_its_id():
    here, there = trials("depth", "smoke", Path("a")), trials("depth", "smoke", Path("b"))
    assert [trial.id for trial in here] == [trial.id for trial in there]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("training.lrr=1", "did you mean lr?"),
        ("seed=-1", "--set: seed = -1"),
        ("lr", "sets nothing"),
        ("=1", "sets nothing"),
        ("training.lr=[1", "is no YAML"),
        ("out=elsewhere", "--out"),
        ("experiment=x", "not for --set"),
    ],
)
def test_bad_fields_are_refused_in_a_sentence(given, says):
    with pytest.raises(BadInput) as refused:
        trials("depth", "smoke", OUT, [given])
    assert says in str(refused.value) and "\n" not in str(refused.value)


def test_unknown_names_are_refused():
    with pytest.raises(BadInput, match="did you mean depth"):
        trials("depht", "smoke", OUT)
    with pytest.raises(BadInput, match="smoke, cpu, gpu, paper"):
        trials("depth", "laptop", OUT)


def test_fields_that_belong_together_and_points_left_out():
    what = Experiment(
        question="", expect="", figures=(),
        axes={
            "network.gamma, network.beta": [("ones", "zeros"), ("ones", "ones")],
            "group": By(smoke=["bn"], cpu=["bn", "all"], paper=["all"]),
        },
        where=lambda point: (point["network.beta"], point["group"]) != ("ones", "all"),
    )  # fmt: skip
    assert list(what.points("cpu")) == [
        {"network.gamma": "ones", "network.beta": "zeros", "group": "bn"},
        {"network.gamma": "ones", "network.beta": "zeros", "group": "all"},
        {"network.gamma": "ones", "network.beta": "ones", "group": "bn"},
    ]
    assert [point["group"] for point in what.points("gpu")] == ["all"]


def test_dotted_names():
    assert nested({"a.b": 1, "a.c.d": 2, "e": 3}) == {"a": {"b": 1, "c": {"d": 2}}, "e": 3}


def test_pictures_of_the_smoke_preset(tmp_path):
    what = experiment("imagenet")
    what.prepare("smoke", tmp_path)
    fields = what.located("smoke", tmp_path)
    made = sorted(fields["data.path"].rglob("*.png"))
    assert {path.parent.name for path in made} == set(CLASSES) and len(made) == len(CLASSES) * 32
    before = {path: path.read_bytes() for path in made}
    assert len(set(before.values())) == len(made)
    what.prepare("smoke", tmp_path)
    assert {path: path.read_bytes() for path in made} == before
    what.prepare("paper", tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize(
    ("name", "text", "field"),
    [
        ("recipe", "training.epochs=2", "training.epochs"),
        ("recipe", "training.lr=1", "training.lr"),
        ("regrow", "group=all", "group"),
        ("norm_only", "data={holdout: 0}", "data.holdout"),
    ],
)
def test_fields_by_which_a_grid_grows_cannot_be_set(name, text, field, tmp_path):
    with pytest.raises(BadInput, match=rf"--set {field} is not for --set: {name} varies it"):
        trials(name, "smoke", tmp_path, [text])
