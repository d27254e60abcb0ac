"""Figures of shifts: the slides' signal by hand, and what stands in legends, titles and tables."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from analysis.figures import NoData, svg
from analysis.figures.shift import FILLS, consistency_by_accuracy, right_by_shift
from analysis.figures.shift_features import similarity_maps
from analysis.figures.shift_signal import SIGNAL, max_pool_of_a_signal, pooled
from analysis.published import CONSISTENT
from bnonly.networks.antialias import TAPS


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def row(group="bn", antialias="none", **changes):
    own = {"network": "resnet18", "group": group, "antialias": antialias, "data": "imagenet", "crop": 0, "epochs": 9}
    own |= {"seed": 0, "run": "a", "setting": "ImageNet, 9 epochs", "images": 1000, "border": "crop", "most": 31}
    return own | {"consistency": 0.5, "consistency_se": 0.01, "test_top1": 0.3} | changes


def test_the_signal():
    """Zhang (2019), figure 3: 0 1 0 1 becomes 1 1 1 1; with a triangle 0.5 1 0.5 1 becomes 0.75 four times."""
    signal = np.array(SIGNAL, float)
    moved = np.roll(signal, 1)
    assert pooled(signal, "none").tolist() == [0, 1, 0, 1] and pooled(moved, "none").tolist() == [1, 1, 1, 1]
    assert pooled(signal, "tri3").tolist() == [0.5, 1, 0.5, 1]
    assert pooled(moved, "tri3").tolist() == [0.75] * 4
    apart = {name: np.abs(pooled(signal, name) - pooled(moved, name)).max() for name in ("none", *TAPS)}
    assert apart["none"] == 1 and apart["bin5"] < apart["tri3"] < apart["none"]
    drawing = max_pool_of_a_signal()
    assert len(drawing.figure.axes) == 5 and len(drawing.table) == 2 * (8 + 4 * 4)


def test_published_numbers_are_verified_and_shown_for_imagenet_alone():
    assert {known.tag for known in CONSISTENT} == {"V"} and {known.antialias for known in CONSISTENT} == set(FILLS)
    for data, shown in (("imagenet", True), ("cifar10", False)):
        figure = consistency_by_accuracy(pd.DataFrame([row(data=data), row("all", "bin5", data=data)])).figure
        words = [text.get_text() for axes in figure.axes for text in axes.get_legend().get_texts()]
        assert {"bn, no filter", "all, bin5"} <= set(words)
        assert ("Zhang: all, tri3 [V]" in words) == shown


def test_panels_by_what_was_trained():
    rows = [row(crop=crop, data="cifar10", network=name) for crop in (0, 4) for name in ("cifar_resnet8", "resnet18")]
    assert len(consistency_by_accuracy(pd.DataFrame(rows)).figure.axes) == 4
    curves = [
        row(group, antialias, image=image, offset=offset, right=0.5 + offset / 10)
        for group in ("bn", "all")
        for antialias in FILLS
        for image in ("mean", "0")
        for offset in (-1, 0, 1)
    ]
    figure = right_by_shift(pd.DataFrame(curves)).figure
    assert len(figure.axes) == 2 and svg(figure, "x").startswith("<svg")


def test_maps():
    maps = np.full((2, 3, 3), 0.5)
    maps[0, 0, 0] = maps[1, 1, 1] = 1
    layer = {"anchors": ["top left", "centre"], "maps": maps.tolist(), "mean": [0.55, 0.56], "sd": [0.1, None]}
    layer |= {"rows": 0.9, "columns": 0.7, "unconverged": 0}
    study = row() | {"layers": {"logits": layer}, "side": 16, "patch": 8, "stride": 4, "objects": 10}
    drawing = similarity_maps([study, study | {"seed": 1}])
    assert len(drawing.figure.axes) == 3  # two anchors of the first seed and the bar
    assert drawing.figure.axes[0].get_title(loc="left").replace("\n", " ") == "bn, no filter, place guessed 80%"
    assert drawing.table["seed"].tolist() == [0, 0, 1, 1] and set(drawing.table["least"]) == {0.5}


@pytest.mark.parametrize("draw", [consistency_by_accuracy, right_by_shift])
def test_nothing_to_draw(draw):
    with pytest.raises(NoData):
        draw(pd.DataFrame())
    with pytest.raises(NoData):
        similarity_maps([])
