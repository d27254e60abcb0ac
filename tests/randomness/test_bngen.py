"""The generator against the published vectors, against an independent slow implementation, and as random numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from bnonly.errors import BadInput, GeneratorBroken
from bnonly.randomness import bngen
from tests.randomness import slow_bngen as slow

V = slow.VECTORS
SEEDS = st.integers(0, (1 << 128) - 1)
STREAMS = st.integers(0, (1 << 64) - 1)


def hexes(values: np.ndarray) -> list[str]:
    return [float(value).hex() for value in values]


def test_philox_answers_as_published():
    kat = V["philox4x64_10_kat"]
    assert [f"{word:016x}" for word in slow.philox4x64(kat["counter"], kat["key"])] == kat["out"]


@pytest.mark.parametrize("vector", V["normal_ints"])
def test_normal_integers(vector):
    assert bngen.integers(int(vector["seed"], 16), vector["stream"], 8).tolist() == vector["first8"]


@pytest.mark.parametrize("vector", V["normal_unit_scale_sha256"])
def test_unit_normals(vector):
    values = bngen.scaled(
        int(vector["seed"], 16), vector["stream"], vector["n"], "normal", bngen.unit_scale("normal")
    )
    assert bngen.sha256(values) == vector["sha256"]


@pytest.mark.parametrize("vector", V["he_fan_in_sha256"])
def test_he_normals(vector):
    values = bngen.he_weights(int(vector["seed"], 16), vector["stream"], vector["n"], vector["fan_in"])
    assert bngen.sha256(values) == vector["sha256"]
    assert hexes(values[:3]) == vector.get("first3_hex", hexes(values[:3]))


@pytest.mark.parametrize(
    ("name", "dist", "fan"),
    [
        ("uniform_he_fan_in", "uniform", "fan_in"),
        ("sign_he_fan_in", "sign", "fan_in"),
        ("normal_he_fan_out", "normal", "fan_out"),
    ],
)
def test_other_distributions(name, dist, fan):
    vector = V[name]
    seed = int(vector["seed"], 16)
    values = bngen.he_weights(seed, vector["stream"], vector["n"], vector[fan], dist)
    assert bngen.sha256(values) == vector["sha256"]
    assert hexes(values[:4]) == vector["first4_hex"]
    for key in (key for key in vector if key.endswith("_ints")):
        assert bngen.integers(seed, vector["stream"], len(vector[key]), dist).tolist() == vector[key]


def test_bias_and_gamma():
    bias, gamma = V["linear_bias"], V["gamma_start"]
    seed = int(bias["seed"], 16)
    values = bngen.linear_bias(seed, bias["stream"], bias["n"], bias["fan_in"])
    assert (bngen.sha256(values), hexes(values[:4])) == (bias["sha256"], bias["first4_hex"])
    for make, prefix in ((bngen.gamma_unit, "unit"), (bngen.gamma_symmetric, "symmetric")):
        values = make(seed, gamma["stream"], gamma["n"])
        assert bngen.sha256(values) == gamma[f"{prefix}_sha256"]
        assert hexes(values[:4]) == gamma[f"{prefix}_first4_hex"]


def test_positions():
    vector = V["random_positions"]
    stream = bngen.stream_number(bngen.POSITIONS, vector["index"])
    found = bngen.positions(
        int(vector["seed"], 16), stream, vector["channels"], vector["scalars_per_channel"], vector["K"]
    )
    assert found.tolist() == vector["positions"]


@settings(max_examples=40, deadline=None)
@given(SEEDS, STREAMS, st.integers(1, 40), st.integers(1, 10_000), st.sampled_from(bngen.DISTRIBUTIONS))
def test_weights_equal_the_slow_ones(seed, stream, count, fan, dist):
    expected = [slow.weight(seed, stream, element, fan, dist) for element in range(count)]
    assert bngen.he_weights(seed, stream, count, fan, dist).tolist() == expected


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.integers(1, 5), st.integers(1, 12), st.integers(1, 14))
def test_positions_equal_the_slow_ones(seed, channels, scalars, count):
    stream = bngen.stream_number(bngen.POSITIONS, 3)
    found = bngen.positions(seed, stream, channels, scalars, count)
    assert found.tolist() == slow.positions(seed, stream, channels, scalars, count)


def test_refused_words_are_passed_over():
    # Real ranges refuse a word in a million; limits made low show what happens then.
    class Words:
        def __init__(self):
            self.left = [9, 1, 8, 7, 2, 9, 3]

        def words(self, count):
            taken, self.left = self.left[:count], self.left[count:]
            return np.array(taken, np.uint32)

    assert bngen._accepted(Words(), np.array([5, 5, 5], np.uint64)).tolist() == [1, 2, 3]


def test_chunks_do_not_show(monkeypatch):
    whole = bngen.he_weights(5, 9, 10_001, 27)
    monkeypatch.setattr(bngen, "_CHUNK", 64)
    assert np.array_equal(whole, bngen.he_weights(5, 9, 10_001, 27))
    stream = bngen.Stream(5, 9)
    pieces = np.concatenate([stream.words(size) for size in (1, 2, 3, 5, 8)])
    assert np.array_equal(pieces, bngen.Stream(5, 9).words(19))


def test_normals_are_normal():
    values = bngen.scaled(3, 0, 1 << 21, "normal", bngen.unit_scale("normal")).astype(np.float64)
    assert stats.kstest(values, "norm").pvalue > 1e-3
    assert abs(values.var() - 1) < 5 * np.sqrt(2 / len(values))
    assert abs((values**4).mean() - 3) < 5 * np.sqrt(96 / len(values))
    assert np.abs(values).max() < 6.3


@pytest.mark.parametrize("dist", bngen.DISTRIBUTIONS)
def test_streams_seeds_and_neighbours_are_uncorrelated(dist):
    count = 1 << 18

    def make(seed, stream):
        return bngen.scaled(seed, stream, count, dist, bngen.unit_scale(dist)).astype(np.float64)

    base = make(1, 0)
    for other in (make(1, 1), make(2, 0), make(1, 1 << 32), np.roll(base, 1), np.roll(base, 8)):
        assert abs((base * other).mean()) < 5 / np.sqrt(count)
    assert abs(base.var() - 1) < 0.02


def test_permutations_are_permutations():
    order = bngen.permutation(1, 2, 1001)
    assert np.array_equal(np.sort(order), np.arange(1001))
    assert not np.array_equal(order, bngen.permutation(1, 3, 1001))
    drawn = bngen.below(bngen.Stream(1, 1).words(60_000), 6)
    assert stats.chisquare(np.bincount(drawn, minlength=6)).pvalue > 1e-4


@pytest.mark.parametrize(
    "call",
    [
        lambda: bngen.Stream(-1, 0),
        lambda: bngen.Stream(1 << 128, 0),
        lambda: bngen.Stream(0, 1 << 64),
        lambda: bngen.he_weights(0, 0, 1, 0),
        lambda: bngen.he_weights(0, 0, 1, 1, "cauchy"),
        lambda: bngen.parse_seed("xyz"),
        lambda: bngen.parse_seed("1" * 33),
        lambda: bngen.stream_number(256, 0),
    ],
)
def test_what_is_out_of_range_is_refused(call):
    with pytest.raises(BadInput):
        call()


def test_a_broken_generator_is_noticed(monkeypatch):
    monkeypatch.setattr(bngen, "HALF_TABLE", (313, *bngen.HALF_TABLE[1:]))
    with pytest.raises(GeneratorBroken, match="digest"):
        bngen.self_test()
