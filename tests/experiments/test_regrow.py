"""Stage after stage: what follows from what, and the table of it all."""

from __future__ import annotations

import csv

from bnonly.cli import main
from experiments.grid import trials
from experiments.regrow import GROUPS, WAYS, stage_of


def test_stages_follow_each_other(tmp_path):
    assert main(["experiment", "run", "regrow", "--out", str(tmp_path), "--slots", "1"]) == 0
    found, groups = trials("regrow", "smoke", tmp_path), GROUPS.of("smoke")
    assert len(found) == 1 + len(WAYS) * len(groups)
    by_id = {trial.id: trial for trial in found}
    for trial in found:
        stage, config = stage_of(trial, found), trial.config
        assert config.group == ("bn", *groups)[stage] and trial.folder.result()
        if stage > 1:
            assert by_id[config.regrow.after].config.regrow.choose == config.regrow.choose
    rows = list(csv.DictReader((tmp_path / "regrow" / "regrow.csv").read_text().splitlines()))
    assert [sum(row["way"] == way for row in rows) for way in WAYS] == [1 + len(groups)] * len(WAYS)
    assert {row["redrawn"] for row in rows if row["way"] == "none"} == {"0"}
    assert (tmp_path / "regrow" / "regrow.svg").read_text().startswith("<svg")
