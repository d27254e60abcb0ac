"""Tables and figures from run folders, finished, half-written and damaged."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pandas as pd
import pytest

from analysis import figures, tables
from analysis.page import Section, page
from bnonly.runs import RunFolder
from bnonly.training.fit import fit
from tests.training import small


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    return {group: fit(small.config(out, group=group)) for group in ("bn", "all")}


def test_curves_are_the_metrics(runs):
    table = tables.curves(runs.values())
    assert len(table) == 2 * (1 + 2 * 3)  # before the first epoch there is no training score
    row = table.query("group == 'bn' and split == 'test' and epoch == 2").iloc[0]
    assert row["top1"] == runs["bn"].metrics()[2]["test"]["top1"]


def test_half_written_runs_give_what_they_have(runs, tmp_path):
    copy = RunFolder(tmp_path / "copy")
    copy.path.mkdir()
    for name in ("config.yaml", "metrics.jsonl"):
        data = (runs["bn"].path / name).read_bytes()
        (copy.path / name).write_bytes(data if name == "config.yaml" else data[:-30])
    assert tables.curves([copy])["epoch"].max() == 2
    assert len(tables.curves([RunFolder(tmp_path / "nowhere")])) == 0
    assert len(tables.gammas(copy, 3)) == 0


def test_gammas_have_a_row_a_channel(runs):
    table = tables.gammas(runs["bn"], 3)
    assert len(table) == 336 and table["layer"].nunique() == 9
    assert set(tables.gammas(runs["bn"], 0)["beta"]) == {0.0}


def test_figures_are_whole_svgs_that_scale(runs):
    gammas = {group: tables.gammas(run, 3) for group, run in runs.items()}
    clamp = pd.DataFrame({"threshold": [0, 0.01, 0.1], "clamped_share": [0, 0.1, 0.5], "top1": [0.5, 0.5, 0.2]})
    for figure in (
        figures.learning_curves(tables.curves(runs.values())),
        figures.gamma_histograms(gammas),
        figures.clamp_curve(clamp),
    ):
        text = figures.svg(figure, "a title")
        root = ElementTree.fromstring(text.replace("xlink:href", "href"))
        assert root.get("viewBox") and root.get("width") is None
        assert 'aria-label="a title"' in text


def test_the_page_escapes_text_and_keeps_figures():
    html = page("a < b", "lead & more", [Section("h<i>", ["<script>"], figure="<svg></svg>", caption="c")], "foot")
    assert "a &lt; b" in html and "lead &amp; more" in html and "&lt;script&gt;" in html
    assert "<svg></svg>" in html and "<script>" not in html


def test_sizes_have_a_marker_a_way_and_a_colour_a_depth():
    ways = [
        ("folded", "raw"),
        ("folded", "mask"),
        ("folded", "rans"),
        ("full", "raw"),
        ("whole", "raw"),
        ("whole", "xz"),
    ]
    rows = [
        {
            "depth": depth,
            "epochs": 3,
            "form": form,
            "codec": codec,
            "dtype": "fp16",
            "clamp": clamp,
            "calibrated": calibrated,
            "bytes": 900,
            "top1": 0.5,
        }
        for depth in (8, 14)
        for form, codec in ways
        for clamp in ((0.0, 0.05) if form == "folded" else (None,) if form == "whole" else (0.0,))
        for calibrated in ((None, 1000) if codec == "rans" else (None,))
    ]
    figure = figures.accuracy_by_bytes(pd.DataFrame(rows))
    (axes,) = figure.axes
    drawn = sum(len(points.get_offsets()) for points in axes.collections)
    assert drawn == len(rows)
    assert axes.get_xscale() == "log"
    assert "ResNet-14, epochs: 3" in figures.svg(figure, "sizes")
