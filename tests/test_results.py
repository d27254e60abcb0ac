"""Results kept in the repository: whole, honest about how they were made, and what the README says of them."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from analysis.settings import shape

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "experiments" / "results"
TABLES = sorted(RESULTS.rglob("*.csv"))
RUNS = sorted(RESULTS.rglob("runs.csv"))
_TRIAL = ["network", "group"]
_SCORES = (
    ("super-resolution", "psnr", 1, ".2f"),
    ("super-resolution", "ssim", 1, ".3f"),
    ("segmentation", "miou", 100, ".1f"),
    ("depth", "relative", 1, ".3f"),
)


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


def _shown(document: str, name: str, first: str = "network") -> list[list[str]]:
    """Of a document's table between markers all cells, the heads first."""
    block = (ROOT / document).read_text().split(f"<!-- {name} -->\n")[1].split(f"<!-- /{name} -->")[0]
    lines = block.strip().splitlines()
    heads, _, *rows = [[cell.strip(" `%") for cell in line.strip("|").split("|")] for line in lines]
    assert {len(row) for row in rows} == {len(heads)} and heads[0] == first
    return [heads, *rows]


def test_the_readmes_table_is_that_of_the_runs():
    heads, *rows = _shown("README.md", "results")
    runs = pd.read_csv(RESULTS / "depth" / "runs.csv")
    shown = {(row[0], group): row[place + 1] for row in rows for place, group in enumerate(heads[1:])}
    assert shown == {(run.label, run.group): f"{100 * run.top1:.1f}" for run in runs.itertuples()}


def test_the_readmes_sentence_on_the_papers_schedule_is_that_of_the_runs():
    said = re.search(
        r"(\w+) seeds\s+of ResNet-14 with bn\s+reach ([\d.]+) %.*?, (\d+) % of\s+their gammas are below 0.01",
        (ROOT / "README.md").read_text(),
        re.DOTALL,
    )
    runs = pd.read_csv(RESULTS / "paper" / "depth" / "runs.csv")
    own = runs[(runs["label"] == "ResNet-14") & (runs["group"] == "bn")]
    count = ("no", "one", "two", "three", "four", "five")[len(own)]
    means = f"{100 * own['top1'].mean():.1f}", f"{100 * own['gamma_below_0.01'].mean():.0f}"
    assert said is not None and said.groups() == (count, *means)


def test_the_table_of_speeds_is_that_of_the_trials():
    heads, *rows = _shown("docs/speed.md", "reached")
    table = pd.read_csv(RESULTS / "speed" / "speed.csv")
    trials = {(shape(name).label, group): own.set_index("side") for (name, group), own in table.groupby(_TRIAL)}
    assert len(rows) == len(trials)
    for name, group, plain, *values in rows:
        own = trials[name, group]
        assert plain == f"{own.loc['plain', 'images_per_second']:.0f}"
        for head, value in zip(heads[3:], values, strict=True):
            kept, side = head.startswith("kept, "), head.removeprefix("kept, ").strip("`")
            number = own.loc[side, "saved_to_plain" if kept else "ratio_to_plain"]
            assert value == ("" if pd.isna(number) else f"{number:.2f}"), (name, group, head)


def test_the_table_of_memory_is_that_of_the_trials():
    heads, *rows = _shown("docs/speed.md", "peak")
    table = pd.read_csv(RESULTS / "peak_memory" / "peak_memory.csv")
    shown = {(row[0], side): value for row in rows for side, value in zip(heads[1:], row[1:], strict=True)}
    assert shown == {(shape(one.network).label, one.side): f"{one.peak_gib:.2f}" for one in table.itertuples()}


def test_the_table_of_shifts_is_that_of_the_runs():
    _, *rows = _shown("docs/shift.md", "found")
    table = pd.read_csv(RESULTS / "shift" / "shift.csv")
    for row, one in zip(rows, table.itertuples(), strict=True):
        consistency = f"{100 * one.consistency:.1f} ± {100 * one.consistency_se:.1f}"
        label = shape(str(one.network)).label
        assert row == [label, one.group, one.antialias, f"{100 * one.test_top1:.1f}", consistency]


def test_the_table_of_random_features_is_that_of_the_runs():
    _, *rows = _shown("docs/style.md", "found")
    table = pd.read_csv(RESULTS / "style" / "statistics.csv")
    kinds = dict(list(table.groupby("kind")))
    assert len(rows) == len(kinds)
    for kind, *values in rows:
        ends = [own for depth, own in kinds[kind].groupby("depth") if depth in (1, kinds[kind]["depth"].max())]
        plain, smooth = ([own[own["smooth"] == asked] for own in ends] for asked in (False, True))
        maxima = [own.groupby("seed")["max"].mean() for own in plain]
        assert values[:2] == [f"{own.mean():.1f} ± {own.std():.1f}" for own in maxima]
        assert values[2:] == [f"{own['entropy'].mean():.2f}" for own in (*plain, *smooth)]


def test_the_tables_of_perceptual_losses_are_those_of_the_runs():
    _, *rows = _shown("docs/perceptual.md", "tasks", "loss")
    table = pd.read_csv(RESULTS / "perceptual" / "perceptual.csv")
    for loss, *values in rows:
        own = dict(list(table[table["loss"] == loss].groupby("task")))
        for (task, score, scale, form), value in zip(_SCORES, values, strict=True):
            kept = scale * own[task][score]
            assert value == f"{kept.mean():{form}} ± {kept.std():{form}}", (loss, task)
    _, *rows = _shown("docs/perceptual.md", "grids", "loss")
    table = pd.read_csv(RESULTS / "perceptual" / "grids.csv").drop_duplicates("loss").set_index("loss")
    for loss, gain, published in rows:
        own = table.loc[loss]
        kept = "diverged" if own["diverged"] else f"{100 * own['gain']:+.1f} ± {100 * own['gain_sd']:.1f}"
        beside = own["slides_miou_percent"] - table.loc["pixel alone", "slides_miou_percent"]
        assert (gain, published) == (kept, "-" if pd.isna(beside) else f"{beside:+.2f}"), loss


def test_the_table_of_norms_is_that_of_the_runs():
    _, *rows = _shown("docs/norm_only.md", "found")
    table = pd.read_csv(RESULTS / "norm_only" / "best.csv")
    cells = {(shape(str(name)).label, group): own for (name, group), own in table.groupby(_TRIAL)}
    assert {(name, group) for name, group, *_ in rows} == cells.keys() and len(rows) == len(cells)
    for name, group, trained, how, top1, count in rows:
        own = cells[name, group]
        assert {trained} == {f"{each:,.0f}" for each in own["trained"]}
        assert {how} == {f"{one.optimizer} {one.lr:g}" for one in own.itertuples()}
        top1s = 100 * own["top1"]
        assert top1 == f"{top1s.mean():.1f} ± {top1s.std():.1f}" and count == str(len(own))


def test_what_is_said_of_vgg_is_of_the_runs():
    text = (ROOT / "docs" / "networks.md").read_text().split("## VGG")[1].split("\n## ")[0]
    said = re.search(
        r"([\d,]+) trained numbers of.*?reach ([\d.]+) %.*?reach\s+(\d+) to (\d+) %. ([\d.]+) % of.*?"
        r"< 0.1, ([\d.]+) % of.*?costs (\d+) points",
        text,
        re.DOTALL,
    )
    run = pd.read_csv(RESULTS / "vgg" / "clamp" / "runs.csv").iloc[0]
    clamped = pd.read_csv(RESULTS / "vgg" / "clamp" / "clamp_curves.csv").set_index(["way", "amount"])
    resnets = pd.read_csv(RESULTS / "depth" / "runs.csv").query("group == 'bn'")["top1"]
    assert said and said.groups() == (
        f"{run.trained_parameters:,.0f}",
        f"{100 * run.top1:.1f}",
        f"{100 * resnets.min():.0f}",
        f"{100 * resnets.max():.0f}",
        f"{100 * run['gamma_below_0.01']:.1f}",
        f"{100 * clamped.loc[('below', 0.1), 'share']:.1f}",
        f"{100 * clamped.loc[('random', 0.1), 'lost']:.0f}",
    )
    assert all(abs(clamped.loc[("below", amount), "lost"]) < 1e-3 for amount in (0.01, 0.1))
    assert clamped.loc[("largest", 0.1), "mean"] < 0.11


def test_pictures_that_documents_show_are_there():
    for document in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for name in re.findall(r"!\[[^]]*\]\(([^)]+)\)", document.read_text()):
            assert (document.parent / name).is_file(), f"{document.name}: {name}"
