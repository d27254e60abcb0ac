"""The report: means against numpy, the paper's points where they belong, what is missing, torn and hostile files."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from concurrent.futures import Executor
from concurrent.futures.process import BrokenProcessPool
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from analysis.command import main
from analysis.figures import DRAWINGS, FIGURES, NoData
from analysis.frames import read
from analysis.neighbours import NEIGHBOURS
from analysis.pictures import helping
from analysis.report import FILES, report
from analysis.settings import trained_parameters
from analysis.summary import by_group
from analysis.writing import write
from bnonly.cli import main as bnonly_main
from bnonly.errors import BadInput
from tests.analysis.made import TOP1, config, write_run

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def page(frames):
    return report(frames, "now", files=False).page


def labels(figure):
    return [axes.get_legend_handles_labels()[1] for axes in figure.axes]


def test_means_and_deviations_are_numpys(frames):
    table = by_group(frames)
    row = table.query("network == 'cifar_resnet14' and group == 'bn' and setting == 'CIFAR-10, 3 epochs'").iloc[0]
    assert (row["mean"], row["sd"], row["n"]) == pytest.approx((np.mean(TOP1), np.std(TOP1, ddof=1), 3))
    lonely = table.query("setting == 'CIFAR-10, 3 epochs, weight_decay 0'").iloc[0]
    assert lonely["n"] == 1 and np.isnan(lonely["sd"]) and lonely["mean"] == pytest.approx(0.3)


def test_every_state_is_counted(frames):
    assert frames.runs["state"].value_counts().to_dict() == {"done": 14, "running": 1, "failed": 1, "waiting": 1}
    fits = frames.missing.query("stage == 'fit'")
    assert sorted(fits["state"]) == ["failed", "running", "waiting"]
    assert (
        len(frames.missing.query("stage == 'measure'")) == 8
    )  # of twelve that are done, those without a measures.json


def test_the_papers_points_stand_only_beside_its_recipe(frames):
    table = by_group(frames)
    drawn = dict(zip(table["setting"] + table["group"] + table["network"], table["paper_percent"], strict=True))
    assert drawn["CIFAR-10, 3 epochsbncifar_resnet14"] == 48.2
    assert np.isnan(drawn["digits, 3 epochsbncifar_resnet14"])
    assert np.isnan(drawn["CIFAR-10, 3 epochs, weight_decay 0bncifar_resnet14"])
    for axes in FIGURES["accuracy_by_group"](frames).axes:
        has = any("paper" in label for label in axes.get_legend_handles_labels()[1])
        assert has == (axes.get_title(loc="left") == "ResNet-14, CIFAR-10, 3 epochs")


def test_digits_never_share_a_panel_with_cifar(frames):
    for name in ("learning_curves", "accuracy_by_depth", "gamma_histograms"):
        for axes in FIGURES[name](frames).axes:
            assert not (
                "digits" in axes.get_title(loc="left") and any("paper" in one for one in labels(axes.figure)[0])
            )


def test_a_short_schedule_says_so_in_each_legend(frames):
    for name in ("accuracy_by_depth", "accuracy_by_parameters", "learning_curves"):
        for shown in labels(FIGURES[name](frames)):
            own = [label for label in shown if "paper" not in label]
            assert own and all("3 epochs" in label for label in own)
            assert all("160 epochs" in label for label in shown if label not in own)


def test_trained_parameters_are_the_papers_table():
    counts = [trained_parameters(name, "bn") for name in ("cifar_resnet56", "cifar_resnet866", "cifar_wrn14_32")]
    assert counts == [4256, 64736, 35840]
    assert trained_parameters("cifar_resnet14", "bn+output+shortcut") == 1120 + 650 + 2560
    assert trained_parameters("cifar_resnet14", "random:2") is None


def test_figures_without_data_say_what_would_make_it(tmp_path):
    write_run(config(tmp_path, "cifar_resnet8", "output"), gammas=False)
    frames = read([tmp_path])
    for name in ("clamp_curves", "relu_zeros", "gamma_histograms", "accuracy_by_decay", "accuracy_by_start"):
        with pytest.raises(NoData, match="`bnonly "):
            DRAWINGS[name](frames)
    html = report(frames, "now", files=False).page
    assert html.count("bnonly ablate RUN") >= 2 and 'id="clamping-gamma-to-zero"' in html


def test_nothing_is_said_of_neighbours_that_nobody_asked(page):
    assert not any(each.heading in page for each in NEIGHBOURS.values())


def test_the_page_names_what_failed_and_what_is_missing(page):
    assert "no memory" in page and "killed" in page
    assert "3 of 15 trials have no result: 1 begun" in page and "bnonly experiment run made --preset cpu" in page
    assert "epoch 1 of 3" in page and "8 finished runs lack the stage measure" in page


class Addresses(HTMLParser):
    """Where a page would reach for something."""

    def __init__(self):
        super().__init__()
        self.found, self.tags = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.found += [value for name, value in attrs if name in ("src", "href", "xlink:href", "action", "data")]


def test_the_page_needs_no_network_and_no_script(page):
    reader = Addresses()
    reader.feed(page)
    assert reader.found and all(address.startswith(("#", "data:image/png;base64,")) for address in reader.found)
    assert not {"script", "link", "iframe", "object"} & set(reader.tags)
    assert not re.findall(r"(?:url\(|@import)\s*['\"]?https?:", page)
    anchors = {address for address in reader.found if address.startswith("#")}
    assert all(f'id="{anchor[1:]}"' in page for anchor in anchors)


def test_equal_runs_give_equal_bytes(frames, out):
    first, second = report(frames, "now"), report(read([out]), "now")
    assert first == second
    assert set(first.files) <= FILES and "clamp_curves.pdf" in first.files and "runs.csv" in first.files


def test_torn_and_vanishing_files_are_passed_over(tmp_path):
    whole = write_run(config(tmp_path, "cifar_resnet8", "bn", 0))
    paths = [write_run(config(tmp_path, "cifar_resnet8", "bn", seed), extras=True) for seed in range(1, 8)]
    metrics = (paths[0] / "metrics.jsonl").read_bytes()
    (paths[0] / "metrics.jsonl").write_bytes(metrics[:-40])
    (paths[0] / "result.json").unlink()
    (paths[1] / "result.json").write_text('{"config": [], "test": 7, "gamma": {"thresholds": [0.01], "below": []}}')
    for name in ("result.json", "config.yaml"):
        (paths[2] / name).unlink()
    (paths[3] / "result.json").write_text('{"id": "')
    (paths[4] / "ablation.json").write_text('{"points": [3, {"way": [], "top1": "x"}], "intact": null}')
    (paths[4] / "measures.json").write_text("[" * 100_000)
    (paths[5] / "gamma" / "epoch-003.safetensors").write_bytes(b"torn")
    (paths[5] / "metrics.jsonl").write_text('{"epoch": 0, "test": [1], "train": 5, "gamma": {"layers":{"a":')
    (paths[6] / "metrics.jsonl").write_text('{"epoch": 0, "test": {"top1": 1e999, "loss": ' + "9" * 4000 + "}}\n")
    (tmp_path / "made" / "grid.cpu.json").write_text('{"trials": [null, 4, {"id": "new", "config": 3}]}')
    frames = read([tmp_path])
    assert frames.curves.groupby("run").size().max() == 4
    torn = frames.runs[frames.runs["path"] == str(paths[0])].iloc[0]
    assert (torn["state"], torn["epoch"]) == ("running", 2)
    assert str(whole) in set(frames.done["path"])
    assert "holds no configuration" in report(frames, "now").page


def test_text_from_files_is_text(tmp_path):
    evil = "<script>alert(1)</script>$\\frac{$"
    path = write_run(config(tmp_path, "cifar_resnet8", "bn"))
    result = json.loads((path / "result.json").read_text())
    result["config"] |= {"group": evil, "network": {"name": "_" + evil}, "experiment": evil}
    result["environment"] |= {"device_name": evil, "torch": "\x00\u2603"}
    (path / "result.json").write_text(json.dumps(result))
    made = report(read([tmp_path]), "now")
    assert "<script" not in made.page and "&lt;script&gt;" in made.page
    assert not any(b"<script" in data for name, data in made.files.items() if name.endswith(".svg"))


def test_the_command_writes_page_and_files_and_replaces_its_own(out, tmp_path, capsys):
    target, beside = tmp_path / "r.html", tmp_path / "r_files"
    assert bnonly_main(["report", str(out / "made"), "-o", str(target)]) == 0
    assert capsys.readouterr().out.strip() == str(target)
    assert {path.suffix for path in beside.iterdir()} == {".svg", ".pdf", ".csv"}
    assert (beside / "learning_curves.pdf").read_bytes().startswith(b"%PDF")
    stale = {f"clamp_curves.{kind}" for kind in ("svg", "pdf", "csv")}
    assert stale <= {path.name for path in beside.iterdir()}
    (beside / "mine.txt").write_text("of the reader")
    write_run(config(tmp_path / "other", "cifar_resnet8", "bn"))
    assert main([str(tmp_path / "other"), "-o", str(target)]) == 0
    left = {path.name for path in beside.iterdir()}
    assert not stale & left and {"mine.txt", "learning_curves.pdf", "runs.csv"} <= left
    assert len((beside / "runs.csv").read_text().splitlines()) == 2
    assert main([str(out), "-o", str(target), "--no-files"]) == 0
    assert {path.name for path in beside.iterdir()} == left


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["nowhere"], "nowhere is not there"),
        (["empty"], "no run is in there"),
        (["file"], "file is a file"),
        (["empty", "-o", "file"], "ends in .html"),
        (["empty", "-o", "mine.html"], "is there and no report"),
    ],
)
def test_bad_input_is_one_sentence(argv, says, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "mine.html").write_text("<p>my own page")
    assert bnonly_main(["report", *argv]) == 2
    said = capsys.readouterr().err
    assert says in said and said.count("\n") == 1
    assert (tmp_path / "mine.html").read_text() == "<p>my own page" and not (tmp_path / "report.html").exists()


def test_a_folder_without_a_run_is_refused_from_python(tmp_path):
    with pytest.raises(BadInput, match="no run"):
        read([tmp_path])


def test_the_report_loads_no_torch(out, tmp_path):
    script = "import sys; from analysis.__main__ import _run; assert _run(['report', *sys.argv[1:]]) == 0\n"
    script += "assert 'torch' not in sys.modules, 'torch was imported'"
    command = [sys.executable, "-W", "error", "-c", script, str(out), "-o", "r.html", "--no-files"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, "r.html\n", "")


@pytest.mark.slow
def test_a_second_process_makes_the_same_report(out, frames):
    with helping() as helper:
        assert report(frames, "now", helper=helper) == report(read([out]), "now")


def test_a_second_process_that_dies_is_done_without(frames, page):
    class Dead(Executor):
        def submit(self, *_, **__):
            raise BrokenProcessPool("it was killed")

    assert report(frames, "now", files=False, helper=Dead()).page == page


def test_runs_of_a_holdout_are_not_said_to_be_of_test_images(tmp_path):
    write_run(config(tmp_path, "cifar_resnet8", "bn"))
    assert "All accuracies are those of test images." in report(read([tmp_path]), "now", files=False).page
    write_run(config(tmp_path, "cifar_resnet8", "bn", data={"holdout": 5000}), ended=1)
    page = report(read([tmp_path]), "now", files=False).page
    assert "1 run was evaluated on training images held out" in page and "held-out accuracy" in page


@pytest.mark.slow
def test_five_hundred_runs_of_160_epochs(tmp_path):
    for depth in (14, 20, 32, 44, 56):
        for group in ("bn", "all", "output", "bn+output", "none"):
            for seed in range(20):
                write_run(config(tmp_path, f"cifar_resnet{depth}", group, seed, epochs=160), gammas=seed < 5)
    began, spent = time.monotonic(), time.process_time()
    write([tmp_path], tmp_path / "r.html", tmp_path / "r_files")
    print(f"{time.monotonic() - began:.1f} s, {time.process_time() - spent:.1f} s of one core")
    assert "500 runs: 500 finished" in (tmp_path / "r.html").read_text()
    assert len((tmp_path / "r_files" / "curves.csv").read_text().splitlines()) == 1 + 500 * 161
