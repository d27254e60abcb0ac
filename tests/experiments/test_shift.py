"""The experiment of shifts: its stages are done once, and its tables say what the runs' files say."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd

from bnonly.cli import main
from bnonly.data.digits import digits
from experiments.grid import trials
from experiments.shift_objects import NAME, answered, objects
from experiments.tasks import unanswered


def test_tables_of_runs(tmp_path):
    given = ["training.epochs=1", "group=bn"]
    sets = [part for text in given for part in ("--set", text)]
    assert main(["experiment", "run", "shift", "--out", str(tmp_path), "--slots", "1", *sets]) == 0
    found = trials("shift", "smoke", tmp_path, given)
    assert [trial.config.network.antialias for trial in found] == ["none", "bin5"]
    table = pd.read_csv(tmp_path / "shift" / "shift.csv").set_index("antialias", drop=False)
    assert table["run"].nunique() == 2 and (table["images"] == 360).all() and (table["most"] == 2).all()
    similar = pd.read_csv(tmp_path / "shift" / "similarity.csv")
    for trial in found:
        assert not unanswered(trial.config, trial.plain_stages)
        other = [{"task": "shift", "options": {"most": 1}}]
        assert unanswered(trial.config, other) == other
        facts, own = trial.folder.shift(), table.loc[trial.config.network.antialias]
        assert own["consistency"] == facts["consistency"]["mean"] and own["top1"] == facts["top1"]["mean"]
        assert own["unmoved_top1"] == own["test_top1"] == trial.folder.result()["test"]["top1"]
        study = json.loads((trial.folder.path / NAME).read_text())
        assert answered(trial.config, trial.folder, {}) and set(study["layers"]) == {"logits", "pooled features"}
        assert np.shape(study["layers"]["logits"]["maps"]) == (5, 9, 9)
        rows = similar[similar["antialias"] == trial.config.network.antialias]
        assert len(rows) == 10 and rows["probe_rows"].between(0.3, 1).all()
        (trial.folder.path / NAME).write_text("{}")
        assert not answered(trial.config, trial.folder, {})
    for name in ("shift", "right_by_shift", "similarity", "max_pool"):
        assert (tmp_path / "shift" / f"{name}.svg").read_text().startswith("<svg")


def test_objects_are_ink_on_the_ground():
    mean, std = (0.5, 0.25, 0.125), (1.0, 0.5, 0.25)
    found = objects(8, mean, std)
    test = digits().test
    for digit, patch in enumerate(found):
        image = test.pixels[list(test.labels).index(digit)]
        for channel in range(3):
            wanted = (1 - image[channel] / 255 - mean[channel]) / std[channel]
            np.testing.assert_allclose(patch[channel].numpy(), wanted, atol=1e-5)
    assert len(found) == 10 and objects(16, mean, std)[0].shape == (3, 16, 16)
