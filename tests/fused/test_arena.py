"""The arena: nothing overlaps, all comes back, and gaps grow together again."""

from __future__ import annotations

import gc
import random
import threading

import pytest
import torch

from bnonly.fused import arena
from bnonly.fused.native import kernels

pytestmark = pytest.mark.skipif(kernels() is None, reason="no compiler here")

CPU = torch.device("cpu")
LARGE = (4, 16, 64, 32)  # half a MiB of float32


def taken(shape=LARGE, dtype=torch.float32):
    return arena.empty(shape, dtype, CPU)


@pytest.fixture(autouse=True)
def all_is_given_back():
    gc.collect()
    before = arena.used()
    yield
    gc.collect()
    assert arena.used() == before


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_tensor_like_any_other(dtype):
    before = arena.used()
    x = taken(dtype=dtype).zero_()
    assert arena.used() - before == x.numel() * x.element_size()
    assert x.shape == LARGE and x.dtype == dtype and x.is_contiguous(memory_format=torch.channels_last)
    assert x.data_ptr() % 64 == 0 and not x.any()
    view = x[1:, :3]
    del x
    assert arena.used() > before  # a view keeps it
    del view
    assert arena.used() == before


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((1, 8, 4, 4), torch.float32), ((0, 16, 64, 64), torch.float32), (LARGE, torch.float16)],
    ids=["small", "none", "type"],
)
def test_others_are_torchs(shape, dtype):
    before = arena.used()
    x = taken(shape, dtype)
    assert x.shape == shape and x.dtype == dtype and arena.used() == before


def test_without_kernels_all_are_torchs(monkeypatch):
    monkeypatch.setattr(arena, "kernels", lambda: None)
    assert taken().shape == LARGE and arena.used() == 0


def test_nothing_overlaps_and_what_is_given_back_is_taken_again():
    drawn, held, places = random.Random(0), {}, []
    for number in range(2000):
        if held and drawn.random() < 0.5:
            value, x = held.popitem() if drawn.random() < 0.5 else (key := next(iter(held)), held.pop(key))
            assert (x == value).all()
            del x
        else:
            held[number] = taken((1, 8, drawn.randint(64, 300), 64)).fill_(number)
            places.append(held[number].data_ptr())
    assert all((x == value).all() for value, x in held.items())
    most = 64 * 300 * 64 * 8 * 4  # far less than all that was taken, and more than was ever held
    assert max(places) - min(places) < most


def test_gaps_grow_together():
    parts = [taken() for _ in range(4)]
    first = min(part.data_ptr() for part in parts)
    del parts
    whole = taken((16, 16, 64, 32))
    assert whole.data_ptr() <= first


def test_threads():
    wrong = []

    def work(value):
        for _ in range(200):
            x = taken((1, 8, 64, 64 + value)).fill_(value)
            if not (x == value).all():
                wrong.append(value)

    threads = [threading.Thread(target=work, args=(value,)) for value in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_trimmed_memory_can_be_taken_again():
    x = taken().fill_(3)
    y = taken((64, 16, 64, 64)).fill_(4)
    del y
    arena.trim()
    assert (x == 3).all() and (taken((64, 16, 64, 64)).fill_(5) == 5).all()
