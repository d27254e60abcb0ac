"""Fields of a JSON object that came from outside, taken one by one, each with its kind and bounds."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, TypeVar

from bnonly.seedfile.errors import CorruptFile

_T = TypeVar("_T")


class Fields:
    """The members of one object. Each is taken once; `done` refuses what is left. Raises CorruptFile by name."""

    def __init__(self, value: Any, path: str = ""):
        if not isinstance(value, dict):
            raise CorruptFile(path or "header", "an object", value)
        self._left, self._path = dict(value), path

    def name(self, key: str) -> str:
        return f"{self._path}.{key}" if self._path else key

    def has(self, key: str) -> bool:
        return key in self._left

    def take(self, key: str) -> Any:
        if key not in self._left:
            raise CorruptFile(self.name(key), "to be there", "nothing")
        return self._left.pop(key)

    def inside(self, key: str) -> Fields:
        return Fields(self.take(key), self.name(key))

    def text(self, key: str, pattern: str = r".{1,200}") -> str:
        value = self.take(key)
        if not isinstance(value, str) or not re.fullmatch(pattern, value, re.DOTALL):
            raise CorruptFile(self.name(key), f"text like {pattern}", value)
        return value

    def digest(self, key: str) -> str:
        return self.text(key, "[0-9a-f]{64}")

    def whole(self, key: str, low: int, high: int = 1 << 53) -> int:
        return whole(self.take(key), self.name(key), low, high)

    def number(self, key: str, low: float, high: float) -> float:
        return number(self.take(key), self.name(key), low, high)

    def each(self, key: str, read: Callable[[Any, str], _T], least: int = 0, most: int = 1 << 20) -> tuple[_T, ...]:
        """A list, every item read by read(item, its name)."""
        value, name = self.take(key), self.name(key)
        if not isinstance(value, list) or not least <= len(value) <= most:
            raise CorruptFile(name, f"a list of {least} to {most}", value)
        return tuple(read(item, f"{name}[{place}]") for place, item in enumerate(value))

    def done(self) -> None:
        if self._left:
            raise CorruptFile(self._path or "header", "no other fields", ", ".join(map(repr, sorted(self._left))))


def whole(value: Any, name: str, low: int, high: int = 1 << 53) -> int:
    if type(value) is not int or not low <= value <= high:
        raise CorruptFile(name, f"a whole number from {low} to {high}", value)
    return value


def number(value: Any, name: str, low: float, high: float) -> float:
    if type(value) not in (int, float) or not low <= value <= high or not math.isfinite(value):
        raise CorruptFile(name, f"a number from {low:g} to {high:g}", value)
    return float(value)


def text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise CorruptFile(name, "text", value)
    return value
