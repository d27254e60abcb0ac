"""A side's end of the pipe: what it counts, what it keeps to itself, and when it stops."""

from __future__ import annotations

import io
import json

import pytest
import torch
from torch import nn

from experiments.yardstick import pace
from experiments.yardstick.pace import Pace, Saved


class Gone(Exception):
    """In the place of the process's end."""


@pytest.fixture
def pipe(monkeypatch):
    """A pipe whose requests are all there: -> (what to ask, what was answered)."""

    def ask(*requests):
        said = io.StringIO()
        monkeypatch.setattr("sys.stdin", io.StringIO("".join(json.dumps(one) + "\n" for one in requests)))
        monkeypatch.setattr(pace, "_answers", [said])
        monkeypatch.setattr("os._exit", lambda status: (_ for _ in ()).throw(Gone))
        return lambda: [json.loads(line) for line in said.getvalue().splitlines()]

    return ask


def until_gone(paced, step):
    """Step until nobody asks any more; how often."""
    for steps in range(1, 100):
        images = step()
        try:
            paced.stepped(images)
        except Gone:
            return steps
    raise AssertionError("it went on")


def test_blocks_are_counted_in_images(pipe, monkeypatch):
    answers = pipe({"do": "block", "seconds": 3.0}, {"do": "memory"}, {"do": "block", "seconds": 2.0})
    clock = iter(range(1000))
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))  # each look takes a second
    steps = until_gone(Pace(torch.device("cpu")), lambda: 5)
    ready, first, memory, second = answers()
    assert ready == {"ready": True}
    assert (first["images"], second["images"]) == (15, 10)
    assert first["seconds"] == 4 and second["seconds"] == 3  # to the look after the last step
    assert memory["of"] == "resident" and memory["peak"] >= memory["before"] > 1e6
    assert steps == 1 + 3 + 2


def test_batches_prepared_meanwhile_do_not_count(pipe):
    answers = pipe({"do": "block", "seconds": 0.0})
    assert until_gone(Pace(torch.device("cpu"), drain=3), lambda: 7) == 5  # one until ready, three in vain
    assert answers()[1]["images"] == 7


def test_what_autograd_keeps():
    """By hand: the input, for the first layer's weight, and the ReLU's output once, though two layers keep it."""
    net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
    given = torch.randn(5, 3)
    with Saved(net) as kept:
        net(given).sum().backward()
    assert kept.bytes == 4 * (5 * 3 + 5 * 8)
    net.requires_grad_(False)
    net[0].bias.requires_grad_()
    with Saved(net) as kept:
        net(given).sum().backward()
    assert kept.bytes == 4 * 5 * 8
    with torch.no_grad(), Saved(net) as kept:
        net(given)
    assert kept.bytes == 0


def test_a_function_of_ones_own_is_seen():
    class Twice(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x, x[:1])
            return 2 * x

        @staticmethod
        def backward(ctx, gradient):
            return 2 * gradient

    x = torch.ones(7, 3, requires_grad=True) * 1
    with Saved(nn.Identity()) as kept:
        Twice.apply(x).sum().backward()
    assert kept.bytes == 4 * 7 * 3  # a view is no second storage


def test_one_step_is_looked_into(pipe):
    answers = pipe({"do": "saved"}, {"do": "block", "seconds": 0.0})
    net = nn.Linear(3, 2)

    def step():
        net(torch.randn(5, 3)).sum().backward()
        return 5

    until_gone(Pace(torch.device("cpu"), net), step)
    assert answers()[1] == {"bytes": 4 * 5 * 3}
    assert answers()[2]["images"] == 5
