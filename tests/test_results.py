"""Results kept in the repository: whole, honest about how they were made, and what the README says of them."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "experiments" / "results"
TABLES = sorted(RESULTS.rglob("*.csv"))
RUNS = sorted(RESULTS.rglob("runs.csv"))


@pytest.mark.parametrize("path", TABLES, ids=lambda path: str(path.relative_to(RESULTS)))
def test_tables_can_be_read_and_name_no_path(path):
    table = pd.read_csv(path)
    assert len(table) and table.columns.is_unique
    assert not re.search(r"(^|[\s\",=])/(tmp|work|home|root|Users)/", path.read_text())


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.parent.name)
def test_every_run_says_how_it_was_made(path):
    table = pd.read_csv(path)
    for name in ("device", "device_name", "precision", "seed", "schedule", "torch", "numpy", "git", "command"):
        assert table[name].notna().all(), name
    assert set(table["state"]) == {"done"} and table["top1"].between(0.05, 1).all()
    assert table["command"].str.startswith(f"bnonly experiment run {path.parent.name} ").all()


def test_the_readmes_table_is_that_of_the_runs():
    text = (ROOT / "README.md").read_text()
    block = text.split("<!-- results -->\n")[1].split("<!-- /results -->")[0].strip().splitlines()
    heads, _, *rows = [[cell.strip(" `%") for cell in line.strip("|").split("|")] for line in block]
    runs = pd.read_csv(RESULTS / "depth" / "runs.csv")
    assert {len(row) for row in rows} == {len(heads)} and heads[0] == "network"
    shown = {(row[0], group): row[place + 1] for row in rows for place, group in enumerate(heads[1:])}
    assert shown == {(run.label, run.group): f"{100 * run.top1:.1f}" for run in runs.itertuples()}


def test_pictures_that_documents_show_are_there():
    for document in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for name in re.findall(r"!\[[^]]*\]\(([^)]+)\)", document.read_text()):
            assert (document.parent / name).is_file(), f"{document.name}: {name}"
