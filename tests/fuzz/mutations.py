"""Changes of plain values, of what JSON and YAML hold, that an attacker or a slip of the hand might make."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from random import Random
from typing import Any

Shake = Callable[[bytes], bytes]
"""A change of bytes that knows nothing of what they mean: libFuzzer's own, or `shaken`."""

ODD: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 3, 255, 1 << 20, 1 << 31, (1 << 53) - 1, 1 << 64, -(1 << 63)),
    *(0.5, -0.5, 1e-9, 1e30, 1e308, 5e-324, 1.0),
    *("", "0", "-", ".", "\n", "\x00", "\u2028", "\x1b[2J", "é" * 3, "x" * 300, "0" * 64, "../x", "none", "%s{0}"),
    *([], [[]], {}, {"": None}, [0] * 20, {"a": {"b": []}}),
)


def shaken(data: bytes, random: Random) -> bytes:
    """A few bytes replaced, removed, doubled or put in."""
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 4))):
        place = random.randrange(len(changed) + 1)
        size = random.choice((1, 1, 2, 4, 8, 32))
        kind = random.randrange(4)
        if kind == 0:
            changed[place : place + size] = random.randbytes(len(changed[place : place + size]))
        elif kind == 1:
            del changed[place : place + size]
        elif kind == 2:
            changed[place:place] = changed[place : place + size]
        else:
            changed[place:place] = random.randbytes(size)
    return bytes(changed)


def changed(value: Any, random: Random, shake: Shake) -> Any:
    """A copy of a plain value in which one place, at any depth, is another value, gone, doubled or new."""
    value = deepcopy(value)
    inside = [place for place in _places(value) if place]
    if not inside:
        return other(value, random, shake)
    *way, last = random.choice(inside)
    holder = value
    for key in way:
        holder = holder[key]
    kind = random.randrange(8)
    if kind == 0:
        del holder[last]
    elif kind == 1 and isinstance(holder, list):
        holder.insert(last, deepcopy(holder[last]))
    elif kind == 1:
        holder[random.choice((*map(str, holder), "extra", "", "x.y"))] = deepcopy(holder[last])
    elif kind == 2:
        away = value
        for key in random.choice(inside):
            away = away[key]
        holder[last] = deepcopy(away)
    else:
        holder[last] = other(holder[last], random, shake)
    return value


def other(value: Any, random: Random, shake: Shake) -> Any:
    """Another value, mostly of the same kind and near it."""
    if random.random() < 0.2:
        return deepcopy(random.choice(ODD))
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, int):
        return random.choice(
            (value + 1, value - 1, value * 2, -value, value ^ (1 << random.randrange(12)), value / 2)
        )
    if isinstance(value, float):
        return random.choice(
            (-value, value * 2, value / 3, value + 1, float(round(value)) if abs(value) < 1e9 else 0.0)
        )
    if isinstance(value, str):
        return shake(value.encode("utf-8", "surrogatepass")).decode("utf-8", "replace")
    if isinstance(value, list):
        return random.choice((value[1:], value * 2, [*value, 0], [value], value[::-1]))
    return {"value": value}


def _places(value: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every value inside, and () to itself."""
    if len(way) > 8:
        return [way]
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [way, *(place for key, inner in items for place in _places(inner, (*way, key)))]
