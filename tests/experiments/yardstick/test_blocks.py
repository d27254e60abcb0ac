"""Sides are asked in turn, and one that dies says why in a sentence."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack

import pytest

from experiments.yardstick import blocks
from experiments.yardstick.blocks import Side, SideDied, in_turns, turn

# A side that needs no torch: it answers as it was told by its order.
STUB = """
import json, os, signal, sys, time
order = json.loads(sys.stdin.readline())
def tell(**answer): print(json.dumps(answer), flush=True)
if order.get("at") == "start":
    print("Traceback ...", file=sys.stderr)
    sys.exit("bnonly: no luck today")
tell(ready=True, env=dict(os.environ))
for line in sys.stdin:
    asked = json.loads(line)
    if order.get("at") == "block":
        os.kill(os.getpid(), signal.SIGKILL)
    if order.get("at") == "late":
        time.sleep(60)
    if order.get("at") == "noise":
        print("Segmentation fault?", flush=True)
    tell(images=order["rate"], seconds=asked.get("seconds", 1), asked=asked)
"""


def side(name="one", **order):
    return Side(name, {"rate": 1, **order}, 1, (sys.executable, "-c", STUB))


def test_each_answers_for_itself():
    with ExitStack() as stack:
        sides = [stack.enter_context(side(name, rate=rate)) for name, rate in (("a", 3), ("b", 5))]
        assert all(one.start()["first_step"] > 0 for one in sides)
        answers = in_turns(sides, 4, 0.25)
    assert {name: [each["images"] for each in got] for name, got in answers.items()} == {"a": [3] * 4, "b": [5] * 4}
    assert answers["a"][0]["asked"] == {"do": "block", "seconds": 0.25}
    assert [one._process.returncode for one in sides] == [0, 0]  # they go when nobody asks any more


def test_nobody_is_always_first():
    names = ["a", "b", "c"]
    sides = [side(name) for name in names]
    orders = [[one.name for one in turn(sides, number)] for number in range(2 * len(names))]
    assert all(sorted(order) == names for order in orders)
    assert {name: sum(order.index(name) for order in orders) for name in names} == dict.fromkeys(names, 6)
    assert {order[0] for order in orders} == set(names)


@pytest.mark.parametrize(
    ("at", "says"),
    [
        ("start", "side one died in its start: no luck today"),
        ("block", "side one died in a block: its process was killed by SIGKILL"),
        ("noise", "side one died in a block: its process"),
        ("late", "side one died in a block: no answer within 2 s"),
    ],
)
def test_a_side_that_dies_gives_one_sentence(at, says, monkeypatch):
    monkeypatch.setattr(blocks, "PATIENCE", 2.0 if at == "late" else 60.0)
    with side(at=at) as one, pytest.raises(SideDied) as died:
        (one.start(), one.ask("block", seconds=0.1))
    assert str(died.value).startswith(says) and "\n" not in str(died.value)
    assert one._process.returncode is not None


def test_no_setting_of_the_allocator_reaches_a_side(monkeypatch):
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    with side() as one:
        one._put(one._order)
        env = json.loads(one._process.stdout.readline())["env"]
    assert env["OMP_NUM_THREADS"] == "1" and not [name for name in env if name.startswith("MALLOC_")]
