"""What a YAML text says: plain values, each key once, in one sentence where it says none. Without pydantic."""

from __future__ import annotations

import math
from itertools import chain
from typing import Any

import yaml

from bnonly.errors import BadInput

LONGEST = 1 << 18
"""Bytes of YAML that are read; a run's configuration has a few thousand."""

MOST = 1 << 16
"""Values that a text may stand for, what its aliases repeat counted each time."""

DEEPEST = 64
"""Brackets within brackets; a run's configuration has one or two."""


def plain(text: bytes | str, name: str) -> Any:
    """The text's value; nothing but plain ones is constructed. Raises BadInput with the name, line and column."""
    try:
        if len(text) > LONGEST:
            raise yaml.YAMLError(f"it is longer than {LONGEST} bytes")
        return yaml.load(text.decode("utf-8") if isinstance(text, bytes) else text, _Loader)  # a SafeLoader
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadInput(f"{name} is no YAML: {short(_where(error))}") from error
    except RecursionError as error:
        raise BadInput(f"{name} is no YAML that can be read: it is nested too deep") from error


def short(text: str, most: int = 200) -> str:
    """The text, of a long one its beginning."""
    return text if len(text) <= most else f"{text[: most - 3]}..."


class _Loader(yaml.SafeLoader):
    """Plain values only, each key once, and an alias for every few of them."""

    def fetch_flow_collection_start(self, TokenClass: type[yaml.Token]) -> None:  # noqa: N803
        if self.flow_level == DEEPEST:  # PyYAML looks a thousand characters ahead of each bracket, again and again
            raise yaml.MarkedYAMLError(None, None, "brackets are nested too deep", self.get_mark())
        super().fetch_flow_collection_start(TokenClass)

    def get_single_node(self) -> yaml.Node | None:
        node = super().get_single_node()
        if node is not None and _values(node, {}) > MOST:
            raise _error(f"aliases make it more than {MOST} values", node)
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError, TypeError) as error:
            # PyYAML's own way with a date in month 13 or a whole number without digits.
            kind = node.tag.rpartition(":")[2]
            raise _error(f"{short(str(node.value), 100)!r} is no {kind}", node) from error

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for part, _ in node.value:
            key = self.construct_object(part, deep=True)
            if isinstance(key, list | dict | set):
                continue  # which will be refused as a key
            if key in seen:
                raise _error(f"{key} is given twice", part)
            seen.add(key)
        return super().construct_mapping(node, deep)


def _values(node: yaml.Node, known: dict[int, float]) -> float:
    """How many values a node stands for; one that holds itself: infinitely many."""
    if id(node) not in known:
        known[id(node)] = math.inf  # where it is met within itself
        inner = chain.from_iterable(node.value) if isinstance(node, yaml.MappingNode) else node.value
        inner = () if isinstance(node, yaml.ScalarNode) else inner
        known[id(node)] = 1 + sum(_values(part, known) for part in inner)
    return known[id(node)]


def _error(problem: str, node: yaml.Node) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


def _where(error: Exception) -> str:
    """A YAML error as one line: what, and at which line and column."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return " ".join(str(error).split())
    said = " ".join(part for part in (getattr(error, "context", None), getattr(error, "problem", None)) if part)
    return f"line {mark.line + 1}, column {mark.column + 1}: {said}"
