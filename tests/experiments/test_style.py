"""Random networks' statistics and paintings as stages of a trial: answered, repeated, put into tables and a sheet."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from experiments.drawing import neighbour_files
from experiments.engines import Job
from experiments.grid import PRESETS, Trial, trials
from experiments.status import Board, is_done
from experiments.style import EXPERIMENT, stages
from experiments.style_runs import _picture, found, place
from experiments.watch import HEADS, cells
from experiments.work import perform

KINDS = [("vgg11_bn", True, True), ("cifar_resnet8", False, False)]


@pytest.fixture(scope="module")
def trial(tmp_path_factory):
    (made,) = trials("style", "smoke", tmp_path_factory.mktemp("runs"))
    made = Trial(made.config, stages(KINDS, 48, 2))
    assert not is_done(made)
    perform(Job(made.id, made.config.plain(), made.plain_stages))
    return made


def test_stages_are_answered_by_facts_and_picture(trial):
    assert is_done(trial)
    first = trial.stages[0].options
    facts = found(trial.config, trial.folder, first)
    assert [row["layer"] for row in facts["statistics"]] == [f"relu{s}_{n}" for s, n in enumerate((1, 1, 2, 2, 2), 1)]
    with Image.open(place(trial.folder, first).with_suffix(".png")) as picture:
        assert picture.size == (48, 48)
    for name, photograph in zip(("content-48.png", "style-48.png"), load_sample_images().images, strict=True):
        with Image.open(trial.folder.path / name) as kept:
            error = np.asarray(kept, float) - np.asarray(_picture(photograph, 48)[0].permute(1, 2, 0)) * 255
        assert abs(error).max() <= 0.5
    picture = place(trial.folder, first).with_suffix(".png")
    kept = picture.read_bytes()
    picture.unlink()
    assert not is_done(trial)
    perform(Job(trial.id, trial.config.plain(), trial.plain_stages[:1]))
    assert picture.read_bytes() == kept  # painted anew, to the bit


def test_status_counts_stages_where_nothing_is_fitted(trial):
    longer = Trial(trial.config, stages(KINDS, 48, 3) + trial.stages, asked=trial.asked)
    board = Board([longer])
    board.look()
    (row,) = board.rows.values()
    assert (row.state, row.answered, row.stages) == ("waiting", len(trial.stages), 2 * len(trial.stages))
    shown = dict(zip(HEADS, cells(row), strict=True))
    assert (shown["network"], shown["group"], shown["epoch"]) == ("", "", "4/8 stages")
    assert row.name == f"seed 0 ({trial.id})"
    asked = Board([Trial(trial.config, trial.stages, asked=frozenset(["network.name"]))])
    assert asked.rows[trial.id].network == trial.config.network.name


def test_tables_and_sheet(trial):
    written = neighbour_files("style", [trial], "the command")
    assert set(written) == {"statistics.csv", "statistics.png", "statistics.svg", "paintings.csv", "sheet.png"}
    rows = list(csv.DictReader(io.StringIO(written["statistics.csv"].decode())))
    assert len(rows) == 2 * (5 + 3) and {row["kind"] for row in rows} == {
        "vgg11_bn, settled", "cifar_resnet8, no additions",
    }  # fmt: skip
    assert all(0 < float(row["entropy"]) <= 1 and row["command"] == "the command" and row["torch"] for row in rows)
    paintings = list(csv.DictReader(io.StringIO(written["paintings.csv"].decode())))
    assert len(paintings) == 4 and all(np.isfinite(float(row["loss"])) for row in paintings)
    with Image.open(io.BytesIO(written["sheet.png"])) as sheet:
        assert sheet.height > 300 and np.asarray(sheet.convert("L")).std() > 10
    assert neighbour_files("style", [Trial(trial.config, ())], "") == {}


def test_presets_ask_each_thing_once():
    for preset in PRESETS:
        asked = [str(stage.options) for stage in EXPERIMENT.stages_of(preset)]
        assert len(asked) == len(set(asked)) >= 4
