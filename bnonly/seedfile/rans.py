"""Static range coding by asymmetric numeral systems: symbols to bytes, close to their entropy. Integers only.

rANS (J. Duda, arXiv 1311.2540) with a 32-bit state, lower bound 2^23, renormalised byte by byte; frequencies sum to
2^14. Each symbol is coded by the table of its part of the stream. The stream begins with the state, most significant
byte first, and must end, with its last byte read, at the state the encoder began with.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bnonly.seedfile.errors import CorruptFile

BITS = 14
_WHOLE = 1 << BITS
_LOW = 1 << 23


def frequencies(symbols: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """How often each of `size` symbols is expected of 2^14: [size], at least 1 for every symbol that occurs.

    Seats by Webster's method: one for each that occurs, then one by one to the largest count/(2 seats + 1), of
    equals to the smaller symbol. All go to symbol 0 where nothing is to be coded.
    """
    counts = np.bincount(symbols, minlength=size).tolist()
    seats = [int(count > 0) for count in counts]
    if not any(seats):
        return np.array([_WHOLE] + [0] * (size - 1))
    heap = [(-count / 3, symbol) for symbol, count in enumerate(counts) if count]
    heapq.heapify(heap)
    for _ in range(_WHOLE - sum(seats)):
        symbol = heap[0][1]
        seats[symbol] += 1
        heapq.heapreplace(heap, (-counts[symbol] / (2 * seats[symbol] + 1), symbol))
    return np.array(seats)


def encode(parts: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]]) -> bytes:
    """One stream of all parts: (symbols, frequencies of their table)."""
    state, tail = _LOW, bytearray()
    for symbols, freq in reversed(parts):
        sizes, starts = freq.tolist(), _starts(freq)
        for symbol in reversed(symbols.tolist()):
            size = sizes[symbol]
            while state >= size << (31 - BITS):
                tail.append(state & 0xFF)
                state >>= 8
            state = (state // size << BITS) + starts[symbol] + state % size
    return state.to_bytes(4, "big") + bytes(reversed(tail))


def decode(stream: bytes, parts: Sequence[tuple[int, NDArray[np.int64]]]) -> list[NDArray[np.int64]]:
    """The symbols of all parts: (how many, frequencies of their table). Raises CorruptFile for any other stream."""
    if len(stream) < 4:
        raise CorruptFile("tensor bn.codes", "at least 4 bytes", len(stream))
    state, place, last = int.from_bytes(stream[:4], "big"), 4, len(stream)
    if not _LOW <= state < 1 << 31:
        raise CorruptFile("tensor bn.codes", "a state from 2^23 to 2^31", state)
    decoded = []
    for count, freq in parts:
        sizes, starts = freq.tolist(), _starts(freq)
        symbol_of = np.repeat(np.arange(len(freq)), freq).tolist()
        symbols = [0] * count
        for i in range(count):
            slot = state & (_WHOLE - 1)
            symbols[i] = symbol = symbol_of[slot]
            state = sizes[symbol] * (state >> BITS) + slot - starts[symbol]
            while state < _LOW:
                if place == last:
                    raise CorruptFile("tensor bn.codes", "more bytes", f"its end after {last}")
                state = state << 8 | stream[place]
                place += 1
        decoded.append(np.array(symbols, np.int64))
    if state != _LOW or place != last:
        raise CorruptFile(
            "tensor bn.codes", "to end at state 2^23 and its last byte", f"{state}, {last - place} left"
        )
    return decoded


def _starts(freq: NDArray[np.int64]) -> list[int]:
    return [0, *np.cumsum(freq)[:-1].tolist()]
