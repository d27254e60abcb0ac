"""The smoke presets, as a user runs them: on data that needs no download, to the figures."""

from __future__ import annotations

import csv

import pytest

from experiments.grid import EXPERIMENTS, experiment, trials
from experiments.status import is_done


def run(name, out, *given):
    from bnonly.cli import main

    assert main(["experiment", "run", name, "--out", str(out), *(f"--set={text}" for text in given)]) == 0
    return out / name, trials(name, "smoke", out, given)


def test_an_experiment_on_runs_of_another(tmp_path, capsys):
    folder, found = run("clamp", tmp_path, "training.epochs=1", "network.name=cifar_resnet8")
    assert capsys.readouterr().out == f"{folder}\n"
    assert {trial.folder.path.parent.name for trial in found} == {"depth"}
    assert all(trial.folder.ablation() for trial in found)
    rows = list(csv.DictReader((folder / "clamp_curves.csv").read_text().splitlines()))
    assert {row["group"] for row in rows} == {"bn", "all"}
    assert (folder / "clamp_curves.svg").read_text().startswith("<svg")


def test_imagenet_on_made_up_pictures(tmp_path):
    _, (trial,) = run("imagenet", tmp_path, "training.epochs=1", "group=bn")
    result = trial.folder.result()
    assert len(result["classes"]) == 6 and result["trained_parameters"] == 9_600  # of the paper's table
    assert result["test"]["top5"] >= result["test"]["top1"]


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_smoke_preset(name, tmp_path, capsys):
    folder, found = run(name, tmp_path)
    assert all(is_done(trial) for trial in found)
    drawn = {path.stem for path in folder.glob("*.svg")}
    said = capsys.readouterr().err
    for figure in experiment(name).figures:
        assert figure in drawn or f"{figure} is not drawn" in said
    assert drawn
