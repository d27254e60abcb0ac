"""Whole numbers to few bytes without tables of frequencies: a reader counts what has come so far as the writer did.

Each symbol is a walk down a binary tree, and each turn is coded by how often it was taken at that node before (as
CABAC does; DeepCABAC, arXiv 1907.11900, stores trained weights so), by rANS (arXiv 1311.2540) with a 32-bit state.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

_BITS = 16
_WHOLE = 1 << _BITS
_LOW = 1 << 23
_LEAST = 16  # of 2^16: no turn is ever thought impossible
_LEANING = 16  # turns of its own that weigh as much as what other parts of the kind show

Symbols = NDArray[Any]
"""Whole numbers from 0 up."""


@dataclass(frozen=True)
class Part:
    """So many symbols below 2^bits, 16 bits at most.

    kind: parts of one look alike; None is of bytes that no count helps.
    """

    kind: str | None
    bits: int
    count: int


def encode(parts: Sequence[Part], symbols: Sequence[Symbols]) -> bytes:
    """One stream of all parts."""
    for part, own in zip(parts, symbols, strict=True):
        if own.shape != (part.count,) or int(own.max(initial=0)) >> part.bits:
            raise ValueError(f"{part} are not these {own.size} symbols up to {own.max(initial=0)}")
    writer = _Writer([symbol for own in symbols for symbol in own.tolist()])
    for _ in _walk(parts, writer):
        pass
    return writer.stream()


def decode(stream: bytes, parts: Sequence[Part]) -> list[Symbols]:
    """The symbols of each part. Raises ValueError for a stream that `encode` does not write for these parts."""
    reader = _Reader(stream)
    walked = zip(parts, _walk(parts, reader), strict=True)
    found = [np.array(own, np.uint8 if part.bits <= 8 else np.uint16) for part, own in walked]
    reader.close()
    return found


class _Coder(Protocol):
    """What the walk is done with: a turn or a byte goes into the stream or comes out of it."""

    def begin(self) -> None:
        """The next symbol comes."""
        ...

    def turn(self, place: int, chance: int) -> int:
        """Bit `place` of the symbol, 1 with `chance` of 2^16."""
        ...

    def byte(self) -> int: ...


def _walk(parts: Sequence[Part], coder: _Coder) -> Iterator[list[int]]:
    """The symbols of part after part, as the coder tells them."""
    known: dict[tuple[str, int], tuple[list[int], list[int]]] = {}
    for part in parts:
        symbols = [0] * part.count
        if part.kind is None:
            for i in range(part.count):
                coder.begin()
                symbols[i] = coder.byte()
            yield symbols
            continue
        # By node: how often it was reached, and left by a 1; in parts of the kind, this one too, and in this alone.
        reached, ones = known.setdefault((part.kind, part.bits), ([0] * (1 << part.bits), [0] * (1 << part.bits)))
        own_reached, own_ones = [0] * (1 << part.bits), [0] * (1 << part.bits)
        places = range(part.bits - 1, -1, -1)
        for i in range(part.count):
            coder.begin()
            node = 1
            for place in places:
                others = (2 * ones[node] + 1 << _BITS - 1) // (reached[node] + 1)
                chance = (own_ones[node] * _WHOLE + _LEANING * others) // (own_reached[node] + _LEANING)
                bit = coder.turn(place, min(max(chance, _LEAST), _WHOLE - _LEAST))
                reached[node] += 1
                ones[node] += bit
                own_reached[node] += 1
                own_ones[node] += bit
                node = 2 * node + bit
            symbols[i] = node - (1 << part.bits)
        yield symbols


class _Writer:
    """Notes every step's place in 0 to 2^16, and codes them last to first, as rANS has to."""

    def __init__(self, symbols: list[int]) -> None:
        self._symbols = iter(symbols)
        self._symbol = 0
        self._steps: list[tuple[int, int]] = []  # start and size

    def begin(self) -> None:
        self._symbol = next(self._symbols)

    def turn(self, place: int, chance: int) -> int:
        bit = self._symbol >> place & 1
        self._steps.append((0, chance) if bit else (chance, _WHOLE - chance))
        return bit

    def byte(self) -> int:
        self._steps.append((self._symbol << 8, 1 << 8))
        return self._symbol

    def stream(self) -> bytes:
        state, tail = _LOW, bytearray()
        for start, size in reversed(self._steps):
            while state >= size << 31 - _BITS:
                tail.append(state & 0xFF)
                state >>= 8
            state = (state // size << _BITS) + state % size + start
        return state.to_bytes(4, "big") + bytes(reversed(tail))


class _Reader:
    def __init__(self, stream: bytes) -> None:
        self._state, self._stream, self._place = int.from_bytes(stream[:4], "big"), stream, 4
        if len(stream) < 4 or not _LOW <= self._state < 1 << 31:
            raise ValueError("the stream does not begin with a state from 2^23 to 2^31")

    def begin(self) -> None:
        pass

    def turn(self, place: int, chance: int) -> int:
        slot = self._state & _WHOLE - 1
        if slot < chance:
            self._leave(chance, slot)
            return 1
        self._leave(_WHOLE - chance, slot - chance)
        return 0

    def byte(self) -> int:
        slot = self._state & _WHOLE - 1
        self._leave(1 << 8, slot & 0xFF)
        return slot >> 8

    def close(self) -> None:
        if self._state != _LOW or self._place != len(self._stream):
            raise ValueError(f"the stream does not end where its symbols do, byte {self._place}")

    def _leave(self, size: int, rest: int) -> None:
        self._state = size * (self._state >> _BITS) + rest
        while self._state < _LOW:
            if self._place == len(self._stream):
                raise ValueError(f"the stream ends after byte {self._place}, before its symbols do")
            self._state = self._state << 8 | self._stream[self._place]
            self._place += 1
