"""An experiment in words: its question, its grid, what is done with each run. Without torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

FEW = 6
"""Rows of a list that are shown of each preset where none was chosen."""
_NAMED = 3
_NONE = "-"


def lines(facts: Mapping[str, Any], whole: bool) -> Iterator[str]:
    """Of what `bnonly experiment show --json` prints; whole: no list is cut short."""
    yield f"{facts['name']}: {facts['question']}"
    yield from ("", f"expect: {facts['expect']}", "")
    if facts["fields"]:
        yield "fields:"
        yield from (f"  {key}: {value}" for key, value in facts["fields"].items())
    yield "axes:"
    for key, values in facts["axes"].items():
        yield from _axis(key, values, whole)
    yield "runs:"
    for preset, runs in facts["runs"].items():
        yield f"  {preset}: {runs}{' at first, more follow from what these find' if facts['grows'] else ''}"
    yield "each run:"
    yield from _stages(facts["stages"], whole)
    if facts["figures"]:
        yield f"figures: {', '.join(facts['figures'])}"
    yield facts["command"]


def _axis(key: str, values: Mapping[str, Sequence[Any]] | Sequence[Any], whole: bool) -> Iterator[str]:
    names = key.split(", ")
    alike = _alike(values) if isinstance(values, Mapping) else [("every preset", values)]
    title = key if len(names) <= _NAMED else f"{', '.join(names[:_NAMED])} and {len(names) - _NAMED} more"
    if len(names) == 1 and len(alike) == 1:
        yield f"  {title}: {_words(alike[0][1])}"
        return
    yield f"  {title}:"
    for presets, own in alike:
        if len(names) == 1:
            yield f"    {presets}: {_words(own)}"
            continue
        yield f"    {presets}: {len(own)}"
        yield from _rows([dict(zip(names, point, strict=True)) for point in own], "      ", whole)


def _alike(by_preset: Mapping[str, Sequence[Any]]) -> list[tuple[str, Sequence[Any]]]:
    """Presets that ask the same in one, the order kept."""
    found: list[tuple[str, Sequence[Any]]] = []
    for preset, values in by_preset.items():
        if found and found[-1][1] == values:
            found[-1] = (f"{found[-1][0]}, {preset}", values)
        else:
            found.append((preset, values))
    return found


def _stages(stages: Sequence[Mapping[str, Any]], whole: bool) -> Iterator[str]:
    asked: dict[str, list[Mapping[str, Any]]] = {}
    for stage in stages:
        asked.setdefault(stage["task"], []).append(stage["options"])
    for task, options in asked.items():
        if not any(options):
            yield f"  {task}"
            continue
        yield f"  {task}{f', {len(options)} times' if len(options) > 1 else ''}"
        yield from _rows([_flat(each) for each in options], "    ", whole)


def _rows(rows: Sequence[Mapping[str, Any]], indent: str, whole: bool) -> Iterator[str]:
    """What all have in common in a line, and the rest as a table."""
    heads = list(dict.fromkeys(name for row in rows for name in row))
    texts = {name: [_word(row.get(name)) for row in rows] for name in heads}
    same = [name for name in heads if len(set(texts[name])) == 1]
    if same:
        yield indent + ", ".join(f"{name} {texts[name][0]}" for name in same)
    differ = [name for name in heads if name not in same]
    if not differ:
        return
    shown = len(rows) if whole or len(rows) <= FEW + 1 else FEW
    columns = [[head, *texts[name][:shown]] for head, name in zip(_heads(differ), differ, strict=True)]
    widths = [max(map(len, column)) for column in columns]
    for cells in zip(*columns, strict=True):
        yield indent + "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
    if shown < len(rows):
        yield f"{indent}... and {len(rows) - shown} more, with --preset"


def _heads(names: Sequence[str]) -> list[str]:
    """Dotted names' ends, where they say enough."""
    ends = [name.rpartition(".")[2] for name in names]
    return [name if end == "name" or ends.count(end) > 1 else end for name, end in zip(names, ends, strict=True)]


def _flat(options: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in options.items():
        found |= _flat(value, f"{before}{name}.") if isinstance(value, Mapping) else {before + name: value}
    return found


def _words(values: Iterable[Any]) -> str:
    return ", ".join(_word(value) for value in values)


def _word(value: Any) -> str:
    if value is None:
        return _NONE
    if isinstance(value, float):
        return f"{value:g}"
    return " ".join(_word(each) for each in value) if isinstance(value, list | tuple) else str(value)
