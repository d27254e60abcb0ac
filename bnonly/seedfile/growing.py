"""The seeded weights of a plan, drawn one by one, and the digest that says they are the right ones."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from bnonly.randomness import bngen
from bnonly.randomness.entry import Entry
from bnonly.randomness.start import Start
from bnonly.randomness.values import values, values_of_rounds

_WORTH_A_THREAD = 1 << 18  # values: below, handing over costs more than the work


class Digest:
    """SHA-256 of arrays as little-endian float32, in the order added, by a thread of its own."""

    def __init__(self):
        self._hash = hashlib.sha256()
        self._pool = ThreadPoolExecutor(1)
        self._batch: list[NDArray[np.float32]] = []
        self._running: Future[None] | None = None

    def __enter__(self) -> Digest:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._pool.shutdown()

    def add(self, values: NDArray[np.float32]) -> None:
        """The array must stay as it is until `hexdigest`."""
        self._batch.append(values)
        if sum(array.size for array in self._batch) >= _WORTH_A_THREAD:
            self._submit()

    def hexdigest(self) -> str:
        self._submit()
        self._finish()
        return self._hash.hexdigest()

    def _submit(self) -> None:
        self._finish()  # one at a time: no more than two batches are kept alive
        batch, self._batch = self._batch, []
        self._running = self._pool.submit(self._update, batch)

    def _update(self, batch: list[NDArray[np.float32]]) -> None:
        for array in batch:
            self._hash.update(np.ascontiguousarray(array, "<f4").reshape(-1).data)

    def _finish(self) -> None:
        if self._running is not None:
            self._running.result()


Rounds = Mapping[str, NDArray[np.uint8]]
"""How often each filter was drawn anew, uint8 [filters], by its weight's name; weights left out: never."""


def drawn(
    entries: Iterable[Entry], seed: int, start: Start, rounds: Rounds | None = None
) -> Iterator[NDArray[np.float32]]:
    """The seed's values of each entry, in order. Large ones are drawn by two threads, one ahead of the caller."""
    known = rounds or {}

    def grown(entry: Entry) -> NDArray[np.float32]:
        if (own := known.get(entry.name)) is None:
            return values(entry, seed, start)
        return values_of_rounds(entry, seed, start, own)

    with ThreadPoolExecutor(2) as pool:
        ahead: deque[Future[NDArray[np.float32]]] = deque()
        for entry in entries:
            if entry.size >= _WORTH_A_THREAD:
                ahead.append(pool.submit(grown, entry))
                if len(ahead) == 2:
                    yield ahead.popleft().result()
                continue
            while ahead:
                yield ahead.popleft().result()
            yield grown(entry)
        while ahead:
            yield ahead.popleft().result()


def places(entry: Entry, seed: int, scalars: int) -> NDArray[np.int64]:
    """Positions of random:K in a parameter, flat: int64 [channels * min(K, n)]."""
    channels = entry.shape[0]
    n = entry.size // channels
    stream = bngen.stream_number(bngen.POSITIONS, entry.index)
    return (bngen.positions(seed, stream, channels, n, scalars) + n * np.arange(channels)[:, None]).reshape(-1)
