"""bngen-1 once more, from its specification, in plain Python integers: slow, and sharing nothing with the package."""

from __future__ import annotations

import json
import math
import struct
from fractions import Fraction
from pathlib import Path

VECTORS = json.loads((Path(__file__).parents[1] / "golden" / "bngen-1.json").read_text())
M64 = (1 << 64) - 1


def philox4x64(counter: list[int], key: list[int]) -> list[int]:
    """Ten rounds, as in the paper's figure."""
    counter, key = list(counter), list(key)
    for _ in range(10):
        first, second = 0xD2E7470EE14C6C93 * counter[0], 0xCA5A826395121157 * counter[2]
        counter = [
            (second >> 64) ^ counter[1] ^ key[0],
            second & M64,
            (first >> 64) ^ counter[3] ^ key[1],
            first & M64,
        ]
        key = [(key[0] + 0x9E3779B97F4A7C15) & M64, (key[1] + 0xBB67AE8584CAA73B) & M64]
    return counter


def word(seed: int, stream: int, element: int) -> int:
    block = philox4x64([1 + (element >> 3), 0, 0, stream], [seed & M64, seed >> 64])
    return block[(element >> 1) & 3] >> (32 if element & 1 else 0) & 0xFFFFFFFF


def table(byte: int) -> int:
    half = VECTORS["table_positive_half"]
    return half[byte - 128] if byte >= 128 else -half[127 - byte]


def integer(seed: int, stream: int, element: int, dist: str) -> int:
    w = word(seed, stream, element)
    if dist == "normal":
        return sum(weight * table(w >> 8 * byte & 255) for byte, weight in enumerate((13, 14, 15, 17)))
    if dist == "uniform":
        return 2 * (w >> 8) + 1 - (1 << 24)
    return 1 - 2 * (w >> 31)


def float32(value: Fraction) -> float:
    """The nearest float32, ties to even, by exact rational arithmetic (normal range)."""
    if value == 0:
        return 0.0
    sign, value = (-1 if value < 0 else 1), abs(value)
    exponent = math.frexp(float(value))[1]
    unit = Fraction(2) ** (exponent - 24)
    if value / unit >= 1 << 24:
        unit *= 2
    elif value / unit < 1 << 23:
        unit /= 2
    return sign * float(round(value / unit) * unit)  # Fraction's round is half to even


def weight(seed: int, stream: int, element: int, fan: int, dist: str) -> float:
    std = math.sqrt(2.0 / fan)
    unit = {"normal": 2.0**-21, "uniform": math.sqrt(3.0) * 2.0**-24, "sign": 1.0}[dist]
    scale = float32(Fraction(std * unit))
    return float32(Fraction(integer(seed, stream, element, dist)) * Fraction(scale))


def positions(seed: int, stream: int, channels: int, scalars: int, count: int) -> list[list[int]]:
    at = 0

    def below(m: int) -> int:
        nonlocal at
        while True:
            w = word(seed, stream, at)
            at += 1
            if w < (1 << 32) // m * m:
                return w % m

    chosen = []
    for _ in range(channels):
        order = list(range(scalars))
        for i in range(min(count, scalars)):
            j = i + below(scalars - i)
            order[i], order[j] = order[j], order[i]
        chosen.append(order[: min(count, scalars)])
    return chosen


def bytes_of(values: list[float]) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)
