"""Tables and figures of real runs, and the page that they stand on."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pandas as pd
import pytest

from analysis import figures
from analysis.frames import read
from analysis.page import Section, page
from bnonly.training.fit import fit
from tests.training import small


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    return {group: fit(small.config(out, group=group)) for group in ("bn", "all")}


def test_curves_are_the_metrics(runs):
    curves = read(folder.path for folder in runs.values()).of_runs(read([runs["bn"].path]).curves)
    assert len(curves) == 4
    assert curves.query("epoch == 2")["top1"].item() == runs["bn"].metrics()[2]["test"]["top1"]


def test_gammas_have_a_row_a_channel(runs):
    table = read([runs["bn"].path]).gammas
    assert len(table) == 336 and table["layer"].nunique() == 9


@pytest.mark.parametrize("name", ["learning_curves", "gamma_histograms"])
def test_figures_are_whole_svgs_that_scale(name, runs):
    drawing = figures.DRAWINGS[name](read(folder.path for folder in runs.values()))
    text = figures.svg(drawing.figure, "a title")
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
