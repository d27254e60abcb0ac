"""Runs that differ in how they are computed alone: whose differences are taken, and what is drawn."""

from __future__ import annotations

import csv

import pandas as pd
import pytest

from bnonly.cli import main
from bnonly.config.training import SPEEDS
from experiments.fidelity import MODES
from experiments.fidelity_tables import compared


def test_modes_are_those_of_speed():
    for name in ("paper", "fast"):
        assert MODES[name] == tuple(SPEEDS[name][field] for field in ("precision", "memory_format", "engine"))


def test_differences_are_of_the_same_seed():
    def run(mode, seed, top1, below, network="a"):
        return {"network": network, "mode": mode, "seed": seed, "epochs": 3, "top1": top1, "gamma_below_0.01": below,
                "command": "c"}  # fmt: skip

    table = pd.DataFrame(
        [run("paper", 0, 0.5, 0.1), run("paper", 1, 0.6, 0.2), run("fused", 0, 0.52, 0.1), run("fused", 1, 0.56, 0.3),
         run("fast", 1, 0.7, 0.2), run("fused", 0, 0.9, 0.5, "b")]
    )  # fmt: skip
    rows = compared(table).set_index(["network", "mode"])
    fused = rows.loc[("a", "fused")]
    assert (fused["n"], fused["pairs"]) == (2, 2) and fused["top1_mean"] == pytest.approx(0.54)
    assert fused["top1_minus_paper_mean"] == pytest.approx(-0.01)
    assert fused["top1_minus_paper_sd"] == pytest.approx(0.06 / 2**0.5)
    assert fused["gamma_below_0.01_minus_paper_mean"] == pytest.approx(0.05)
    assert rows.loc[("a", "fast"), "top1_minus_paper_mean"] == pytest.approx(0.1)
    assert rows.loc[("b", "fused"), "pairs"] == 0 and pd.isna(rows.loc[("b", "fused"), "top1_minus_paper_mean"])
    assert rows.loc[("a", "paper"), "top1_minus_paper_mean"] == 0


def test_a_run_in_each_mode(tmp_path):
    given = ["--set", "training.epochs=1", "--set", "seed=0", "--slots", "1"]
    assert main(["experiment", "run", "fidelity", "--out", str(tmp_path), *given]) == 0
    rows = list(csv.DictReader((tmp_path / "fidelity" / "fidelity.csv").read_text().splitlines()))
    assert [row["mode"] for row in rows] == list(MODES)
    runs = list(csv.DictReader((tmp_path / "fidelity" / "fidelity_runs.csv").read_text().splitlines()))
    assert float(runs[0]["train_loss"]) == pytest.approx(float(runs[1]["train_loss"]), rel=1e-3)
    assert float(runs[0]["train_loss"]) == pytest.approx(float(runs[2]["train_loss"]), rel=3e-2)
    assert (tmp_path / "fidelity" / "fidelity.svg").read_text().startswith("<svg")
