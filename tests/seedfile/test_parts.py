"""The file's parts against something else: safetensors itself, torch's casts, entropy, exact fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load, save

from bnonly.errors import BadInput
from bnonly.seedfile import codecs, container, rans
from bnonly.seedfile.container import Tensor
from bnonly.seedfile.errors import CorruptFile
from bnonly.seedfile.floats import loaded, rounded, stored

texts = st.text(st.characters(codec="utf-8"), max_size=30)


@settings(deadline=None, max_examples=60)
@given(
    text=texts,
    names=st.lists(texts.filter(lambda t: t != "__metadata__"), unique=True, max_size=5),
    seed=st.integers(0, 9),
)
def test_the_outer_file_is_the_one_that_safetensors_writes(text, names, seed):
    random = np.random.default_rng(seed)
    types = {"F32": "<f4", "F16": "<f2", "U16": "<u2", "U8": "u1"}
    arrays, tensors = {}, {}
    for name in names:
        kind = random.choice(list(types))
        arrays[name] = random.integers(0, 50, random.integers(1, 9)).astype(types[kind])
        tensors[name] = Tensor(kind, arrays[name].shape, arrays[name].tobytes())
    data = container.pack(text, tensors)
    assert data == save(arrays, {"bnonly": text})
    back, found, buffer = container.unpack(data)
    assert (back, found) == (text, tensors) and len(buffer) == sum(array.nbytes for array in arrays.values())


def test_a_stored_network_is_a_safetensors_file_for_everyone(tmp_path):
    from tests.seedfile.made import GOLDEN, golden

    for path in GOLDEN.glob("*.safetensors"):
        with safe_open(path, "np") as file:
            assert list(file.metadata()) == ["bnonly"]
    assert load(golden("folded-fp32-raw"))["bn.a"].shape == (336,)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(-7e4, 7e4, width=64), min_size=1, max_size=40))
def test_rounding_is_torchs(values):
    array = np.array(values)
    single = torch.from_numpy(array).float()
    for dtype, kind in (("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)):
        wanted = single.to(kind).float()
        if not wanted.isfinite().all():
            with pytest.raises(BadInput, match=f"does not fit {dtype}"):
                rounded(array, dtype, "x")
            continue
        near = rounded(array, dtype, "x")
        assert np.array_equal(near, wanted.numpy()) and not np.signbit(near[near == 0]).any()
        assert np.array_equal(loaded(stored(near, dtype), dtype, len(values), "x"), near)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.integers(1, 40).flatmap(
                lambda size: st.lists(st.integers(0, size - 1), max_size=300).map(lambda s: (size, s))
            )
        ),
        min_size=1,
        max_size=3,
    )
)
def test_rans_brings_back_what_it_was_given(parts):
    coded = []
    for ((size, symbols),) in parts:
        array = np.array(symbols, np.int64)
        coded.append((array, rans.frequencies(array, size)))
    stream = rans.encode(coded)
    back = rans.decode(stream, [(len(symbols), freq) for symbols, freq in coded])
    assert all(np.array_equal(a, b) for a, (b, _) in zip(back, coded, strict=True))
    for damaged in (stream[:-1], stream + b"\0"):
        with pytest.raises(CorruptFile):
            rans.decode(damaged, [(len(symbols), freq) for symbols, freq in coded])


def test_rans_is_within_a_hundredth_of_the_entropy():
    symbols = np.random.default_rng(0).binomial(40, 0.4, 20_000)
    freq = rans.frequencies(symbols, 41)
    shares = np.bincount(symbols, minlength=41) / len(symbols)
    entropy = -(shares[shares > 0] * np.log2(shares[shares > 0])).sum()
    bits = 8 * len(rans.encode([(symbols, freq)])) / len(symbols)
    assert entropy <= bits < 1.01 * entropy


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=200))
def test_frequencies_are_websters_seats(symbols):
    """Against the definition: no seat is worth more to a symbol that has not got it than to the one that has."""
    array = np.array(symbols)
    freq, counts = rans.frequencies(array, 7), np.bincount(array, minlength=7)
    assert freq.sum() == 1 << 14 and ((freq > 0) == (counts > 0)).all()
    claims = [Fraction(int(c), 2 * int(f) + 1) for c, f in zip(counts, freq, strict=True)]
    held = [Fraction(int(c), 2 * int(f) - 1) for c, f in zip(counts, freq, strict=True) if f > 1]
    assert not held or max(claims) <= min(held)


def test_the_coarse_values_are_within_half_a_step():
    random = np.random.default_rng(1)
    a, sizes = random.normal(0.5, 0.3, 96) * (random.random(96) > 0.3), [16, 80]
    coded = codecs.encode_folded(a, lambda near: np.zeros(96), sizes, "rans-1", "fp16", 16)
    scales = [a[:16][a[:16] != 0].std(), a[16:][a[16:] != 0].std()]
    steps = np.repeat(np.float16(scales), sizes).astype(float) / 16
    assert (np.abs(coded.values["a"] - a) <= steps / 2 + 1e-6).all()
    back = codecs.decode(coded.tensors, "folded", "rans-1", "fp16", sizes, 16)
    assert all(np.array_equal(back[name], coded.values[name]) for name in "ab")
    assert (back["a"][a == 0] == 0).all()


@pytest.mark.parametrize("size", [1e-9, 1.0, 1e4])
def test_a_layer_with_an_outlier_has_wider_steps_if_asked(size):
    """By no more than it takes, and the other layer's stay."""
    random = np.random.default_rng(2)
    a = np.concatenate([random.normal(0, 1, 40), random.normal(0, size, 400)])
    a[200] = 17.3 * size
    sizes, nothing = [40, 400], lambda near: np.zeros(440)
    with pytest.raises(codecs.OutOfReach, match="a of channel 200 is"):
        codecs.encode_folded(a, nothing, sizes, "rans-1", "fp16", 16)
    coded = codecs.encode_folded(a, nothing, sizes, "rans-1", "fp16", 16, widen=True)
    scales = np.frombuffer(coded.tensors["bn.scales"].data, "<f2").astype(float)
    assert scales[0] == float(np.float16(a[:40].std()))
    assert a[200] <= 5 * scales[1] <= a[200] * (1 + 2**-10) + 5 * 2.0**-24
    assert (np.abs(coded.values["a"] - a) <= np.repeat(scales[:2], sizes) / 32 * (1 + 1e-5)).all()
    back = codecs.decode(coded.tensors, "folded", "rans-1", "fp16", sizes, 16)
    assert all(np.array_equal(back[name], coded.values[name]) for name in "ab")


def test_a_scale_that_float16_cannot_hold():
    """The deviation of these is beyond float16, but a fifth of them is not."""
    a, nothing = np.array([2e5, -2e5] * 8), lambda near: np.zeros(16)
    with pytest.raises(codecs.OutOfReach):
        codecs.encode_folded(a, nothing, [16], "rans-1", "fp16", 16)
    coded = codecs.encode_folded(a, nothing, [16], "rans-1", "fp16", 16, widen=True)
    assert np.abs(coded.values["a"] - a).max() <= 4e4 / 32
    a[3] = 4e5
    with pytest.raises(codecs.OutOfReach, match="a of channel 3 is 4e"):
        codecs.encode_folded(a, nothing, [16], "rans-1", "fp16", 16, widen=True)


def test_a_mask_costs_a_bit_a_zero():
    a = np.zeros(1000)
    a[::10] = 1.5
    coded = codecs.encode_folded(a, lambda near: np.zeros(1000), [1000], "mask", "fp16", 1)
    assert len(coded.tensors["bn.mask"].data) == 125 and len(coded.tensors["bn.a"].data) == 200
