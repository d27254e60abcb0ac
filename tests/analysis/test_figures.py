"""How the figures look, by what matplotlib measures: nothing hides anything, and a group is the same everywhere."""

from __future__ import annotations

from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pytest
from safetensors.numpy import save_file

from analysis.figures import DRAWINGS, NoData
from analysis.frames import read
from analysis.settings import shape
from bnonly.errors import BadInput
from tests.analysis.made import config, write_grid, write_run


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def decays(tmp_path_factory):
    """Two depths at three weight decays, eight schedules, and a group with a long name."""
    out = tmp_path_factory.mktemp("decays")
    write_run(config(out, "cifar_resnet14", "bn+output+shortcut"))
    for network in ("cifar_resnet8", "cifar_resnet14"):
        for decay in (0.0, 1e-4, 1e-3):
            write_run(config(out, network, "bn", training={"weight_decay": decay}))
    for epochs in range(1, 9):
        write_run(config(out, "cifar_resnet14", "bn", epochs=epochs, seed=1), gammas=False)
    return read([out])


def titles(figure):
    return [axes.get_title(loc="left") for axes in figure.axes]


@pytest.mark.parametrize("name", DRAWINGS)
def test_nothing_written_lies_over_something_else_or_off_the_figure(name, frames, decays):
    for tables in (frames, decays):
        try:
            figure = DRAWINGS[name](tables).figure
        except NoData:
            continue
        figure.draw_without_rendering()
        panels = [axes for axes in figure.axes if axes.get_xlabel()]
        legends = [legend for legend in [*figure.legends, *(axes.get_legend() for axes in panels)] if legend]
        legends = [legend.get_window_extent() for legend in legends]
        written = [axes._left_title.get_window_extent() for axes in panels]
        written += [axes.xaxis.label.get_window_extent() for axes in panels]
        beside = [label for axes in panels for label in axes.get_yticklabels() if label.get_text()]
        assert all(label.get_window_extent().x0 >= 0 for label in beside), name
        for box in legends + written:
            assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 + 1 and box.y1 <= figure.bbox.y1 + 1
        places = legends + written + [axes.get_window_extent() for axes in panels]
        for place, box in enumerate(places):
            assert not any(box.overlaps(other) for other in places[place + 1 :]), (name, titles(figure))


def test_a_group_keeps_colour_and_line_in_all_panels(frames):
    figure = DRAWINGS["learning_curves"](frames).figure
    looks = {}
    for axes in figure.axes:
        for line in axes.get_lines():
            group = line.get_label().partition(",")[0]
            looks.setdefault(group, set()).add((line.get_color(), str(line._dash_pattern)))
    assert {"bn", "all"} <= set(looks) and all(len(each) == 1 for each in looks.values())
    assert len({look for each in looks.values() for look in each}) == len(looks)


def test_panels_with_the_same_entries_have_one_legend(frames):
    figure = DRAWINGS["clamp_curves"](frames).figure
    assert len(figure.axes) == 2 and [axes.get_legend() for axes in figure.axes] == [None, None]
    (legend,) = figure.legends
    shown = [text.get_text() for text in legend.get_texts()]
    assert len(shown) == len(set(shown)) == 8  # two groups, four ways


def test_clamping_begins_at_the_intact_network(tmp_path):
    write_run(config(tmp_path, "cifar_resnet8", "bn"), top1=0.5, extras=True)
    path = next(tmp_path.glob("made/*/ablation.json"))
    text = path.read_text()
    for name in ("amount", "share"):
        text = text.replace(f'"{name}": 0.0,', f'"{name}": 0.05,')
    path.write_text(text)
    drawing = DRAWINGS["clamp_curves"](read([tmp_path]))
    lines = [line for line in drawing.figure.axes[0].get_lines() if line.get_linestyle() != "None"]
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in lines] == [(0, 0.5)] * 3
    assert [text.get_text() for text in drawing.figure.axes[0].texts] == ["0.01"]
    # Two draws that differ by 0.01, one seed.
    random = drawing.table.query("way == 'random' and amount == 0.1").iloc[0]
    assert (random["n"], random["sd"]) == (2, pytest.approx(0.01 / np.sqrt(2)))


def test_gammas_axis_follows_the_data(tmp_path):
    path = write_run(config(tmp_path, "cifar_resnet8", "bn"))
    gamma = np.linspace(0, 1, 500, dtype=np.float32)
    save_file({"a.weight": gamma}, path / "gamma" / "epoch-003.safetensors")
    drawing = DRAWINGS["gamma_histograms"](read([tmp_path]))
    low, high = drawing.figure.axes[0].get_xlim()
    assert low == 0 and 0.95 < high <= 1
    counts = np.histogram(gamma.clip(0, high), np.append(drawing.table["from"], high))[0]
    assert drawing.table["share"].to_numpy() == pytest.approx(counts / 500)


def test_weight_decays_stand_in_their_own_figure(decays):
    drawing = DRAWINGS["accuracy_by_depth"](decays)
    assert titles(drawing.figure) == ["CIFAR-10, 3 epochs"]
    assert "2 settings that differ in weight decay alone" in drawing.caption
    assert drawing.table["setting"].nunique() > 3  # the table leaves none out
    (axes,) = DRAWINGS["accuracy_by_decay"](decays).figure.axes
    assert all(len(line.get_xdata()) == 3 for line in axes.get_lines() if line.get_label()[0] != "_")


def test_networks_without_a_width_are_in_no_figure_of_widths(tmp_path):
    for network in ("cifar_resnet8", "cifar_resnet8_w4", "mixer_w32_d2_p2_r8"):
        write_run(config(tmp_path, network, "all"), gammas=False)
    drawing = DRAWINGS["accuracy_by_width"](read([tmp_path]))
    assert drawing.table["width"].tolist() == [0.25, 1.0]


def test_the_table_has_what_the_panels_have_no_room_for(decays):
    drawing = DRAWINGS["learning_curves"](decays)
    assert len(drawing.figure.axes) == 6 and "7 more would be panels like these" in drawing.caption
    assert drawing.table.groupby(["label", "setting"]).ngroups == 13


def test_depths_are_those_of_the_names(frames):
    for axes in DRAWINGS["accuracy_by_depth"](frames).figure.axes:
        for line in axes.get_lines():
            if "paper" not in line.get_label() and line.get_label()[0] != "_":
                assert set(line.get_xdata()) <= {shape("cifar_resnet8").depth, shape("cifar_resnet14").depth}
                assert all(low < high for low, high in pairwise(line.get_xdata()))


def test_trials_that_train_nothing_are_no_runs(tmp_path):
    """As those of `speed`, whose folders hold no run and never will."""
    timed, trained = config(tmp_path, "cifar_resnet8", "bn", 7), config(tmp_path, "cifar_resnet8", "bn", 8)
    write_grid(tmp_path, [timed], experiment="speed", stages=("speed", "pieces"))
    with pytest.raises(BadInput, match="only trials that train nothing"):
        read([tmp_path])
    write_run(trained)
    frames = read([tmp_path])
    assert list(frames.runs["id"]) == [trained.id]
    assert frames.grids.empty and frames.missing.empty and not frames.notes
