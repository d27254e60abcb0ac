"""Files that someone could write on purpose: every digest right, and something else wrong or far too much."""

from __future__ import annotations

import json
import os
import pickle
import time
import tracemalloc

import numpy as np
import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from bnonly.seedfile.container import Tensor
from bnonly.seedfile.contents import Limits, read
from bnonly.seedfile.errors import (
    CorruptFile,
    FrozenDigestMismatch,
    PlanMismatch,
    ProbeMismatch,
    SeedFileError,
    TooLarge,
    UnsupportedFeature,
    UnsupportedVersion,
)
from bnonly.seedfile.loading import load, network_of
from tests.seedfile.made import golden, rewritten, setting


def test_a_rewritten_file_without_a_change_is_the_same():
    assert rewritten(lambda plain: None) == golden("folded-fp32-raw")


@pytest.mark.parametrize(
    ("path", "value", "error", "says"),
    [
        ("format", "bnonly/2", UnsupportedVersion, r"bnonly/1, got bnonly/2; install a newer bnonly"),
        ("requires", ["rounds-1"], UnsupportedFeature, "rounds-1"),
        ("requires", ["mask"], CorruptFile, "requires"),
        ("arch.id", "cifar_resnet9", UnsupportedFeature, "is impossible"),
        ("arch.id", "timm/resnet18", UnsupportedFeature, "a network of bnonly's own, as requires says, got timm/res"),
        ("arch.id", "module/Net", UnsupportedFeature, "got module/Net; load it in Python"),
        ("requires", ["library"], CorruptFile, "library"),
        ("requires", ["module"], CorruptFile, "requires"),
        ("requires", ["other"], CorruptFile, "init.other"),
        ("arch.id", "cifar_resnet14", PlanMismatch, r"bn\.channels"),
        ("arch.rev", 2, UnsupportedVersion, "1 of cifar_resnet8, got 2"),
        ("arch.args.classes", 1 << 41, CorruptFile, r"input\.labels"),
        ("arch.args.classes", 2, CorruptFile, r"input\.labels"),
        ("plan_sha256", "0" * 64, PlanMismatch, "0000"),
        ("init.gen", "bngen-2", UnsupportedFeature, "bngen-1, got bngen-2"),
        ("init.dist", "orthogonal", UnsupportedFeature, "orthogonal"),
        ("init.dist", "cauchy", UnsupportedFeature, "cauchy"),
        ("init.seed", 7, CorruptFile, r"init\.seed"),
        ("init.seed", "7", CorruptFile, r"init\.seed"),
        ("bn.form", "affine", CorruptFile, "folded or full for cifar_resnet8, got affine"),
        ("bn.form", "raw", UnsupportedFeature, "folded or full or affine, got raw"),
        ("bn.channels", 335, PlanMismatch, "expected 335, got 336 or more"),
        ("bn.channels", 337, PlanMismatch, "expected 337, got 336"),
        ("bn.channels", 1 << 40, TooLarge, "at most 16777216"),
        ("bn.dtype", "fp8", UnsupportedFeature, "fp8"),
        ("bn.dtype", "fp16", CorruptFile, r"F16 \[336\], got F32"),
        ("bn.eps", -1, CorruptFile, r"bn\.eps"),
        ("codec", "zstd", UnsupportedFeature, "zstd"),
        ("codec_args", {"R": 2}, CorruptFile, "codec_args"),
        ("head", "stored", CorruptFile, "seeded, got stored"),
        ("trained", ["all"], CorruptFile, "trained"),
        ("trained", ["bn", "bn"], UnsupportedFeature, "twice"),
        ("trained", ["everything"], UnsupportedFeature, "everything"),
        ("trained", ["random:2"], PlanMismatch, "plan_sha256"),
        ("input.shape", [3, 1 << 20, 1 << 20], TooLarge, "pixels"),
        ("input.shape", [1, 8, 8], UnsupportedFeature, "3 colours"),
        ("input.labels", ["one"], CorruptFile, "labels"),
        ("input.std", [0, 1, 1], CorruptFile, r"input\.std\[0\]"),
        ("check.n", 17, CorruptFile, r"check\.n"),
        ("check.n", 1, CorruptFile, r"check\.logits"),
        ("check.argmax", [10, 0], CorruptFile, r"check\.argmax\[0\]"),
        ("check.logits", None, CorruptFile, "to be there"),
        ("info", [], CorruptFile, "info"),
        ("extra", 1, CorruptFile, "no other fields, got 'extra'"),
        ("frozen_sha256", "0" * 63, CorruptFile, "frozen_sha256"),
    ],
)
def test_a_header_that_is_whole_but_wrong(path, value, error, says):
    with pytest.raises(error, match=says):
        read(rewritten(setting(path, value)))


def test_the_seed_of_another_network_is_noticed_when_its_weights_are_drawn():
    contents = read(rewritten(setting("init.seed", f"{8:032x}")))
    with pytest.raises(FrozenDigestMismatch, match="frozen_sha256"):
        network_of(contents)
    network_of(contents, verify=False)


def test_other_answers_are_noticed():
    def worse(plain):
        plain["check"]["logits"][0][3] *= 1.01

    with pytest.raises(ProbeMismatch, match=r"check\.logits"):
        network_of(read(rewritten(worse)))

    def another(plain):
        row = plain["check"]["logits"][1]
        plain["check"]["argmax"][1] = row.index(min(row))

    with pytest.raises(ProbeMismatch, match=r"check\.argmax\[1\]"):
        network_of(read(rewritten(another)))


def test_images_that_the_network_does_not_take():
    with pytest.raises(
        CorruptFile, match=r"images that mixer_w16_d2_p4_r16 takes, got \[3, 7, 5\] \(a Mixer's tokens"
    ):
        network_of(read(rewritten(setting("input.shape", [3, 7, 5]), "affine-fp32-raw")))


def test_a_filter_that_the_network_has_no_place_for():
    def change(plain):
        plain["arch"]["args"]["antialias"], plain["requires"] = "tri3", ["affine", "antialias"]

    with pytest.raises(CorruptFile, match=r"what mixer_w16_d2_p4_r16 takes, got .*tri3"):
        network_of(read(rewritten(change, "affine-fp32-raw")))


@pytest.mark.parametrize("version", ["bnonly\n2", "\u2028", "\x1b[2J"])
def test_a_refusal_is_one_line_whatever_the_file_says(version):
    with pytest.raises(UnsupportedVersion) as refused:
        read(rewritten(setting("format", version)))
    assert str(refused.value).isprintable()


def test_a_refusal_is_short_whatever_the_file_says():
    outer = json.dumps({"__metadata__": {"bnonly": ""}, "x" * 100_000: 1}).encode()
    with pytest.raises(CorruptFile) as refused:
        read(len(outer).to_bytes(8, "little") + outer)
    assert len(str(refused.value)) < 500


def without(name):
    return lambda tensors: {key: value for key, value in tensors.items() if key != name}


def instead(name, dtype, array):
    return lambda tensors: tensors | {name: Tensor(dtype, array.shape, array.tobytes())}


@pytest.mark.parametrize(
    ("name", "tensors", "says"),
    [
        ("folded-fp32-raw", without("bn.b"), "bn.a, bn.b, got bn.a"),
        ("folded-fp32-raw", instead("bn.c", "U8", np.zeros(1, "u1")), "got bn.a, bn.b, bn.c"),
        ("folded-fp32-raw", instead("bn.a", "F32", np.zeros(335, "<f4")), r"F32 \[336\], got F32 \[335\]"),
        ("folded-fp32-raw", instead("bn.a", "F32", np.zeros((1, 336), "<f4")), r"got F32 \[1, 336\]"),
        ("folded-fp32-raw", instead("bn.a", "F16", np.zeros(336, "<f2")), "got F16"),
        ("folded-fp32-raw", instead("bn.a", "F32", np.full(336, np.nan, "<f4")), "finite numbers, got nan"),
        ("folded-fp32-raw", instead("bn.a", "F32", np.full(336, np.inf, "<f4")), "finite numbers, got inf"),
        ("folded-fp32-raw", instead("bn.a", "F32", np.full(336, -0.0, "<f4")), "got -0"),
        ("full-fp32-raw", instead("bn.var", "F32", np.full(336, -1.0, "<f4")), "variances from 0 up"),
        ("folded-fp32-mask", instead("bn.mask", "U8", np.full(42, 255, "u1")), "bn.a: expected F32"),
        ("folded-fp32-mask", instead("bn.mask", "U8", np.zeros(43, "u1")), r"U8 \[42\]"),
        ("folded-rans-1", instead("bn.freq", "U16", np.zeros(643, "<u2")), "a sum of 16384, got 0"),
        ("folded-rans-1", instead("bn.scales", "F16", np.full(18, -1.0, "<f2")), r"bn\.scales"),
        ("folded-rans-1", instead("bn.scales", "F16", np.zeros(18, "<f2")), "scale 0"),
        ("folded-rans-1", instead("bn.codes", "U8", np.zeros(0, "u1")), "at least 4 bytes"),
        ("folded-rans-1", instead("bn.codes", "U8", np.zeros(600, "u1")), "a state"),
        ("folded-rans-1", instead("bn.codes", "U8", np.full(9, 1, "u1")), "more bytes"),
        ("bn-output", without("head.bias"), "head.bias"),
        ("affine-fp32-raw", without("bn.bias"), "bn.bias, bn.weight, head.bias, head.weight, got"),
        ("affine-fp32-raw", instead("bn.mean", "F32", np.zeros(80, "<f4")), "bn.mean"),
        ("affine-fp32-raw", instead("bn.bias", "F32", np.zeros(79, "<f4")), r"F32 \[80\], got F32 \[79\]"),
        ("affine-fp32-raw", instead("bn.weight", "F32", np.full(80, np.nan, "<f4")), "finite numbers, got nan"),
        ("affine-bf16-mask", instead("bn.mask", "U8", np.zeros(11, "u1")), r"U8 \[10\]"),
        ("regrown", without("rounds"), "rounds"),
        ("regrown", instead("rounds", "U8", np.zeros(336, "u1")), "a filter that was drawn anew, got none"),
        ("regrown", instead("rounds", "U8", np.ones(335, "u1")), r"U8 \[336\], got U8 \[335\]"),
        ("folded-fp32-raw", instead("rounds", "U8", np.ones(336, "u1")), "got bn.a, bn.b, rounds"),
    ],
)
def test_tensors_that_do_not_fit(name, tensors, says):
    with pytest.raises(CorruptFile, match=says):
        read(rewritten(lambda plain: None, name, tensors))


@pytest.mark.parametrize(
    ("path", "value", "error", "says"),
    [
        ("requires", [], CorruptFile, r"\['affine'\], got \[\]"),
        ("requires", ["affine", "mixed"], CorruptFile, "requires"),
        ("requires", ["affine-2"], UnsupportedFeature, "affine-2"),
        ("arch.id", "mixer_w16_d3_p4_r16", PlanMismatch, r"bn\.channels"),
        ("arch.id", "mixer_w16_d2_p2_r16", PlanMismatch, "plan_sha256"),
        ("arch.id", "mixer_w16_d2_p3_r16", UnsupportedFeature, "is impossible"),
        ("bn.form", "full", CorruptFile, "affine for mixer_w16_d2_p4_r16, got full"),
        ("bn.form", "folded", CorruptFile, "affine for mixer_w16_d2_p4_r16, got folded"),
        ("bn.channels", 79, PlanMismatch, "expected 79, got 80"),
        ("bn.dtype", "fp16", CorruptFile, r"F16 \[80\], got F32"),
        ("codec", "mask", CorruptFile, "requires"),
        ("trained", ["norm"], PlanMismatch, "plan_sha256"),
    ],
)
def test_an_affine_header_that_is_whole_but_wrong(path, value, error, says):
    change = setting(path, value)
    with pytest.raises(error, match=says):
        read(rewritten(change, "affine-fp32-raw", None if path != "bn.form" else as_form(value)))


def as_form(form):
    """The tensors that another form would have, so that these are not what is refused."""
    names = {"folded": ("bn.a", "bn.b"), "full": ("bn.weight", "bn.bias", "bn.mean", "bn.var")}[form]
    values = Tensor("F32", (80,), np.ones(80, "<f4").tobytes())
    return lambda tensors: (
        {key: v for key, v in tensors.items() if key.startswith("head")} | dict.fromkeys(names, values)
    )


def test_rans_in_an_affine_file_is_refused():
    def change(plain):
        plain["codec"], plain["codec_args"], plain["requires"] = "rans-1", {"R": 4}, ["affine", "rans-1"]

    with pytest.raises(CorruptFile, match="raw or mask in form affine, got rans-1"):
        read(rewritten(change, "affine-fp32-raw"))


def test_an_eps_that_is_not_the_architectures():
    contents = read(rewritten(setting("bn.eps", 1e-5), "affine-fp32-raw"))
    with pytest.raises(CorruptFile, match=r"bn\.eps: expected 1e-06 of mixer_w16_d2_p4_r16, got 1e-05"):
        network_of(contents)


@pytest.mark.parametrize("step", [0, 3, 2048, 1 << 50])
def test_an_impossible_step(step):
    with pytest.raises(CorruptFile, match=r"codec_args\.R"):
        read(rewritten(setting("codec_args.R", step), "folded-rans-1"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        "[" * 100_000,
        '{"format":' * 50_000,
        '{"format":"bnonly/1","format":"bnonly/1"}',
        '{"format":NaN}',
        '{"format":1e999,"requires":[]}',
        '{"format":"bnonly/1","requires":[' + "9" * 5000 + "]}",
        '{"format":"bnonly/1","requires":[],"x":1e999}',
        '{"format": "bnonly/1","requires":[]}',
        '{"format":"bnonly/1","requires":["\\ud800"]}',
    ],
)
def test_hostile_headers(text):
    outer = json.dumps({"__metadata__": {"bnonly": text}}, separators=(",", ":")).encode()
    outer += b" " * (-len(outer) % 8)
    with pytest.raises((CorruptFile, UnsupportedFeature)):
        read(len(outer).to_bytes(8, "little") + outer)


@pytest.mark.parametrize("arch", ["cifar_wrn99998_999", "cifar_wrn14_999", "cifar_resnet99998"])
def test_a_giant_is_refused_before_anything_is_allocated(arch):
    data = rewritten(setting("arch.id", arch))
    tracemalloc.start()
    began = time.monotonic()
    with pytest.raises((TooLarge, PlanMismatch)):
        read(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6 and time.monotonic() - began < 10


def test_limits_can_be_lowered_and_raised(tmp_path):
    with pytest.raises(TooLarge, match=r"at most 1000 weights.*Limits"):
        read(golden("folded-fp32-raw"), Limits(weights=1000))
    read(golden("folded-fp32-raw"), Limits(weights=78_042, channels=336, pixels=256))


def test_no_file_of_another_kind_is_taken(tmp_path):
    for data in (pickle.dumps({"a": 1}), b"", b"\x7fELF" + bytes(100), save({"a": np.zeros(2)}), os.urandom(5000)):
        path = tmp_path / "net.safetensors"
        path.write_bytes(data)
        with pytest.raises(SeedFileError, match=r"net\.safetensors: "):
            load(path)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 53), 1 << 53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
FIELDS = ("requires", "arch", "init", "trained", "bn", "codec", "codec_args", "head", "input", "check", "info")


@settings(deadline=None, max_examples=100)
@given(st.sampled_from(FIELDS), JSON)
def test_any_field_may_be_anything_and_all_digests_right(field, value):
    try:
        data = rewritten(setting(field, value) if value is not None else setting(field, None))
    except (rfc8785.CanonicalizationError, UnicodeEncodeError):
        return
    try:
        read(data)
    except SeedFileError:
        return
    same = data == golden("folded-fp32-raw")
    assert same or (field == "info" and isinstance(value, dict)) or (field, value) == ("trained", [])


def test_rounds_that_take_long_to_draw_are_refused():
    """A round of its own for each filter: as many times the weights."""
    many = instead("rounds", "U8", (np.arange(336) % 256).astype("u1"))
    data = rewritten(lambda plain: None, "regrown", many)
    assert read(golden("regrown"), Limits(weights=1 << 19)).rounds
    with pytest.raises(TooLarge, match="weights to draw"):
        read(data, Limits(weights=1 << 19))
