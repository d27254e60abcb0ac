"""An ONNX model's own names made short: in a file without weights they would take half the room."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto


def shorten(model: ModelProto) -> dict[str, str]:
    """Give all values of a model and its functions names of a letter or two; which one each of the graph's got.

    Inputs, outputs and functions keep theirs. Names of nodes go, and so do the shapes of values in between, which
    runtimes infer. The model's nodes hold no subgraphs.
    """
    graph = model.graph
    del graph.value_info[:]
    kept = {part.name for part in (*graph.input, *graph.output)}
    names = _renamed(graph.node, [part.name for part in graph.initializer], kept)
    for part in graph.initializer:
        part.name = names[part.name]
    for each in model.functions:
        own = _renamed(each.node, [*each.input, *each.output], set())
        for values in (each.input, each.output):
            values[:] = [own[name] for name in values]
    return names


def _renamed(nodes: Iterable[NodeProto], first: list[str], kept: set[str]) -> dict[str, str]:
    names = {name: name for name in ("", *kept)}
    taken = filter(lambda short: short not in kept, map(_letters, count()))
    for name in first:
        if name not in names:
            names[name] = next(taken)
    for node in nodes:
        node.ClearField("name")
        for values in (node.input, node.output):
            for name in values:
                if name not in names:
                    names[name] = next(taken)
            values[:] = [names[name] for name in values]
    return names


def _letters(number: int) -> str:
    """a, b, ..., z, aa, ab, ..."""
    text = ""
    while number >= 0:
        number, digit = divmod(number, 26)
        text, number = chr(ord("a") + digit) + text, number - 1
    return text
