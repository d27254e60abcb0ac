"""The page, and where its tables go."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from bnonly.errors import BadInput
from experiments.reproduction import beyond, paper

ROOT = Path(__file__).parents[2]
PAGE, RESULTS = ROOT / "docs" / "reproduction.md", ROOT / "experiments" / "results"

TABLES: dict[str, Callable[[Path], list[list[str]]]] = {
    "accuracy": paper.accuracy,
    "sparsity": paper.sparsity,
    "clamping": paper.clamping,
    "zeros": paper.zeros,
    "recipe": beyond.recipe,
    "choices": beyond.choices,
    "restored": beyond.restored,
    "bytes": beyond.files,
    "regrow": beyond.regrow,
}
"""By the name of the page's markers `<!-- NAME -->` and `<!-- /NAME -->`: from the folder of all results to rows, the
heads first."""


def filled(page: str, results: Path) -> str:
    """The page with its tables made anew. Raises BadInput where a marker is missing."""
    for name, table in TABLES.items():
        parts = re.split(f"(<!-- /?{name} -->)", page)
        if parts[1::2] != [f"<!-- {name} -->", f"<!-- /{name} -->"]:
            raise BadInput(f"the page has no place for {name}: <!-- {name} --> and <!-- /{name} --> mark it")
        parts[2] = "\n" + _markdown(table(results))
        page = "".join(parts)
    return page


def _markdown(rows: list[list[str]]) -> str:
    if len(rows) == 1:
        return "No such run is done yet.\n"
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
