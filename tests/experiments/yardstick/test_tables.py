"""The tables say what was measured: ratios within a round, the least time by hand, and what it was measured with."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from bnonly.config import RunConfig
from experiments.grid import FIT, Trial
from experiments.yardstick import answers, tables
from experiments.yardstick.sides import config_of, unavailable, wanted

OPTIONS = {"sides": ["plain", "paper", "graphs"], "rounds": 3, "seconds": 0.5}
COMMAND = "bnonly experiment run speed --preset cpu"


def one(rates, group="bn", ours=True, saved=100e6):
    return {
        "group": group,
        "ours": ours,
        "compile": None,
        "training": {"precision": "fp32", "memory_format": "contiguous", "engine": "modules"},
        "first_step": 4.0,
        "memory": {"peak": 800e6, "of": "resident", "before": 500e6},
        "saved": saved,
        "blocks": [{"images": 2 * rate, "seconds": 2.0} for rate in rates],
    }


def facts(config):
    """1 GFLOP and, in float32, 4 MB an image; a machine of 2 TFLOP/s that slows down to 1, and 100 GB/s."""
    need = {"forward": 5 * 10**8, "for_inputs": 0, "for_weights": 0}
    need |= {"values_forward": 10**6, "values_backward": 0, "weights": 0}
    machine = [{"fp32": peak, "bytes": 1e11} for peak in (2e12, 2e12, 1e12)]
    made = {name: name for name in (*tables._MADE, *tables._VERSIONS)} | {"device": "cpu"}
    return {
        "version": 1,
        "run": config.id,
        "asked": OPTIONS,
        "on": {"threads": None, "device": "auto"},
        "config": config.plain(),
        "images": "digits",
        "made": made | {"began": "2026-01-02T03:04:05Z"},
        "machine": machine,
        "sides": {"plain": one([100, 50, 100], ours=False), "paper": one([200, 200, 100], saved=25e6)},
        "unavailable": {"graphs": "CUDA graphs need a GPU"},
        "died": {},
        "needs": {"bn": need},
    }


@pytest.fixture
def trial(tmp_path):
    config = RunConfig.model_validate({"out": tmp_path, "network": {"name": "cifar_resnet8"}, "tracking": "off"})
    trial = Trial(config, (FIT,))
    trial.folder.path.mkdir(parents=True)
    (trial.folder.path / "speed.json").write_text(json.dumps(facts(config)))
    pieces = {"rounds": 3, "rows": [{"ours": "a", "ratio_median": "0.9"}]}
    (trial.folder.path.parent / "pieces.json").write_text(json.dumps(pieces))
    return trial


def test_rows_of_sides(trial):
    plain, paper, graphs = tables.rows(facts(trial.config), COMMAND)
    assert paper["images_per_second"] == 200 and paper["batch_ms"] == 1e3 * 128 / 200
    assert (paper["ratio_to_plain"], plain["ratio_to_plain"]) == (2, 1)  # the median of 2, 4 and 1, not of medians
    assert (paper["ratio_to_plain_lower_quartile"], paper["ratio_to_plain_upper_quartile"]) == (1.5, 3)
    assert (paper["saved_mb"], paper["saved_to_plain"]) == (25, 0.25)
    assert (paper["peak_mb"], paper["peak_of"], paper["before_steps_mb"]) == (800, "resident", 500)
    assert graphs["note"] == "CUDA graphs need a GPU" and graphs["images_per_second"] is None
    assert plain.keys() == paper.keys() == graphs.keys()


def test_the_roofline_by_hand(trial):
    """An image needs 1 GFLOP: 0.5, 0.5 and 1 ms; its 4 MB take 0.04 ms."""
    plain, paper, _ = tables.rows(facts(trial.config), COMMAND)
    assert (paper["mflop_image"], paper["mb_image"]) == (1000, 4)
    assert paper["least_batch_ms"] == pytest.approx(128 * 0.5) and paper["bound_by"] == "operations"
    assert paper["share_reached"] == pytest.approx(0.1)  # 200 images a second where 2000 could be
    assert plain["share_reached"] == pytest.approx(0.05)
    slow = facts(trial.config)
    slow["machine"] = [{"fp32": 2e12, "bytes": 1e9}] * 3
    paper = tables.rows(slow, COMMAND)[1]
    assert paper["bound_by"] == "bytes" and paper["share_reached"] == pytest.approx(200 * 4e-3)


def test_rows_of_pairs(trial):
    (pair,) = tables.ratios(facts(trial.config), COMMAND)
    assert (pair["side"], pair["beside"], pair["ratio"], pair["saved_ratio"]) == ("paper", "plain", 2, 0.25)


def test_files_hold_what_it_was_measured_with(trial, tmp_path):
    made = tables.files([trial], COMMAND)
    figures = [f"{name}.{kind}" for name in ("speed", "roofline") for kind in ("svg", "png")]
    assert set(made) == {"speed.csv", "speed_ratios.csv", "pieces.csv", *figures}
    for name in ("speed.csv", "speed_ratios.csv"):
        path = tmp_path / name
        path.write_bytes(made[name])
        table = pd.read_csv(path)
        columns = ["device", "device_name", "threads", "torch", "torchvision", "git", "date", "command", "batch"]
        assert table[columns].notna().all().all()
        assert set(table["date"]) == {"2026-01-02"} and set(table["command"]) == {COMMAND}
    wanted = ["images_per_second", "peak_mb", "saved_mb", "first_step_s", "share_reached", "precision"]
    assert set(wanted) <= set(pd.read_csv(tmp_path / "speed.csv").columns) | {"speed_ratios.csv"}
    assert made["speed.svg"].startswith(b"<svg") and b"paper" in made["speed.svg"]
    (trial.folder.path / "speed.json").unlink()
    assert tables.files([trial], COMMAND) == {}


def test_answered_is_by_options_and_by_what_can_be_had(trial, monkeypatch):
    config, folder = trial.config, trial.folder
    assert answers.answered(config, folder, OPTIONS)
    assert not answers.answered(config, folder, OPTIONS | {"rounds": 4})
    assert not answers.answered(RunConfig(), folder, OPTIONS)
    fewer = config.model_copy(update={"training": config.training.model_copy(update={"threads": 1})})
    assert fewer.id == config.id and not answers.answered(fewer, folder, OPTIONS)
    monkeypatch.setattr(answers, "unavailable", lambda name, device: None)  # as after an upgrade
    assert not answers.answered(config, folder, OPTIONS)
    assert answers.pieces_answered(config, folder, {"rounds": 3})
    assert not answers.pieces_answered(config, folder, {"rounds": 4})


def test_sides_are_fields_of_the_same_run():
    config = RunConfig.model_validate({"speed": "fast", "group": "random:2", "training": {"batch_size": 7}})
    plain, fast, beside = (config_of(name, config) for name in ("plain", "fast", "paper@bn"))
    assert (plain.training.precision, plain.training.memory_format) == ("fp32", "contiguous")
    assert (fast.training.precision, fast.group, beside.group) == ("bf16", "random:2", "bn")
    assert {one.training.batch_size for one in (plain, fast, beside)} == {7}
    assert wanted(["plain", "paper@bn"], "bn") == ["plain"]
    assert wanted(["plain", "paper@bn"], "random:2") == ["plain", "paper@bn"]
    assert unavailable("graphs", "cpu") == "CUDA graphs need a GPU" and unavailable("graphs", "cuda") is None
