"""`bnonly networks`: every architecture of the registry with the columns of the paper's table 1."""

from __future__ import annotations

import json

from bnonly.config.parser import Parser
from bnonly.networks.registry import LISTED, Architecture, parse


def parser() -> Parser:
    parser = Parser(prog="bnonly networks", description="List architectures with their numbers of parameters.")
    parser.add_argument("names", nargs="*", metavar="NETWORK", help="only these; any depth and width of a family")
    parser.add_argument("--json", action="store_true", help="as JSON: name, total, bn, output, shortcut and shares")
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
    counts = {"total": 0, "bn": 0, "output": 0, "shortcut": 0}
    for entry in architecture.entries():  # which the tests compare with the modules
        counts["total"] += entry.size
        if part := "bn" if entry.role in ("gamma", "beta") else entry.part:
            counts[part] += entry.size
    shares = {f"{part}_share": counts[part] / counts["total"] for part in ("bn", "output", "shortcut")}
    return {"name": architecture.name, **counts, **shares}


def _print_table(rows: list[dict[str, str | int | float]]) -> None:
    print(f"{'name':<18}{'total':>13}{'bn':>10}{'output':>11}{'shortcut':>11}{'bn':>9}{'output':>9}{'shortcut':>9}")
    for row in rows:
        numbers = f"{row['total']:>13,}{row['bn']:>10,}{row['output']:>11,}{row['shortcut']:>11,}"
        shares = "".join(f"{row[part]:>9.2%}" for part in ("bn_share", "output_share", "shortcut_share"))
        print(f"{row['name']:<18}{numbers}{shares}")
