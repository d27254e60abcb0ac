"""Damaged files and other spellings of the outer header: both readers refuse them under the same name."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.seedfile.forge import spelled
from tests.seedfile.readers import NODE, answers, refusal

pytestmark = pytest.mark.skipif(NODE is None, reason="the second reader runs in node")

BAD = "CorruptFile"


def outer(data: bytes) -> bytes:
    (size,) = struct.unpack("<Q", data[:8])
    return data[8 : 8 + size].rstrip()


def respelled(data: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """The outer header changed, its length made right."""
    return spelled(change(outer(data))) + data[8 + int.from_bytes(data[:8], "little") :]


def entries(change: Callable[[dict[str, Any]], Any]) -> Callable[[bytes], bytes]:
    def edit(text: bytes) -> bytes:
        parsed = json.loads(text)
        return json.dumps(change(parsed) or parsed, ensure_ascii=False, separators=(",", ":")).encode()

    return lambda data: respelled(data, edit)


def turned(parsed: dict[str, Any]) -> dict[str, Any]:
    return {key: parsed[key] for key in reversed(parsed)}


BYTES: dict[str, tuple[Callable[[bytes], bytes], str | None]] = {
    "itself": (lambda data: respelled(data, lambda text: text), None),
    "empty": (lambda data: b"", BAD),
    "seven bytes": (lambda data: data[:7], BAD),
    "length alone": (lambda data: data[:8], BAD),
    "cut in the header": (lambda data: data[:300], BAD),
    "cut in the buffer": (lambda data: data[:-1], BAD),
    "a byte more": (lambda data: data + b"\0", BAD),
    "length of a MiB and one": (lambda data: struct.pack("<Q", 2**20 + 1) + data[8:], "TooLarge"),
    "length of 2^63": (lambda data: struct.pack("<Q", 2**63) + data[8:], "TooLarge"),
    "eight spaces more": (lambda data: respelled(data, lambda text: text + b" " * 8), BAD),
    "a space inside": (lambda data: respelled(data, lambda text: text.replace(b'{"__', b'{ "__', 1)), BAD),
    "a space in front": (lambda data: respelled(data, lambda text: b" " + text), BAD),
    "a tab behind": (lambda data: respelled(data, lambda text: text + b"\t"), BAD),
    "a key escaped": (lambda data: respelled(data, lambda text: text.replace(b'"bn.a"', b'"bn\\u002ea"')), BAD),
    "a slash escaped": (lambda data: respelled(data, lambda text: text.replace(b"bnonly/1", b"bnonly\\/1")), BAD),
    "a number with a point": (lambda data: respelled(data, lambda text: text.replace(b"[336]", b"[336.0]", 1)), BAD),
    "a number with a sign": (lambda data: respelled(data, lambda text: text.replace(b"[0,", b"[-0,", 1)), BAD),
    "no UTF-8": (lambda data: respelled(data, lambda text: text.replace(b"cifar", b"cif\xffr")), BAD),
    "a mark of byte order": (lambda data: respelled(data, lambda text: b"\xef\xbb\xbf" + text), BAD),
    "metadata last": (entries(turned), BAD),
    "metadata more": (entries(lambda parsed: parsed["__metadata__"].update(more="")), BAD),
    "metadata none": (entries(lambda parsed: parsed.pop("__metadata__") and parsed), BAD),
    "metadata a number": (entries(lambda parsed: parsed["__metadata__"].update(bnonly=1)), BAD),
    "a tensor twice": (lambda data: respelled(data, lambda text: text[:-1] + text[text.index(b',"bn.a') :]), BAD),
    "a shape of two": (entries(lambda parsed: parsed["bn.a"].update(shape=[16, 21])), BAD),
    "a shape of none": (entries(lambda parsed: parsed["bn.a"].update(shape=[])), BAD),
    "a shape too large": (entries(lambda parsed: parsed["bn.a"].update(shape=[2**39])), BAD),
    "a shape negative": (entries(lambda parsed: parsed["bn.a"].update(shape=[-336])), BAD),
    "a dtype unknown": (entries(lambda parsed: parsed["bn.a"].update(dtype="I32")), BAD),
    "a dtype inherited": (entries(lambda parsed: parsed["bn.a"].update(dtype="toString")), BAD),
    "an entry more": (entries(lambda parsed: parsed["bn.a"].update(more=1)), BAD),
    "an entry a text": (entries(lambda parsed: parsed.update({"bn.a": "F32"})), BAD),
    "tensors over one another": (entries(lambda parsed: parsed["bn.b"].update(data_offsets=[0, 1344])), BAD),
    "a list": (lambda data: spelled(b"[]"), BAD),
    "nested without end": (lambda data: spelled(b"[" * 100000), BAD),
}


@pytest.fixture(scope="module")
def mangled(good, tmp_path_factory) -> tuple[dict[str, Path], dict[str, Any]]:
    folder = tmp_path_factory.mktemp("mangled")
    data, files = good["folded"].read_bytes(), {}
    for number, (name, (change, _)) in enumerate(BYTES.items()):
        files[name] = folder / f"{number}.safetensors"
        files[name].write_bytes(change(data))
        assert (files[name].read_bytes() == data) == (name == "itself"), name
    return files, answers(files)


@pytest.mark.parametrize("name", BYTES)
def test_mangled(mangled, name):
    files, said = mangled
    assert (said[name].get("error"), refusal(files[name])) == (BYTES[name][1], BYTES[name][1])


def regions(data: bytes) -> dict[str, range]:
    (size,) = struct.unpack("<Q", data[:8])
    return {"length": range(8), "header": range(8, 8 + size), "buffer": range(8 + size, len(data))}


@pytest.mark.parametrize("each", [20, pytest.param(1000, marks=pytest.mark.slow)])
def test_no_flipped_bit_passes(good, tmp_path, each):
    draw, files = random.Random(0), {}
    for base in ("rich", "rans"):
        data = good[base].read_bytes()
        for region, places in regions(data).items():
            bits = [(place, bit) for place in places for bit in range(8)]
            for place, bit in draw.sample(bits, min(each, len(bits))):
                name = f"{base} {region} {place} {bit}"
                files[name] = tmp_path / f"{len(files)}"
                files[name].write_bytes(data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :])
    for name, said in answers(files).items():
        assert said.get("error") is not None, name
        assert said["error"] == refusal(files[name]), name
        if " buffer " in name:
            assert said["error"] == "PayloadDigestMismatch", name
