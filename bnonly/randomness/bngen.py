"""`bngen-1`: from a 128-bit seed and a stream number to the same numbers on every machine, for ever.

Philox4x64-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011) gives the bits. Everything
after them is integer arithmetic or one correctly rounded float operation: no libm, no vendor's normal sampler,
nothing that depends on an instruction set, a thread count or a library version. numpy promises the raw stream of
its bit generators and nothing more, so the raw stream is all that is used of it.

A *stream* is one u64, `purpose << 56 | round << 32 | index`; element e of a tensor in C order takes 32-bit word e of
it. `Stream` hands out the words in order. Importing this module checks the generator against published answers
(`self_test`) and raises `GeneratorBroken` where the machine does not reproduce them.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bnonly.errors import BadInput, GeneratorBroken

Distribution = Literal["normal", "uniform", "sign"]
DISTRIBUTIONS: tuple[Distribution, ...] = ("normal", "uniform", "sign")

# What a stream is for. 0, 1 and 0x80 are part of the seed+BN file's specification; the rest order data and channels.
INITIAL, POSITIONS, ORDER, AUGMENTATION, HOLDOUT, PROBE = 0x00, 0x01, 0x40, 0x41, 0x42, 0x80
CLAMPING, REGROWN, MIXING, SHIFTS, DRAWS = 0x43, 0x44, 0x45, 0x46, 0x47

_CHUNK = 1 << 16  # words at a time: indices, tables and results stay in the L2 cache
_LOW_64 = (1 << 64) - 1
_SQRT3 = math.sqrt(3.0)

# The positive half of T: 256 antisymmetric integers whose weighted sum of four is a normal of variance 2^42.
# fmt: off
HALF_TABLE = (
    312, 942, 1572, 2199, 2828, 3458, 4088, 4720, 5351, 5984, 6618, 7253, 7890, 8528, 9168, 9809, 10452, 11098,
    11745, 12395, 13047, 13701, 14359, 15019, 15681, 16347, 17016, 17689, 18365, 19044, 19727, 20414, 21105, 21801,
    22500, 23204, 23913, 24627, 25345, 26069, 26798, 27533, 28273, 29019, 29772, 30530, 31295, 32066, 32845, 33630,
    34423, 35223, 36030, 36846, 37671, 38502, 39343, 40193, 41052, 41919, 42798, 43686, 44584, 45493, 46412, 47343,
    48285, 49239, 50206, 51185, 52176, 53181, 54200, 55233, 56280, 57343, 58420, 59514, 60624, 61751, 62895, 64058,
    65239, 66439, 67658, 68899, 70160, 71443, 72749, 74077, 75430, 76808, 78212, 79642, 81100, 82587, 84103, 85650,
    87230, 88842, 90489, 92172, 93892, 95651, 97450, 99291, 101176, 103107, 105085, 107113, 109192, 111326, 113516,
    115765, 118076, 120453, 122898, 125418, 128016, 130704, 133495, 136416, 139523, 142940, 146990, 152678, 164320,
    223646,
)
# fmt: on
_TABLE_SHA256 = "0f9380b2645603019f5adb850cb0dcf78cb87a0a6fcbdc305b89b5e7d252a945"


def stream_number(purpose: int, index: int, round: int = 0) -> int:
    """`purpose << 56 | round << 32 | index`: purpose and index say what for, round counts redraws (or epochs)."""
    if not (0 <= purpose < 1 << 8 and 0 <= round < 1 << 24 and 0 <= index < 1 << 32):
        raise BadInput(f"stream ({purpose}, {round}, {index}) is out of range: 8, 24 and 32 bits")
    return purpose << 56 | round << 32 | index


class Stream:
    """The 32-bit words of one stream, in order.

    seed: 0 <= seed < 2^128 (a small one is zero-extended). stream: 0 <= stream < 2^64.
    """

    def __init__(self, seed: int, stream: int):
        if not 0 <= seed < 1 << 128:
            raise BadInput(f"seed {seed} is out of range: a seed has 128 bits, 0 <= seed < 2^128")
        if not 0 <= stream < 1 << 64:
            raise BadInput(f"stream {stream} is out of range: a stream number has 64 bits")
        # As arrays: numpy takes two thirds of its time to turn large integers into them.
        key = np.array([seed & _LOW_64, seed >> 64], np.uint64)
        self._bits = np.random.Philox(key=key, counter=np.array([0, 0, 0, stream], np.uint64))
        self._left = np.empty(0, np.uint32)

    def words(self, count: int) -> NDArray[np.uint32]:
        """The next `count` words. Low half of each u64 first."""
        missing = max(0, count - len(self._left))
        fresh = self._bits.random_raw((missing + 1) // 2).astype("<u8", copy=False).view("<u4")
        words = np.concatenate([self._left, fresh]) if len(self._left) else fresh
        self._left = words[count:]
        return words[:count].astype(np.uint32, copy=False)

    def chunks(self, count: int) -> Iterator[tuple[slice, NDArray[np.uint32]]]:
        """The next `count` words in pieces that fit the cache, each with its place."""
        for start in range(0, count, _CHUNK):
            stop = min(start + _CHUNK, count)
            yield slice(start, stop), self.words(stop - start)


def _full_table() -> NDArray[np.int32]:
    half = np.array(HALF_TABLE, np.int32)
    return np.concatenate([-half[::-1], half])


def _pair_table(low: int, high: int) -> NDArray[np.float32]:
    """`low * T[i & 255] + high * T[i >> 8]` for every 16-bit i: exact, every partial sum is under 2^24."""
    table = _full_table()
    return np.add.outer(high * table, low * table).astype(np.float32).ravel()


_LOW_PAIR, _HIGH_PAIR = _pair_table(13, 14), _pair_table(15, 17)


def _halves(words: NDArray[np.uint32]) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    pairs = words.astype("<u4", copy=False).view("<u2")
    return pairs[0::2], pairs[1::2]


def _integers(words: NDArray[np.uint32], dist: Distribution, out: NDArray[np.float32]) -> None:
    """The distribution's integer z for each word, as float32: exact, |z| < 2^24."""
    if dist == "normal":
        low, high = _halves(words)
        # 16 bits cannot leave the table; "wrap" spares numpy its buffered bounds check.
        np.take(_LOW_PAIR, low, out=out, mode="wrap")
        out += np.take(_HIGH_PAIR, high, mode="wrap")
    elif dist == "uniform":
        out[:] = (words >> np.uint32(8)).astype(np.int32) * np.int32(2) + np.int32(1 - (1 << 24))
    else:
        out[:] = np.int32(1) - np.int32(2) * (words >> np.uint32(31)).astype(np.int32)


def integers(seed: int, stream: int, count: int, dist: Distribution = "normal") -> NDArray[np.int32]:
    """The stream's first `count` integers z, before any scaling (unit: 2^-21, sqrt(3) 2^-24 or 1 sigma)."""
    return scaled(seed, stream, count, dist, np.float32(1)).astype(np.int32)


def scaled(
    seed: int,
    stream: int,
    count: int,
    dist: Distribution,
    scale: np.float32,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """`float32(z) * scale`, rounded once, ties to even. out: a C-contiguous float32 array of `count` elements."""
    result = np.empty(count, np.float32) if out is None else out.reshape(-1)
    if result.dtype != np.float32 or result.size != count or (out is not None and not out.flags.c_contiguous):
        raise BadInput(f"out must be a C-contiguous float32 array of {count} elements")
    for place, words in Stream(seed, stream).chunks(count):
        part = result[place]
        _integers(words, dist, part)
        if scale != 1:
            np.multiply(part, scale, out=part)
    return result


def he_scale(fan: int, dist: Distribution) -> np.float32:
    """The float32 factor that turns z into weights of variance 2/fan (He et al., ICCV 2015, eq. 10)."""
    if fan < 1:
        raise BadInput(f"a fan of {fan} is impossible: it counts the scalars that meet in one output")
    if dist not in DISTRIBUTIONS:
        raise BadInput(f"unknown distribution {dist!r}: use one of {', '.join(DISTRIBUTIONS)}")
    unit = {"normal": 2.0**-21, "uniform": _SQRT3 * 2.0**-24, "sign": 1.0}[dist]
    return np.float32(math.sqrt(2.0 / fan) * unit)


def he_weights(
    seed: int,
    stream: int,
    count: int,
    fan: int,
    dist: Distribution = "normal",
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """`count` weights of mean 0 and variance 2/fan, float32, C order. fan is fan_in or fan_out."""
    return scaled(seed, stream, count, dist, he_scale(fan, dist), out)


def unit_scale(dist: Distribution) -> np.float32:
    """The factor of unit variance."""
    return he_scale(2, dist)


def linear_bias(seed: int, stream: int, count: int, fan_in: int) -> NDArray[np.float32]:
    """Uniform in (-1/sqrt(fan_in), 1/sqrt(fan_in)), torch's own range for a linear layer's bias."""
    return scaled(seed, stream, count, "uniform", np.float32(2.0**-24 / math.sqrt(fan_in)))


def gamma_unit(seed: int, stream: int, count: int) -> NDArray[np.float32]:
    """Uniform on [0, 1), multiples of 2^-24: gamma's start in the paper's main experiment."""
    words = Stream(seed, stream).words(count)
    return (words >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)


def gamma_symmetric(seed: int, stream: int, count: int) -> NDArray[np.float32]:
    """Uniform on (-1, 1), odd multiples of 2^-24."""
    return scaled(seed, stream, count, "uniform", np.float32(2.0**-24))


def positions(seed: int, stream: int, channels: int, scalars: int, count: int) -> NDArray[np.int64]:
    """`count` distinct places among each channel's `scalars`: int64 [channels, min(count, scalars)].

    A partial Fisher-Yates shuffle of 0..scalars-1 for every channel, fed by one word counter over all channels:
    draw i takes the next word w below floor(2^32/m)*m, m = scalars-i, and swaps place i with i + w mod m.
    """
    count = min(count, scalars)
    ranges = scalars - np.arange(count, dtype=np.uint64)
    limits = np.tile((1 << 32) // ranges * ranges, channels)
    steps = _accepted(Stream(seed, stream), limits).reshape(channels, count) % ranges
    targets = (steps + np.arange(count, dtype=np.uint64)).astype(np.int64)
    order = np.tile(np.arange(scalars, dtype=np.int64), (channels, 1))
    rows = np.arange(channels)
    for i in range(count):  # all channels at once: the draws are settled, only the swaps are left
        chosen = order[rows, targets[:, i]]
        order[rows, targets[:, i]] = order[:, i]
        order[:, i] = chosen
    return order[:, :count].copy()


def _accepted(stream: Stream, limits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """One word below each limit, in order; a word that is not is passed over (once in 2^32/m draws)."""
    words: NDArray[np.uint64] = stream.words(len(limits)).astype(np.uint64)
    done = 0
    while (refused := np.flatnonzero(words[done:] >= limits[done:])).size:
        done += int(refused[0])
        words = np.concatenate([words[:done], words[done + 1 :], stream.words(1).astype(np.uint64)])
    return words


def permutation(seed: int, stream: int, count: int) -> NDArray[np.int64]:
    """An order of 0..count-1: the stable sort of one u64 key each. Data and channels only, no part of the format."""
    keys = Stream(seed, stream).words(2 * count).astype("<u4", copy=False).view("<u8")
    return np.argsort(keys, kind="stable").astype(np.int64, copy=False)


def below(words: NDArray[np.uint32], bound: int) -> NDArray[np.int64]:
    """Words to 0..bound-1 by multiplication: bias under bound/2^32, meant for crops and flips."""
    return ((words.astype(np.uint64) * np.uint64(bound)) >> np.uint64(32)).astype(np.int64)


def sha256(values: NDArray[np.float32]) -> str:
    """SHA-256, lower-case hex, of the values' little-endian float32 bytes in C order."""
    return hashlib.sha256(np.ascontiguousarray(values, dtype="<f4").data).hexdigest()


def parse_seed(text: str) -> int:
    """A seed written in hexadecimal, up to 32 digits, with or without 0x."""
    digits = text.strip().lower().removeprefix("0x")
    if not digits or len(digits) > 32 or any(digit not in "0123456789abcdef" for digit in digits):
        raise BadInput(f"seed {text!r} is no seed: give 1 to 32 hexadecimal digits, for example 7 or 0x1f")
    return int(digits, 16)


def self_test() -> None:
    """Philox's published answer, T's digest and one vector; raises GeneratorBroken, with what differed."""
    bits = np.random.Philox(key=0, counter=(1 << 256) - 1)  # numpy counts up before the first block
    published = (0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B)
    checks = {
        "Philox4x64-10's published answer": tuple(map(int, bits.random_raw(4))) == published,
        "the table's digest": hashlib.sha256(np.array(HALF_TABLE, "<u4").data).hexdigest() == _TABLE_SHA256,
        "a test vector": integers(0x0123456789ABCDEFFEDCBA9876543210, 5, 4).tolist()
        == [-75870, 2331277, 560026, -438976],
    }
    for what, holds in checks.items():
        if not holds:
            raise GeneratorBroken(
                f"bngen-1 does not reproduce {what} with numpy {np.__version__} on this machine, so no weights "
                "made here could be trusted: reinstall numpy, or report this with the machine's type"
            )


self_test()
