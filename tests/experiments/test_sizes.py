"""The table of sizes: what its files hold, how they are read back, and what is refused."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import bnonly
from bnonly.config.command_line import parse_run, run_parser
from bnonly.errors import BadInput, guarded
from bnonly.seedfile import probe
from experiments import sizes, sizes_reading, sizes_targets, sizes_timings, sizes_whole
from experiments.sizes_grid import ASKED, known_rows
from tests.seedfile.made import trained

CHANNELS, LAYERS, WEIGHTS = 336, 9, 78_042  # of ResNet-8


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    out = tmp_path_factory.mktemp("sizes")
    assert sizes.main(["--preset", "smoke", "--out", str(out)]) == 0
    return out


def read(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def test_every_file_is_read_back_by_another_process(smoke):
    rows = read(smoke / "sizes.csv")
    seeds, whole = [[row for row in rows if (row["form"] == "whole") == is_whole] for is_whole in (False, True)]
    assert len(seeds) == len(ASKED) - 6 == 34 and len(whole) == 6
    assert {row["verified"] for row in seeds} == {"True"} and {row["verified"] for row in whole} == {""}
    assert all(row["device"] and row["torch"] and row["command"] and row["computed_in"] == "fp32" for row in rows)
    for row in rows:
        assert float(row["times_smaller"]) == round(4 * WEIGHTS / int(row["bytes"]), 2)


def test_bytes_are_the_values_and_a_header(smoke):
    """Values a channel, and bytes a value, from the specification."""
    width, values = {"fp32": 4, "fp16": 2, "bf16": 2}, {"folded": 2, "full": 4}
    raw = [row for row in read(smoke / "sizes.csv") if row["codec"] == "raw" and row["form"] in values]
    assert len(raw) == 5
    for row in raw:
        payload = CHANNELS * width[row["dtype"]] * values[row["form"]]
        assert int(row["bytes"]) - int(row["header_bytes"]) == payload


def test_unrounded_files_lose_nothing(smoke):
    rows = read(smoke / "sizes.csv")
    result = json.loads(next((smoke / "seedfile").iterdir()).joinpath("result.json").read_text())
    exact = [row for row in rows if row["dtype"] == "fp32" and float(row["clamp"] or 0) == 0]
    assert len(exact) == 6
    for row in exact:
        assert float(row["top1"]) == pytest.approx(result["test"]["top1"])
        assert float(row["loss"]) == pytest.approx(result["test"]["loss"], rel=1e-4)
    # Rounding is seen: a coarse step changes the network.
    assert len({row["loss"] for row in rows if row["codec"] == "rans"}) > 10


def test_a_table_that_is_kept_is_not_measured_again(smoke, capsys, monkeypatch):
    before = (smoke / "sizes.csv").read_bytes()
    shown = read(smoke / "sizes.csv")
    assert [{key: str(row[key]) for key in row} for row in known_rows(smoke / "sizes.csv")] == shown
    monkeypatch.setattr(sizes_reading, "read_back", lambda run, digest, files: iter(()) if not files else 1 / 0)
    assert sizes.main(["--preset", "smoke", "--out", str(smoke), "--keep"]) == 0
    assert (smoke / "sizes.csv").read_bytes() == before


def test_targets_hold_each_file_against_its_limit(smoke):
    rows = read(smoke / "sizes_targets.csv")
    assert [(row["network"], row["codec"]) for row in rows][:2] == [("cifar_resnet56", "raw")] * 2
    for row in rows:
        assert row["within"] == str(int(row["bytes"]) <= int(row["limit"])) and row["trained"] == "False"
    assert (smoke / "sizes.png").stat().st_size > 10_000


def test_the_committed_table_is_whole_and_of_verified_files():
    rows = read(sizes.RESULTS / "sizes.csv")
    for depth in {row["depth"] for row in rows}:
        own = [row for row in rows if row["depth"] == depth]
        assert len(own) == 40 and len({row["run"] for row in own}) == 1
        assert all(row["verified"] == ("" if row["form"] == "whole" else "True") for row in own)
        exact = next(row for row in own if (row["form"], row["dtype"], row["codec"]) == ("folded", "fp32", "raw"))
        assert abs(float(exact["points_lost"])) <= 0.02  # an image or two of 10,000
        for field in ("device", "threads", "computed_in", "seed", "epochs", "torch", "git", "command"):
            assert all(row[field] for row in own)
    for row in read(sizes.RESULTS / "sizes_targets.csv"):
        assert row["within"] == str(int(row["bytes"]) <= int(row["limit"]))


def test_the_runs_are_those_of_bnonly_fit():
    command = "--group bn --network.name cifar_resnet56 --data.source cifar10 --data.path cifar --training.epochs 30 "
    command += "--training.memory_format channels_last --training.threads 2 --tracking off --experiment seedfile"
    made, _ = parse_run(run_parser("bnonly fit", ""), command.split())
    assert sizes.config(56, "cpu", made.data.path, made.out) == made
    assert made.id == "c91da5fbf5"


def test_int8_is_half_a_step_off_at_most():
    weights = np.random.default_rng(3).normal(size=(6, 4, 3, 3)).astype(np.float32)
    weights[2] = 0
    steps, scale = sizes_whole.quantised(weights)
    assert steps.dtype == np.int8 and (np.abs(steps).reshape(6, -1).max(1) == [127, 127, 0, 127, 127, 127]).all()
    error = np.abs(weights.astype(np.float64) - steps * scale.astype(np.float64)[:, None, None, None])
    assert (error.reshape(6, -1).max(1) <= 0.5001 * scale).all()


@pytest.mark.parametrize(("dtype", "tolerance"), [("fp32", 0), ("fp16", 5e-3), ("int8", 5e-2)])
@pytest.mark.parametrize("suffix", ["", ".xz"])
def test_a_whole_file_brings_back_every_weight(tmp_path, dtype, tolerance, suffix):
    net, path = trained().eval(), tmp_path / f"net.safetensors{suffix}"
    sizes_whole.write(net, path, dtype, "xz" if suffix else "raw")
    other = bnonly.network("cifar_resnet8", 8)
    sizes_whole.restore(other, path)
    images = torch.from_numpy(probe.images(1, (3, 32, 32), 4))
    with torch.no_grad():
        wanted, got = net(images), other.eval()(images)
    assert (got - wanted).abs().max() <= tolerance * wanted.abs().max()


def test_a_value_too_large_for_half_precision_stays(tmp_path):
    net = trained()
    layer = net.get_submodule("layer2.0.bn1")
    with torch.no_grad():
        layer.running_var[3] = 1e6
    sizes_whole.write(net, tmp_path / "net", "fp16", "raw")
    other = bnonly.network("cifar_resnet8", 8)
    sizes_whole.restore(other, tmp_path / "net")
    assert torch.equal(other.get_submodule("layer2.0.bn1").running_var, layer.running_var)


def test_a_whole_file_of_another_network_is_refused(tmp_path):
    sizes_whole.write(bnonly.network("cifar_resnet8", 0), tmp_path / "net", "fp32", "raw")
    with pytest.raises(BadInput, match="not a stored network"):
        sizes_whole.restore(bnonly.network("cifar_resnet14", 0), tmp_path / "net")


def test_the_reader_says_what_it_refuses_and_checks_the_images(smoke, tmp_path, monkeypatch, capsys):
    """The other process's work, in this one."""
    run = sizes.config(8, "smoke", None, smoke)
    good, bad = tmp_path / "good", tmp_path / "bad"
    data = bytearray(bnonly.save(trained(), good).data)
    data[-1] ^= 1
    bad.write_bytes(data)
    result = json.loads((smoke / "seedfile" / run.id / "result.json").read_text())
    request = {
        "run": run.plain(),
        "data_sha256": result["data_sha256"],
        "files": [[str(good), "seed"], [str(bad), "seed"]],
    }
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(request)))
    sizes_reading.main()
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert first["verified"] is True and 0 <= first["top1"] <= 1
    assert second["verified"] is False and second["top1"] is None and "payload_sha256" in second["why"]
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(request | {"data_sha256": "0" * 64})))
    with pytest.raises(BadInput, match="not hold the images"):
        sizes_reading.main()


def test_the_coarsest_step_that_loses_little():
    rows = [
        {
            "depth": 8, "codec": "rans", "clamp": clamp, "step": step, "calibrated": by, "verified": True,
            "points_lost": lost,
        }
        for clamp, step, by, lost in ((0, 4, "", 0.4), (0, 8, "", 0.3), (0, 8, 9, 0.1), (0, 16, "", 0), (1, 4, "", 0))
    ]  # fmt: skip
    assert sizes_targets.coarsest(rows, 8) == (8, "")
    assert sizes_targets.coarsest([rows[0], rows[2]], 8) == (8, 9)
    assert sizes_targets.coarsest(rows[:1], 8) is None


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["--depths", "15"], "15 is not in preset cpu: use some of 8, 14, 20, 32, 56"),
        (["--depths", "x"], "'x' is no list of depths"),
        (["--run", "nowhere"], "nowhere is no finished run"),
        (["--finished-only", "--out", "nowhere"], "no run is finished"),
        (["--timings", "--rounds", "0"], "0 rounds measure nothing"),
    ],
)
def test_what_cannot_be_is_a_sentence(argv, sentence, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert guarded(lambda: sizes.main(argv)) == 2
    assert sentence in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_timings_count_the_network_that_was_loaded():
    rows = sizes_timings.measure(1, ("cifar_resnet110",))
    assert {row["what"] for row in rows} == set(sizes_timings.DEEDS) and len(rows) == 4
    load = next(row for row in rows if row["what"] == "load")
    if load["peak_bytes_median"] != "":  # Linux
        assert load["peak_bytes_median"] > 0.9 * load["inflated_bytes"]
    assert all(0 < row["seconds_median"] < 60 for row in rows)


def test_the_page_shows_what_the_table_holds():
    root = Path(__file__).parents[2]
    with (root / "experiments" / "results" / "sizes.csv").open() as file:
        known = {(int(row["bytes"]), round(100 * float(row["top1"]), 2)) for row in csv.DictReader(file)}
    page = (root / "docs" / "seedfile.md").read_text()
    table = re.findall(r"^\| .+? \| ([\d,]+) \| [\d.]+ \| ([\d.]+) % \|$", page, re.M)
    assert len(table) >= 7
    assert {(int(size.replace(",", "")), float(top1)) for size, top1 in table} <= known
