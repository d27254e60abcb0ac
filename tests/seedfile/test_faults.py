"""Damaged and hostile files: each is refused by name, before anything large is allocated; none crashes or hangs."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bnonly.seedfile import container
from bnonly.seedfile.contents import open_file, read
from bnonly.seedfile.errors import (
    SeedFileError,
)
from tests.seedfile.made import CASES, GOLDEN, golden

SMALL = golden("folded-rans-1-coarse")


def refused(data: bytes) -> str:
    """The name of the error; fails where the file is accepted or anything else is raised."""
    with pytest.raises(SeedFileError) as caught:
        read(data)
    error = caught.value
    assert type(error) is not SeedFileError and error.field and error.todo and "\n" not in str(error)
    return type(error).__name__


def every_change(data: bytes, places, changes) -> None:
    for place in places:
        damaged = bytearray(data)
        for change in changes:
            damaged[place] = data[place] ^ change
            try:
                read(bytes(damaged))
            except SeedFileError:
                continue
            raise AssertionError(f"byte {place} changed by {change:#x} is accepted")


@pytest.mark.parametrize("part", range(4))
def test_every_flipped_bit_is_refused(part):
    every_change(SMALL, range(part, len(SMALL), 4), [1 << bit for bit in range(8)])


@pytest.mark.slow
@pytest.mark.parametrize("part", range(8))
@pytest.mark.parametrize("name", ["folded-rans-1-coarse", "folded-fp16-mask", "sign-two-classes"])
def test_every_changed_byte_is_refused(name, part):
    data = golden(name)
    every_change(data, range(part, len(data), 8), range(1, 256))


@pytest.mark.parametrize("name", CASES)
def test_every_truncation_is_refused(name):
    data = golden(name)
    step = 1 if data == SMALL else 97
    for size in range(0, len(data), step):
        assert refused(data[:size]) in ("CorruptFile", "TooLarge")


def test_every_appended_byte_is_refused():
    for value in range(256):
        assert refused(SMALL + bytes([value])) == "CorruptFile"


def test_two_swapped_tensors_are_refused():
    text, tensors, _ = container.unpack(golden("folded-fp32-raw"))
    swapped = dict(tensors, **{"bn.a": tensors["bn.b"], "bn.b": tensors["bn.a"]})
    assert refused(container.pack(text, swapped)) == "PayloadDigestMismatch"


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_mutations_are_refused_in_a_sentence(data):
    mutate(data)


@pytest.mark.slow
@settings(deadline=None, max_examples=30_000)
@given(st.data())
def test_many_mutations_are_refused_in_a_sentence(data):
    mutate(data)


def mutate(data) -> None:
    """Cut, double, swap and overwrite pieces of a golden file; a changed file is never accepted."""
    whole = golden(data.draw(st.sampled_from(sorted(CASES))))
    bytes_ = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        begin = data.draw(st.integers(0, len(bytes_)))
        end = data.draw(st.integers(begin, min(len(bytes_), begin + 64)))
        kind = data.draw(st.sampled_from(["cut", "double", "overwrite", "number"]))
        if kind == "cut":
            del bytes_[begin:end]
        elif kind == "double":
            bytes_[begin:begin] = bytes_[begin:end]
        elif kind == "overwrite":
            bytes_[begin:end] = data.draw(st.binary(min_size=end - begin, max_size=end - begin))
        else:
            bytes_[begin:end] = data.draw(st.sampled_from([b"1e999", b"-1", b"9" * 30, b"null", b"{}", b"[]", b'"']))
    if bytes(bytes_) != whole:
        refused(bytes(bytes_))


def test_a_killed_writer_leaves_the_old_file_or_the_new_one(tmp_path):
    """SIGKILL at twenty moments of saving over and over: what lies there always loads, and is one of the two."""
    path = tmp_path / "net.safetensors"
    old, new = golden("folded-fp16-raw"), golden("folded-fp32-raw")
    path.write_bytes(old)
    paths = [str(GOLDEN / f"folded-fp{bits}-raw.safetensors") for bits in (32, 16)]
    script = (
        "import sys, pathlib\nfrom bnonly.files import write_atomically\n"
        f"data = [pathlib.Path(p).read_bytes() for p in {paths!r}]\n"
        "print('ready', flush=True)\n"
        "while True:\n    for one in data:\n        write_atomically(pathlib.Path(sys.argv[1]), one)\n"
    )
    for moment in range(20):
        writer = subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE)
        assert writer.stdout is not None and writer.stdout.readline() == b"ready\n"
        time.sleep(0.003 * moment)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        assert path.read_bytes() in (old, new)
        assert open_file(path).header.bn.dtype in ("fp16", "fp32")
