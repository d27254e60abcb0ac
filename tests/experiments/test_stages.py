"""What a grid does with runs beyond training them: measures, ablations, figures."""

from __future__ import annotations

import csv
import json

import pytest

from bnonly.errors import BadInput
from bnonly.runs import RunFolder
from experiments.drawing import draw
from experiments.engines import Job
from experiments.grid import FIT, Experiment, Stage, Trial
from experiments.status import is_done
from experiments.tasks import TASKS
from experiments.work import perform
from tests.training import small

_ABLATE = Stage("ablate", {"thresholds": [0.5], "random": [0.25], "repeats": 2})


@pytest.fixture(scope="module")
def trial(tmp_path_factory):
    """A run of digits that was trained, measured and clamped as a worker does it."""
    config = small.config(tmp_path_factory.mktemp("runs"), training={"epochs": 1})
    trial = Trial(config, (FIT, Stage("measure"), _ABLATE))
    assert not is_done(trial)
    perform(Job(trial.id, config.plain(), trial.plain_stages))
    return trial


def test_stages_leave_their_files(trial):
    assert is_done(trial)
    folder = trial.folder
    assert folder.result() and folder.measures()
    points = folder.ablation()["points"]
    assert [(p["way"], p["amount"], p["seed"]) for p in points] == [
        ("below", 0.5, None),
        ("random", 0.25, 0),
        ("random", 0.25, 1),
    ]


def test_done_is_by_options(trial):
    """More thresholds, other shares: only what is asked for counts."""
    fewer = Stage("ablate", {"thresholds": [0.5]})
    more = Stage("ablate", {"thresholds": [0.5, 0.7]})
    assert is_done(Trial(trial.config, (FIT, fewer)))
    assert not is_done(Trial(trial.config, (FIT, more)))
    assert not is_done(Trial(trial.config, (FIT, Stage("measure", {"shares": [0.5]}))))


def test_another_runs_results_do_not_count(trial, tmp_path):
    other = small.config(tmp_path, seed=1, training={"epochs": 1})
    folder = RunFolder.of(other)
    folder.path.mkdir(parents=True)
    for name in ("measures.json", "ablation.json"):
        (folder.path / name).write_bytes((trial.folder.path / name).read_bytes())
    assert not TASKS["measure"].answered(other, folder, {})
    assert not TASKS["ablate"].answered(other, folder, dict(_ABLATE.options))


def test_an_unfinished_run_is_neither_measured_nor_clamped(tmp_path):
    config = small.config(tmp_path, seed=2)
    for name in ("measure", "ablate"):
        with pytest.raises(BadInput, match="no finished run"):
            TASKS[name].run(config, RunFolder.of(config), {})


def test_figures_stand_beside_their_numbers(trial, tmp_path, capsys):
    figures = ("learning_curves", "clamp_curves", "accuracy_by_decay")
    what = Experiment(question="", expect="", axes={}, figures=figures)
    draw(what, [trial], tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "runs.csv",
        *(f"{name}.{kind}" for name in figures[:2] for kind in ("svg", "png", "csv")),
    }
    assert "accuracy_by_decay is not drawn" in capsys.readouterr().err
    assert "path" not in (tmp_path / "runs.csv").read_text().partition("\n")[0].split(",")
    (row,) = csv.DictReader((tmp_path / "runs.csv").read_text().splitlines())
    result = json.loads((trial.folder.path / "result.json").read_text())
    assert row["id"] == trial.id and float(row["top1"]) == pytest.approx(result["test"]["top1"])
