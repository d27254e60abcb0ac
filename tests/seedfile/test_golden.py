"""Files that every later version must read, and that the writer must go on writing byte for byte."""

from __future__ import annotations

import json

import pytest
import torch

from bnonly.seedfile.contents import read
from tests.seedfile.made import CASES, GOLDEN, golden, parameters_digest

DIGESTS = json.loads((GOLDEN / "digests.json").read_text())


def test_every_form_codec_and_dtype_is_here():
    headers = [read(golden(name)).header for name in CASES]
    assert {(h.bn.form, h.codec) for h in headers} == {
        *((form, codec) for form in ("folded", "full") for codec in ("raw", "mask")),
        ("folded", "rans-1"),
        *(("affine", codec) for codec in ("raw", "mask")),
    }
    assert {h.bn.dtype for h in headers} == {"fp32", "fp16", "bf16"}
    assert {name for h in headers for name in h.requires} == {
        "affine",
        "mask",
        "rans-1",
        "random.values",
        "rounds",
        "shortcut.weight",
    }
    assert {path.stem for path in GOLDEN.glob("*.safetensors")} == CASES.keys() == DIGESTS.keys()


@pytest.mark.parametrize("name", CASES)
def test_it_is_read(name):
    """Down to the last parameter, whose digest was written when the file was."""
    assert parameters_digest(GOLDEN / f"{name}.safetensors") == DIGESTS[name]


@pytest.mark.parametrize("name", CASES)
def test_it_is_written_again(name):
    assert CASES[name].packed().data == golden(name)


def test_the_digits_of_the_probe_do_not_depend_on_threads():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert CASES["folded-fp32-raw"].packed().data == golden("folded-fp32-raw")
    finally:
        torch.set_num_threads(before)
