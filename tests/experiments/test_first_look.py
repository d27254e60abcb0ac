"""The table of the first runs on CIFAR-10 says what its runs say."""

from __future__ import annotations

import csv

import pandas as pd

from experiments import first_look
from experiments.tables import write_table
from tests.training import small


def read(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def test_rows_repeat_their_runs(tmp_path):
    from bnonly.training.fit import fit

    run = small.config(tmp_path, training={"epochs": 1})
    assert first_look.row(run) is None
    result = fit(run).result()
    assert result is not None
    write_table([line for line in [first_look.row(run)] if line], tmp_path / "table.csv")
    (line,) = read(tmp_path / "table.csv")
    assert float(line["test_top1_percent"]) == round(100 * result["test"]["top1"], 2)
    assert (line["run"], line["paper_tag"], line["epochs"]) == (run.id, "", "1")


def test_the_readme_shows_the_committed_table():
    rows = read(first_look.TABLE)
    assert first_look.readme_block(rows) in first_look.README.read_text()


def test_the_readmes_block_is_replaced(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("a\n<!-- first_look -->\nold\n<!-- /first_look -->\nb\n")
    rows = read(first_look.TABLE)
    for _ in range(2):
        first_look.update_readme(rows, readme)
    text = readme.read_text()
    assert text.startswith("a\n<!-- first_look -->\n| group") and text.endswith("<!-- /first_look -->\nb\n")
    assert "old" not in text


def test_the_committed_table_is_of_this_grid():
    table = pd.read_csv(first_look.TABLE)
    assert list(zip(table["group"], table["epochs"], strict=True)) == first_look.GRID
    assert table["test_top1_percent"].between(5, 95).all()
    for field in ("device", "dtype", "seed", "schedule", "train_seconds", "torch", "git", "command"):
        assert table[field].notna().all()
    paper = table["paper_top1_percent_160_epochs"].notna()
    assert (table.loc[paper, "paper_tag"] == "D").all()
    assert table.loc[~paper, "paper_tag"].isna().all()
