"""`bnonly networks`: every architecture of the registry with the columns of the paper's table 1.

bn are BatchNorm's parameters, norm those of normalisation layers of any kind.
"""

from __future__ import annotations

import json

from bnonly.config.parser import Parser
from bnonly.networks.registry import LISTED, Architecture, parse


def parser() -> Parser:
    parser = Parser(prog="bnonly networks", description="List architectures with their numbers of parameters.")
    parser.add_argument("names", nargs="*", metavar="NETWORK", help="only these; any depth and width of a family")
    parser.add_argument("--json", action="store_true", help="as JSON: name, counts of the columns, and shares")
    return parser


def main(argv: list[str]) -> int:
    options = parser().parse_args(argv)
    architectures = [parse(name) for name in options.names or LISTED]
    rows = [_row(architecture) for architecture in architectures]
    if options.json:
        print(json.dumps(rows, indent=2))
    else:
        _print_table(rows)
    return 0


def _row(architecture: Architecture) -> dict[str, str | int | float]:
    counts = {"total": 0, "bn": 0, "norm": 0, "output": 0, "shortcut": 0}
    for entry in architecture.entries():  # which the tests compare with the modules
        counts["total"] += entry.size
        if entry.role in ("gamma", "beta"):
            counts["norm"] += entry.size
            counts["bn"] += entry.size if entry.statistics else 0
        elif entry.part:
            counts[entry.part] += entry.size
    shares = {f"{part}_share": count / counts["total"] for part, count in counts.items() if part != "total"}
    return {"name": architecture.name, **counts, **shares}


_SHARED = ("norm", "output", "shortcut")


def _print_table(rows: list[dict[str, str | int | float]]) -> None:
    wide = max(len("name"), *(len(str(row["name"])) for row in rows)) + 2
    heads = f"{'total':>13}{'bn':>9}{'norm':>9}{'output':>11}{'shortcut':>11}"
    print(f"{'name':<{wide}}{heads}" + "".join(f"{part:>9}" for part in _SHARED))
    for row in rows:
        numbers = f"{row['total']:>13,}{row['bn']:>9,}{row['norm']:>9,}{row['output']:>11,}{row['shortcut']:>11,}"
        shares = "".join(f"{row[f'{part}_share']:>9.2%}" for part in _SHARED)
        print(f"{row['name']:<{wide}}{numbers}{shares}")
