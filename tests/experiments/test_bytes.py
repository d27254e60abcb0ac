"""Accuracy against bytes: the rivals' files against the networks they came from, and who wins at which size."""

from __future__ import annotations

import json
from copy import deepcopy

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import bnonly
from analysis.figures.frontier import pareto
from analysis.neighbours.bytes import frontier, over_seeds, show
from bnonly.cli import main
from bnonly.errors import BadInput
from bnonly.runs import RunFolder
from bnonly.seedfile.calibration import calibrated
from bnonly.seedfile.contents import read
from bnonly.seedfile.errors import NotStorable
from bnonly.seedfile.loading import network_of
from bnonly.seedfile.saving import How as HowSaved
from bnonly.seedfile.saving import pack, plain_input
from experiments.bytes_bare import bare, grown
from experiments.bytes_coder import Part, decode, encode
from experiments.bytes_files import NAME, OURS, answered
from experiments.bytes_rivals import CODECS, How, _spread, _squeezed, packed, quantise, unpacked
from experiments.grid import trials

DTYPES = ("fp32", "fp16", *(f"int{bits}" for bits in range(2, 9)))


def lively(name="cifar_resnet8_w4", classes=7):
    """A network whose norms have statistics, gammas and betas of their own; evaluating."""
    net, random = bnonly.network(name, seed=3, classes=classes).eval(), np.random.default_rng(5)
    for layer in net.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            for value, low, high in (
                (layer.running_mean, -1, 1), (layer.running_var, 0.5, 2), (layer.weight, -1, 1), (layer.bias, -1, 1),
            ):  # fmt: skip
                value.data.copy_(torch.from_numpy(random.uniform(low, high, len(value))))
    return net


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_rival_comes_back(dtype, codec):
    net, how = lively(), How(dtype, codec)
    if how.bits is not None:
        quantise(net, how.bits)
    data = packed(net, how)
    images = torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted, found = (each(images) for each in (net, unpacked(data, "cifar_resnet8_w4", 7, how).eval()))
    scale = float(wanted.abs().max())
    assert float((found - wanted).abs().max()) < scale * (1e-5 if dtype == "fp32" else 2e-2)
    weights = sum(p.numel() for p in net.parameters() if p.ndim > 1)
    channels = sum(len(p) for p in net.parameters() if p.ndim > 2)
    numbers = 2 * channels + 7 + (7 if how.bits else 0)
    bits = how.bits or {"fp32": 32, "fp16": 16}[dtype]
    if codec == "raw":
        assert 0 < len(data) - -(-weights * bits // 8) - numbers * (4 if dtype == "fp32" else 2) < 250


@st.composite
def parts_and_symbols(draw):
    parts, symbols = [], []
    for _ in range(draw(st.integers(0, 5))):
        kind, bits = draw(st.sampled_from([(None, 8), ("x", 4), ("x", 8), ("y", 1), ("z", 12)]))
        highest = draw(st.integers(0, 2**bits - 1))  # often far less than all of them
        own = draw(st.lists(st.integers(0, highest), max_size=60))
        parts.append(Part(kind, bits, len(own)))
        symbols.append(np.array(own, np.int64))
    return parts, symbols


@given(parts_and_symbols())
def test_coded_symbols_come_back(given):
    parts, symbols = given
    stream = encode(parts, symbols)
    found = decode(stream, parts)
    assert all(np.array_equal(*pair) for pair in zip(found, symbols, strict=True))
    for wrong in (stream[:-1], stream + b"\0"):
        with pytest.raises(ValueError, match="stream"):
            decode(wrong, parts)


def test_symbols_take_hardly_more_than_their_entropy():
    """Against Shannon's bound for symbols drawn independently; learning the odds is what may be added."""
    random, count = np.random.default_rng(2), 20_000
    odds = np.array([0.02, 0.1, 0.2, 0.36, 0.2, 0.1, 0.02, 0.0])
    layers = [random.choice(8, count // 4, p=odds) for _ in range(4)]
    entropy = -sum(odd * np.log2(odd) for odd in odds if odd) * count / 8
    parts = [Part("w", 3, count // 4)] * 4
    assert entropy * 0.995 < len(encode(parts, layers)) < entropy * 1.005 + 16
    with pytest.raises(ValueError, match="are not these"):
        encode(parts, [*layers[:3], layers[3] + 3])


CHANGED = {"bn": (), "random:2": ("conv", "downsample.0"), "bn+output+shortcut": ("fc", "downsample.0")}


@pytest.mark.parametrize("group", CHANGED)
@pytest.mark.parametrize("step", [2, 32])
def test_a_bare_file_is_the_network_without_its_proofs(group, step):
    net = lively("cifar_resnet14_w4")
    bnonly.freeze_all_but(net, group)
    random = np.random.default_rng(7)
    with torch.no_grad():
        for parameter in (p for p in net.parameters() if p.requires_grad and p.ndim != 1):
            parameter.copy_(torch.from_numpy(random.uniform(-1, 1, tuple(parameter.shape))))
    images = torch.randn(64, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    data = bare(net, step, 16, images)
    back = grown(data, 7).state_dict()
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    rounded = deepcopy(net)
    weights = {name: value for name, value in back.items() if value.ndim > 1 or name.startswith("fc")}
    for name, value in weights.items():
        moved = float((value - before[name]).abs().max())
        assert (moved > 0) == any(part in name for part in CHANGED[group]) and moved <= 0.7 / 4 / 2, name
    rounded.load_state_dict(weights, strict=False)
    how = HowSaved(dtype="fp32", codec="rans", step=step, outliers="widen")
    packed = pack(calibrated(rounded, how, images, like=net), how, plain_input("cifar_resnet14_w4", 7))
    assert len(data) < len(packed.data) - 900
    whole = network_of(read(packed.data)).state_dict()
    assert whole.keys() == back.keys()
    for name, value in whole.items():
        assert torch.equal(back[name], value), name


def test_a_bare_file_that_is_none_is_refused():
    images = torch.randn(8, 3, 32, 32)
    net, whole = lively("cifar_resnet14_w4"), lively()
    bnonly.freeze_all_but(whole, "all")
    with pytest.raises(NotStorable, match="all"):
        bare(whole, 8, 8, images)
    bnonly.freeze_all_but(net, "bn")
    data = bare(net, 8, 8, images)
    for wrong in (b"", data[:-1], b"x" * 99, data.replace(b"resnet14_w4", b"resnet14_w2")):
        with pytest.raises(BadInput, match="no bare seed"):
            grown(wrong, 7)


@pytest.mark.parametrize("bits", range(2, 9))
def test_numbers_without_gaps(bits):
    steps = np.random.default_rng(bits).integers(0, 2**bits, 1001).astype(np.uint8)
    data = _squeezed(steps, bits)
    assert len(data) == -(-1001 * bits // 8) and np.array_equal(_spread(data, bits, 1001), steps)
    whole = int.from_bytes(data.tobytes(), "big") >> (8 * len(data) - bits * 1001)
    assert [whole >> bits * (1000 - place) & (2**bits - 1) for place in range(1001)] == steps.tolist()


def test_what_does_not_fit_is_refused():
    net = lively()
    with pytest.raises(BadInput, match="do not lie on steps of 4 bits"):
        packed(net, How("int4", "raw"))
    data = packed(net, How("fp16", "raw"))
    for wrong in (data[:-1], b"", packed(lively("cifar_resnet14_w4"), How("fp16", "raw"))[:3000]):
        with pytest.raises(BadInput, match="are no cifar_resnet8_w4 stored as fp16, raw"):
            unpacked(wrong, "cifar_resnet8_w4", 7, How("fp16", "raw"))
    with pytest.raises(BadInput, match="stored as fp16, xz"):
        unpacked(data, "cifar_resnet8_w4", 7, How("fp16", "xz"))
    longer = packed(lively("cifar_resnet14_w4"), How("fp16", "raw"))
    with pytest.raises(BadInput, match="are no cifar_resnet8_w4"):
        unpacked(longer, "cifar_resnet8_w4", 7, How("fp16", "raw"))


def test_files_of_runs(tmp_path):
    """Of a run that trained on steps the file is the network itself; ours in float32 too."""
    given = ["training.epochs=1", "network.name=cifar_resnet8_w4"]
    assert main(["experiment", "run", "bytes", "--out", str(tmp_path), "--slots", "1", "--set", given[1]]) == 0
    found = trials("bytes", "smoke", tmp_path, given[1:])
    for trial in found:
        assert answered(trial.config, RunFolder.of(trial.config), {})
        rows = json.loads((trial.folder.path / NAME).read_text())["rows"]
        top1 = trial.folder.result()["test"]["top1"]
        assert rows[0]["top1"] == pytest.approx(top1, abs=3e-3)
        count = 12 if trial.config.compression.prune else 3
        in_rans = sum(how["codec"] == "rans" for how in OURS)
        assert len(rows) == (2 * len(OURS) + in_rans if trial.config.group != "all" else count)
        if trial.config.group != "all":
            bare = {row["step"]: row for row in rows if row["form"] == "bare"}
            rows = [row for row in rows if row["form"] == "seed"]
            full = {row["step"]: row for row in rows if row["codec"] == "rans+xz"}
            assert bare.keys() == full.keys()
            assert all(row["bytes"] < full[step]["bytes"] - 700 for step, row in bare.items())
            if trial.config.group == "bn":  # nothing but a and b trained, which are equal
                assert {step: row["top1"] for step, row in bare.items()} == {k: r["top1"] for k, r in full.items()}
            plain = {(row["codec"], row["dtype"], row["step"]): row["bytes"] for row in rows}
            assert all(size > plain[f"{k[0]}+xz", *k[1:]] for k, size in plain.items() if "+" not in k[0])
            assert {row["codec"] for row in rows} == {"raw", "mask", "rans", "raw+xz", "mask+xz", "rans+xz"}
        assert all(row["bytes"] > 500 and row["top1"] > 0 for row in rows)
    table = pd.read_csv(tmp_path / "bytes" / "bytes.csv")
    assert set(over_seeds(table)["side"]) == {"ours", "bare", "rival"}
    assert len(table) == 2 * (2 * len(OURS) + in_rans) + 12 + 3
    assert (tmp_path / "bytes" / "bytes.svg").read_text().startswith("<svg")


def test_what_trains_is_shown_by_its_own_recipe():
    def row(form, setting, seed, top1, epochs=10, group="bn"):
        return {
            "network": "cifar_resnet14", "group": group if form == "seed" else "all", "prune": 0.0, "bits": None,
            "form": form, "dtype": "fp16", "codec": "raw", "step": None, "other_step": None, "epochs": epochs,
            "setting": setting, "seed": seed, "bytes": 3000.0, "top1": top1,
        }  # fmt: skip

    shown = show(
        pd.DataFrame(
            [
                row("seed", "adam", 0, 0.5), row("seed", "adam", 1, 0.6), row("seed", "sgd", 0, 0.4),
                row("seed", "sgd", 0, 0.2, group="random:2"), row("whole", "sgd", 0, 0.3),
                row("whole", "sgd", 1, 0.4), row("whole", "sgd", 0, 0.9, epochs=160),
            ]
        )
    )  # fmt: skip
    best = shown.tables["frontier"].set_index("at_most_bytes").loc[3000]
    assert (best["ours_top1"], best["rival_top1"]) == pytest.approx((0.55, 0.35))
    text = " ".join(shown.text)
    assert "Trained: ours, bn: adam; ours, random:2: sgd; rival, all: sgd." in text
    assert "Shown: epochs 10. 1 rows of other settings" in text and "Shown: setting adam. 1 rows" in text
    assert len(shown.tables["bytes"]) == 7


def test_who_wins_at_which_size():
    def row(side, size, top1):
        return {"side": side, "bytes": size, "top1": top1, "label": f"{side} {size}"}

    means = pd.DataFrame(
        [row("ours", 1500, 0.4), row("ours", 4000, 0.5), row("ours", 4500, 0.45), row("rival", 4800, 0.7)]
    )
    table = frontier(means).set_index("at_most_bytes")
    assert table.loc[1000, "ours"] == "" and table.loc[2000, "ours"] == "ours 1500"
    assert table.loc[5000, "ours"] == "ours 4000" and table.loc[5000, "rival"] == "rival 4800"
    assert table.loc[5000, "ours_better_by_points"] == pytest.approx(-20)
    assert pd.isna(table.loc[3000, "ours_better_by_points"])
    assert pareto(means)["bytes"].tolist() == [1500, 4000, 4800]
