"""Files with one wrong field or value: both readers refuse them, under the name that docs/seedfile.md gives."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import rfc8785

import bnonly
from bnonly.errors import BadInput
from bnonly.seedfile.header import Header, Input
from tests.seedfile.forge import Forged
from tests.seedfile.networks import pictures, trained
from tests.seedfile.readers import NODE, answers, refusal

pytestmark = pytest.mark.skipif(NODE is None, reason="the second reader runs in node")


def put(value: Any, *path: str | int) -> Callable[[Forged], Forged]:
    """A header with that value at that place, and its digest."""

    def edit(forged: Forged) -> Forged:
        place: Any = forged.header
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
        return forged.resealed()

    return edit


def without(*path: str) -> Callable[[Forged], Forged]:
    def edit(forged: Forged) -> Forged:
        place: Any = forged.header
        for key in path[:-1]:
            place = place[key]
        del place[path[-1]]
        return forged.resealed()

    return edit


def worded(change: Callable[[str], str]) -> Callable[[Forged], Forged]:
    """The header's text changed, its digest left."""

    def edit(forged: Forged) -> Forged:
        forged.header = change(rfc8785.dumps(forged.header).decode())
        return forged

    return edit


def info(number: str) -> Callable[[Forged], Forged]:
    """A number of that spelling in info, and the digest of that text."""

    def edit(forged: Forged) -> Forged:
        forged.header["info"] = {"x": "X"}
        del forged.header["header_sha256"]
        text = rfc8785.dumps(forged.header).decode().replace('"X"', number)
        digest = hashlib.sha256(text.encode()).hexdigest()
        forged.header = text.replace(',"info":', f',"header_sha256":"{digest}","info":', 1)
        return forged

    return edit


def vast(forged: Forged) -> Forged:
    forged.header["bn"]["channels"] = 2**24
    return put("cifar_wrn99998_999", "arch", "id")(forged)


def nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels - 1):
        value = {"a": value}
    return value


def tensor(name: str, change: Callable[[bytes], bytes], dtype: str | None = None) -> Callable[[Forged], Forged]:
    """A tensor with other bytes, every digest made right."""

    def edit(forged: Forged) -> Forged:
        old, data = forged.tensors.get(name, (dtype, b""))
        forged.tensors[name] = (dtype or old or "U8", change(data))
        return forged.signed()

    return edit


def dropped(name: str) -> Callable[[Forged], Forged]:
    def edit(forged: Forged) -> Forged:
        del forged.tensors[name]
        return forged.signed()

    return edit


def first(*values: float, form: str = "<f") -> Callable[[bytes], bytes]:
    start = b"".join(struct.pack(form, value) for value in values)
    return lambda data: start + data[len(start) :]


BAD = "CorruptFile"
NAN, MINUS_ZERO = first(float("nan")), first(-0.0)
EDITS: dict[str, tuple[str, Callable[[Forged], Forged], str | None]] = {
    "nothing": ("folded", lambda forged: forged.signed(), None),
    "format of tomorrow": ("folded", put("bnonly/2", "format"), "UnsupportedVersion"),
    "format a number": ("folded", put(1, "format"), BAD),
    "format missing": ("folded", without("format"), BAD),
    "feature of tomorrow": ("folded", put(["rans-2"], "requires"), "UnsupportedFeature"),
    "feature not used": ("folded", put(["mask"], "requires"), BAD),
    "feature not named": ("mask", put([], "requires"), BAD),
    "features unsorted": ("rich", put(["shortcut.weight", "random.values"], "requires"), BAD),
    "features no list": ("folded", put("mask", "requires"), BAD),
    "digest of the header": ("folded", worded(lambda text: text.replace('"eps":0.00001', '"eps":0.00002')), "Header"),
    "header spelled with a space": ("folded", worded(lambda text: text + " "), BAD),
    "header's number spelled otherwise": ("folded", worded(lambda text: text.replace("0.00001", "1e-5")), BAD),
    "header's text spelled otherwise": ("folded", worded(lambda text: text.replace('"bn"', '"\\u0062n"')), BAD),
    "a key twice": ("folded", worded(lambda text: text.replace('"codec":', '"codec":"raw","codec":')), BAD),
    "no JSON": ("folded", worded(lambda text: text[:-1]), BAD),
    "no object": ("folded", worded(lambda _: "[]"), BAD),
    "NaN": ("folded", worded(lambda text: text.replace("0.00001", "NaN")), BAD),
    "beyond float64": ("folded", worded(lambda text: text.replace("0.00001", "1e999")), BAD),
    "nested without end": ("folded", worded(lambda text: text.replace("{", '{"a":' * 50000, 1)), BAD),
    "half a surrogate pair": ("folded", worded(lambda text: text.replace('"folded"', '"\\ud800"')), BAD),
    "a field more": ("folded", put(1, "extra"), BAD),
    "a field more inside": ("folded", put(1, "init", "extra"), BAD),
    "a field fewer": ("folded", without("info"), BAD),
    "info no object": ("folded", put([], "info"), BAD),
    "nested 64 deep": ("folded", put(nested(63), "info"), None),
    "nested 65 deep": ("folded", put(nested(64), "info"), BAD),
    "number 2^53": ("folded", info("9007199254740992"), None),
    "number 10^20": ("folded", info("100000000000000000000"), None),
    "number 10^21": ("folded", info("1000000000000000000000"), BAD),
    "number 2^53 + 1": ("folded", info("9007199254740993"), BAD),
    "number of 5000 digits": ("folded", info("9" * 5000), BAD),
    "any info": ("folded", put({"deep": [[[{"a": [1, None]}]]]}, "info"), None),
    "architecture unknown": ("folded", put("cifar_vgg8", "arch", "id"), "UnsupportedFeature"),
    "architecture of no depth": ("folded", put("cifar_resnet9", "arch", "id"), "UnsupportedFeature"),
    "architecture inherited": ("folded", put("constructor", "arch", "id"), "UnsupportedFeature"),
    "architecture of tomorrow": ("folded", put(2, "arch", "rev"), "UnsupportedVersion"),
    "architecture another": ("folded", put("cifar_resnet14", "arch", "id"), "PlanMismatch"),
    "architecture too large": ("folded", vast, "TooLarge"),
    "architecture too wide": ("folded", put("cifar_wrn99998_999", "arch", "id"), "PlanMismatch"),
    "same architecture": ("folded", put("cifar_wrn8_1", "arch", "id"), None),
    "classes": ("folded", put(11, "arch", "args", "classes"), BAD),
    "classes true": ("folded", put(True, "arch", "args", "classes"), BAD),
    "digest of the plan": ("folded", put("0" * 64, "plan_sha256"), "PlanMismatch"),
    "digest in capitals": ("folded", put("A" * 64, "plan_sha256"), BAD),
    "generator of tomorrow": ("folded", put("bngen-2", "init", "gen"), "UnsupportedFeature"),
    "seed in capitals": ("folded", put("A" * 32, "init", "seed"), BAD),
    "seed of 31 digits": ("folded", put("0" * 31, "init", "seed"), BAD),
    "another seed": ("folded", put("0" * 31 + "8", "init", "seed"), "FrozenDigestMismatch"),
    "orthogonal": ("folded", put("orthogonal", "init", "dist"), "UnsupportedFeature"),
    "another distribution": ("folded", put("sign", "init", "dist"), "FrozenDigestMismatch"),
    "another fan": ("folded", put("fan_out", "init", "scale"), "FrozenDigestMismatch"),
    "fan unknown": ("folded", put("fan_avg", "init", "scale"), "UnsupportedFeature"),
    "gamma unknown": ("folded", put("twos", "init", "gamma"), "UnsupportedFeature"),
    "gamma another": ("folded", put("ones", "init", "gamma"), None),
    "digest of the weights": ("folded", put("0" * 64, "frozen_sha256"), "FrozenDigestMismatch"),
    "digest of the buffer": ("folded", put("0" * 64, "payload_sha256"), "PayloadDigestMismatch"),
    "trained another": ("folded", put(["output"], "trained"), "PlanMismatch"),
    "trained unknown": ("folded", put(["head"], "trained"), "UnsupportedFeature"),
    "trained twice": ("folded", put(["bn", "bn"], "trained"), "UnsupportedFeature"),
    "trained all": ("folded", put(["all"], "trained"), BAD),
    "trained random:0": ("folded", put(["random:0"], "trained"), "UnsupportedFeature"),
    "trained random twice": ("rich", put(["random:1", "random:2"], "trained"), "UnsupportedFeature"),
    "trained another K": ("rich", put(["random:2", "output", "shortcut"], "trained"), BAD),
    "trained a number": ("folded", put([1], "trained"), BAD),
    "form unknown": ("folded", put("sparse", "bn", "form"), "UnsupportedFeature"),
    "form of other layers": ("folded", put("affine", "bn", "form"), BAD),
    "form another": ("folded", put("full", "bn", "form"), BAD),
    "channels another": ("folded", put(335, "bn", "channels"), "PlanMismatch"),
    "channels too many": ("folded", put(2**24 + 1, "bn", "channels"), "TooLarge"),
    "channels a half": ("folded", put(335.5, "bn", "channels"), BAD),
    "eps negative": ("folded", put(-1e-5, "bn", "eps"), BAD),
    "eps beyond 1": ("folded", put(2, "bn", "eps"), BAD),
    "eps a text": ("folded", put("0", "bn", "eps"), BAD),
    "dtype unknown": ("folded", put("fp8", "bn", "dtype"), "UnsupportedFeature"),
    "dtype another": ("folded", put("fp16", "bn", "dtype"), BAD),
    "codec unknown": ("folded", put("zip", "codec"), "UnsupportedFeature"),
    "codec with arguments": ("folded", put({"R": 32}, "codec_args"), BAD),
    "codec without arguments": ("rans", put({}, "codec_args"), BAD),
    "R no power of two": ("rans", put({"R": 33}, "codec_args"), BAD),
    "R too large": ("rans", put({"R": 2048}, "codec_args"), BAD),
    "R another": ("rans", put({"R": 16}, "codec_args"), BAD),
    "head another": ("folded", put("stored", "head"), BAD),
    "head unknown": ("folded", put("none", "head"), "UnsupportedFeature"),
    "images of one colour": ("folded", put([1, 8, 8], "input", "shape"), "UnsupportedFeature"),
    "images without width": ("folded", put([3, 8, 0], "input", "shape"), BAD),
    "images of two sides": ("folded", put([3, 8], "input", "shape"), BAD),
    "images too large": ("folded", put([3, 2**9, 2**9 + 1], "input", "shape"), "TooLarge"),
    "mean of two colours": ("folded", put([0, 0], "input", "mean"), BAD),
    "std 0": ("folded", put([0, 1, 1], "input", "std"), BAD),
    "a label short": ("folded", put(list("012345678"), "input", "labels"), BAD),
    "a label a number": ("folded", put([0, *"123456789"], "input", "labels"), BAD),
    "probe of none": ("folded", put(0, "check", "n"), BAD),
    "probe of 17": ("folded", put(17, "check", "n"), BAD),
    "probe of one too many": ("folded", put(3, "check", "n"), BAD),
    "probe's logit": ("folded", put(9.5, "check", "logits", 1, 3), "ProbeMismatch"),
    "probe's logit a text": ("folded", put("0", "check", "logits", 1, 3), BAD),
    "probe's row short": ("folded", put([1], "check", "logits", 1), BAD),
    "probe's best beyond the classes": ("folded", put([0, 10], "check", "argmax"), BAD),
    "probe's tolerance negative": ("folded", put(-1, "check", "rtol"), BAD),
    "NaN in a": ("folded", tensor("bn.a", NAN), BAD),
    "-0 in b": ("folded", tensor("bn.b", MINUS_ZERO), BAD),
    "another b": ("folded", tensor("bn.b", first(50.0)), "ProbeMismatch"),
    "infinity in fp16": ("rich", tensor("head.bias", lambda data: b"\x00\x7c" + data[2:]), BAD),
    "-0 in fp16": ("rich", tensor("random.values", lambda data: b"\x00\x80" + data[2:]), BAD),
    "another shortcut": ("rich", tensor("shortcut.weight", lambda data: b"\x00\x70" + data[2:]), "ProbeMismatch"),
    "a value short": ("rich", tensor("shortcut.weight", lambda data: data[2:]), BAD),
    "a tensor more": ("folded", tensor("bn.c", lambda _: b"\0", "U8"), BAD),
    "a tensor fewer": ("folded", dropped("bn.b"), BAD),
    "a tensor of another dtype": ("folded", tensor("bn.a", lambda data: data, "BF16"), BAD),
    "a mask for none": ("folded", tensor("bn.mask", lambda _: b"\0" * 42, "U8"), BAD),
    "a mask's bit more": ("mask", tensor("bn.mask", lambda data: b"\xff" * len(data)), BAD),
    "a mask short": ("mask", tensor("bn.mask", lambda data: data[1:]), BAD),
    "zero where the mask says not": ("mask", tensor("bn.a", first(0.0)), BAD),
    "negative variance": ("full", tensor("bn.var", first(-1.0)), BAD),
    "variance 0": ("full", tensor("bn.var", first(0.0)), "ProbeMismatch"),
    "scale -0": ("rans", tensor("bn.scales", first(-0.0, form="<e")), BAD),
    "scale infinite": ("rans", tensor("bn.scales", lambda data: data[:-2] + b"\x00\x7c"), BAD),
    "frequencies not 2^14": ("rans", tensor("bn.freq", first(2**14 - 1, form="<H")), BAD),
    "a code in a layer of scale 0": ("rans", tensor("bn.freq", first(0, 2**14, form="<H")), BAD),
    "code's state too small": ("rans", tensor("bn.codes", lambda data: b"\0" + data[1:]), BAD),
    "code's state too large": ("rans", tensor("bn.codes", lambda data: b"\xff" + data[1:]), BAD),
    "a code more": ("rans", tensor("bn.codes", lambda data: data + b"\0"), BAD),
    "a code fewer": ("rans", tensor("bn.codes", lambda data: data[:-1]), BAD),
    "codes of three bytes": ("rans", tensor("bn.codes", lambda data: data[:3]), BAD),
    "a code another": ("rans", tensor("bn.codes", lambda data: data[:40] + bytes([data[40] ^ 1]) + data[41:]), BAD),
}
NAMES = {"Header": "HeaderDigestMismatch"}


@pytest.fixture(scope="module")
def edited(good, tmp_path_factory) -> tuple[dict[str, Path], dict[str, Any]]:
    folder = tmp_path_factory.mktemp("edited")
    files = {}
    for number, (name, (base, edit, _)) in enumerate(EDITS.items()):
        files[name] = folder / f"{number}.safetensors"
        files[name].write_bytes(edit(Forged.of(good[base])).data())
    return files, answers(files)


@pytest.mark.parametrize("name", EDITS)
def test_edited(edited, name):
    files, said = edited
    expected = EDITS[name][2]
    expected = NAMES.get(expected, expected) if expected else None
    assert (said[name].get("error"), refusal(files[name])) == (expected, expected)
    assert ("ratio" in said[name]) == (expected is None)


@pytest.mark.parametrize("deep", [64, 5000])
def test_what_readers_would_refuse_is_not_written(tmp_path, deep):
    """Once such a file was written, or the one who wrote it told to fetch it again."""
    path, net = tmp_path / "net.safetensors", trained("none")
    with pytest.raises(BadInput, match="info"):
        bnonly.save(net, path, input=pictures(4), info=nested(deep))
    with pytest.raises(BadInput, match="shorten info"):  # twice escaped: short enough inside, too long outside
        bnonly.save(net, path, input=pictures(4), info={"quotes": '"' * 300_000})
    odd = Input((3, 4, 4), (0.0,) * 3, (0.0, 1.0, 1.0), tuple("0123456789"))
    with pytest.raises(BadInput, match=r"input\.std.*change what you give"):
        bnonly.save(net, path, input=odd)
    assert not path.exists()


def test_large_numbers_in_info(tmp_path):
    path, info = tmp_path / "net.safetensors", {"flops": 1e17, "more": [1e20, 1e21, -(2.0**53)]}
    bnonly.save(trained("none"), path, input=pictures(4), info=info)
    head = bnonly.load(path).stored
    assert isinstance(head, Header)
    assert head.info == info
    assert "error" not in answers({"": path})[""]
