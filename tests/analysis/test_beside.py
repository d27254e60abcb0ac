"""The neighbours in the report: what is shown where there is data, nothing where there is none, and hostile files."""

from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from analysis import neighbours
from analysis.frames import read
from analysis.neighbours import NEIGHBOURS
from analysis.neighbours.kept import Kept
from analysis.report import FILES, report
from tests.analysis.made import config, write_run
from tests.analysis.made_beside import png, write_norm_only, write_perceptual, write_shift, write_style

EVIL = "<script>alert(1)</script>$\\frac{$"


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """Something of every neighbour."""
    out = tmp_path_factory.mktemp("runs")
    for antialias, consistency in (("none", 0.25), ("bin5", 0.75)):
        for group in ("bn", "all"):
            run = config(out, "cifar_resnet8", group, experiment="shift", start={"antialias": antialias})
            write_shift(write_run(run, top1=0.5), run, consistency)
    write_norm_only(out)
    write_perceptual(out)
    write_style(out, ("resnet18", "vgg11"))
    return out


def alone(frames, **options):
    """The report without its own runs' figures, which take their time."""
    return report(replace(frames, runs=frames.runs.head(0)), "now", **options)


@pytest.fixture(scope="module")
def made(lab):
    return alone(read([lab]))


def csv(made, name):
    return pd.read_csv(io.BytesIO(made.files[name]))


def within(page, anchor):
    """The HTML of a neighbour's section, its parts included."""
    start = page.index(f'<section id="{anchor}">')
    depth = 0
    for found in re.finditer(r"<section|</section>", page[start:]):
        depth += 1 if found[0] == "<section" else -1
        if depth == 0:
            return page[start : start + found.end()]
    raise AssertionError("it does not end")


ANCHORS = {
    "norm_only": "other-networks-norm-only",
    "shift": "shift-stability",
    "perceptual": "perceptual-loss-in-random-features",
    "style": "style-transfer",
}


@pytest.mark.parametrize(("name", "figures", "tables"), [
    ("norm_only", 1, 1), ("shift", 4, 1), ("perceptual", 1, 3), ("style", 1, 1),
])  # fmt: skip
def test_each_has_a_page_of_figures_and_tables(made, name, figures, tables):
    whole = within(made.page, ANCHORS[name])
    assert whole.count("<svg") == figures == whole.count("</figure>") - whole.count("<img")
    assert whole.count("<table") == tables and "Missing" not in whole
    contents = made.page[: made.page.index("</nav>")]
    links = re.findall(rf'href="#({ANCHORS[name]}[^"]*)"', contents)
    assert len(links) == 1 + whole.count("<h3>") and all(f'id="{link}"' in made.page for link in links)


def test_files_beside_the_page_are_those_that_a_later_report_takes_away(made):
    assert set(made.files) <= FILES
    wanted = {"shift.csv", "shift_right_by_shift.svg", "shift_similarity.pdf", "shift_max_pool.csv", "norm_only.pdf"}
    wanted |= {"norm_only_sweep.csv", "norm_only_best.csv", "perceptual.csv", "perceptual_grids.csv"}
    assert wanted | {"style_sheet.png", "style_statistics.svg", "style_paintings.csv"} <= set(made.files)
    for name in ("shift.csv", "norm_only_best.csv", "perceptual.csv", "style_statistics.csv"):
        assert "command" not in csv(made, name) and (csv(made, name)["torch"] == "2.15.0").all()


def test_numbers_are_those_of_the_files(made):
    shown = csv(made, "shift.csv").set_index(["group", "antialias"])
    assert shown.loc[("bn", "bin5"), "consistency"] == 0.75 and shown.loc[("all", "none"), "consistency"] == 0.25
    assert shown["logits_probe"].tolist() == pytest.approx([0.8] * 4)
    diagonal = csv(made, "shift_right_by_shift.csv").query(
        "image == 'mean' and group == 'bn' and antialias == 'none'"
    )
    assert diagonal[["offset", "right"]].to_numpy().tolist() == [[-1, 0.1], [0, 0.5], [1, 0.9]]
    assert "75.0 ± 1.0 %" in within(made.page, "shift-stability")
    best = csv(made, "norm_only_best.csv")
    assert len(best) == 4 and set(best["lr"]) == {0.1} and "45.0" in within(made.page, ANCHORS["norm_only"])
    assert "71.25 [2nd]" in within(made.page, ANCHORS["perceptual"])
    assert csv(made, "style_paintings.csv")["kind"].tolist() == ["vgg11", "vgg11", "resnet18", "resnet18"]


def test_the_contact_sheet_is_pixels_with_words_for_them(made):
    image, alt = re.findall(r'<img src="data:image/png;base64,([^"]+)" alt="([^"]+)"', made.page)[0]
    assert base64.b64decode(image) == made.files["style_sheet.png"] and "vgg11; resnet18" in alt
    with Image.open(io.BytesIO(made.files["style_sheet.png"])) as sheet:
        shades = set(np.asarray(sheet.convert("RGB")).reshape(-1, 3)[:, 0].tolist())
    assert {50, 200} <= shades


def test_equal_folders_give_equal_bytes(lab, made):
    assert alone(read([lab])) == made


def test_nothing_is_said_or_opened_where_there_is_nothing(out, monkeypatch):
    monkeypatch.setattr(neighbours, "kept", lambda *_: pytest.fail("it opened a run's files for nothing"))
    frames = read([out])
    assert frames.neighbours == {}
    page = alone(frames, files=False).page
    assert "<section" not in page and not any(each.heading in page for each in NEIGHBOURS.values())


def test_trials_that_train_nothing_are_a_report_too(tmp_path):
    write_style(tmp_path)
    made = report(read([tmp_path / "style"]), "now")
    assert re.findall(r'<section id="([a-z-]+)"', made.page)[0] == "style-transfer"
    assert "Missing" not in made.page and not any(name.startswith("runs") for name in made.files)


def test_what_was_made_otherwise_is_not_averaged(tmp_path):
    write_perceptual(tmp_path, losses=({},))
    write_perceptual(tmp_path, steps=9)
    (tmp_path / "perceptual").rename(tmp_path / "kept")
    made = alone(read([tmp_path]))
    assert "Shown: steps 9, size 16, images 8, batch 8. 3 rows of other settings" in made.page
    assert len(csv(made, "perceptual.csv")) == 9 and csv(made, "perceptual_grids.csv")["n"].tolist() == [1] * 5


def test_a_copied_run_counts_once(lab, made, tmp_path):
    copy = tmp_path / "copy"
    run = config(copy, "cifar_resnet8", "bn", experiment="shift", start={"antialias": "none"})
    write_shift(write_run(run, top1=0.5), run, 0.25)
    assert len(csv(alone(read([lab, copy])), "shift.csv")) == len(csv(made, "shift.csv")) == 4


def test_files_that_hold_something_else_are_left_out_and_said(tmp_path):
    good = config(tmp_path, "cifar_resnet8", "bn", 0)
    write_shift(write_run(good), good, 0.5)
    wrong = ("{", "[]", '{"asked": 3}', "[" * 100_000)
    for seed, text in enumerate(wrong, 1):
        run = config(tmp_path, "cifar_resnet8", "bn", seed)
        path = write_run(run)
        write_shift(path, run, 0.9)
        (path / ("similarity.json" if seed == 1 else "shift.json")).write_text(text)
    ragged = config(tmp_path, "cifar_resnet8", "bn", 9)
    path = write_run(ragged)
    write_shift(path, ragged, 0.9)
    facts = json.loads((path / "shift.json").read_text())
    (path / "shift.json").write_text(json.dumps(facts | {"right": [[0.1], [0.2, 0.3]]}))
    frames = read([tmp_path])
    assert len(frames.notes) == 5 and all("does not hold what it should" in note for note in frames.notes)
    assert csv(alone(frames), "shift.csv")["seed"].tolist() == [0, 1]


def test_text_from_files_is_text(tmp_path):
    write_style(tmp_path, (EVIL, "vgg11"))
    write_perceptual(tmp_path, losses=({}, {"network": EVIL}, {"weights": EVIL}))
    for path in tmp_path.glob("*/*/*.json"):
        facts = json.loads(path.read_text())
        facts["environment"] |= {"device_name": EVIL, "torch": ["\x00"]}
        path.write_text(json.dumps(facts))
    made = alone(read([tmp_path]))
    assert "<script" not in made.page and "&lt;script&gt;" in made.page
    assert not any(b"<script" in data for name, data in made.files.items() if name.endswith(".svg"))


def test_what_is_no_png_is_not_shown(tmp_path):
    paintings = [b"", b"GIF89a", png(True)[:60], b"<svg onload='alert(1)'/>", _wide(5000)]
    for number, painting in enumerate(paintings):
        write_style(tmp_path, (f"vgg1{number}",), painting)
    frames = read([tmp_path])
    assert len(frames.notes) == 10 and all("no picture that can be shown" in note for note in frames.notes)
    page = alone(frames, files=False).page
    assert "<img" not in page and "onload" not in page and "no picture that can be shown" in page


def _wide(pixels):
    file = io.BytesIO()
    Image.new("RGB", (pixels, 1)).save(file, "PNG")
    return file.getvalue()


def test_of_a_picture_only_pixels_are_kept(tmp_path):
    write_style(tmp_path, painting=png(True, said="PAYLOAD"))
    made = alone(read([tmp_path]))
    assert b"PAYLOAD" not in made.files["style_sheet.png"]


def test_failed_runs_of_a_sweep_are_counted(tmp_path):
    run = write_norm_only(tmp_path)[1]  # the second rate of the first cell
    path = tmp_path / "norm_only" / run.id
    (path / "result.json").unlink()
    (path / "failure.json").write_text(json.dumps({"reason": "loss is nan", "final": True}))
    made = alone(read([tmp_path]))
    assert "(1 failed)" in made.page and "1 of 2" in within(made.page, ANCHORS["norm_only"])


def test_a_folder_of_another_run_is_no_answer(tmp_path):
    path = write_perceptual(tmp_path)
    other = config(tmp_path, "cifar_resnet14", "bn", 5, experiment="perceptual")
    assert NEIGHBOURS["perceptual"].read([Kept(other, path, frozenset(each.name for each in path.iterdir()))]) is None
