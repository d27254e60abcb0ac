"""The yardstick as a user runs it."""

from __future__ import annotations

import csv
import json

import pytest

from bnonly.cli import main
from experiments.grid import experiment, trials
from experiments.status import is_done


def read(path):
    return list(csv.DictReader(path.read_text().splitlines()))


@pytest.mark.slow
def test_the_smoke_preset(tmp_path, capsys):
    """Real sides in processes of their own, to the tables and figures; again: nothing to do."""
    assert main(["experiment", "run", "speed", "--out", str(tmp_path), "--set", "group=random:2"]) == 0
    folder = tmp_path / "speed"
    rows = {row["side"]: row for row in read(folder / "speed.csv")}
    assert set(rows) == {"plain", "paper", "paper@bn"}
    for row in rows.values():
        for name in ("images_per_second", "first_step_s", "peak_mb", "saved_mb", "mflop_image", "share_reached"):
            assert float(row[name]) > 0, name
        assert (row["device"], row["threads"], row["images"], row["rounds"]) == ("cpu", "1", "digits", "3")
        assert row["torch"] and row["date"] and row["command"].startswith("bnonly experiment run speed")
    assert (rows["paper@bn"]["trained"], rows["paper"]["trained"]) == ("bn", "random:2")
    pairs = {(row["side"], row["beside"]) for row in read(folder / "speed_ratios.csv")}
    assert pairs == {("paper", "plain"), ("paper@bn", "plain"), ("paper@bn", "paper")}
    assert len(read(folder / "pieces.csv")) == 2
    assert (folder / "speed.svg").exists() and (folder / "roofline.svg").exists()
    capsys.readouterr()
    assert main(["experiment", "run", "speed", "--out", str(tmp_path), "--set", "group=random:2"]) == 0
    assert "nothing to do" in capsys.readouterr().err
    assert main(["experiment", "status", "speed", "--json", "--out", str(tmp_path)]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert (told["done"], told["failed"], told["waiting"]) == (1, 0, 0)
    (trial,) = trials("speed", "smoke", tmp_path, ["group=random:2"])
    assert is_done(trial)


def test_the_grid_has_what_was_asked():
    """The networks and groups of the yardstick, two threads on a CPU, one trial at a time."""
    what = experiment("speed")
    assert what.slots == 1
    for preset in ("cpu", "gpu"):
        found = trials("speed", preset, "runs")
        networks = {trial.config.network.name for trial in found}
        assert networks == {"cifar_resnet14", "cifar_resnet56", "cifar_wrn14_4", "resnet18"}
        assert {trial.config.group for trial in found} == {"bn", "random:2", "output", "all", "none"}
        assert {trial.config.training.batch_size for trial in found if "cifar" in trial.config.network.name} == {128}
    assert {trial.config.training.threads for trial in trials("speed", "cpu", "runs")} == {2}
    assert "graphs" in what.stages_of("gpu")[0].options["sides"]
