"""`bnonly ablate`: accuracy after gammas are set to zero, without retraining."""

from __future__ import annotations

import json
from collections.abc import Iterator
from statistics import fmean
from typing import Any

from bnonly.config.parser import Parser
from bnonly.examine.ablating import NAME, SCORES, ablate, rows
from bnonly.examine.flags import add_subject, amount, given_subject, written
from bnonly.examine.places import output
from bnonly.measure.points import THRESHOLDS, Point, points


def parser() -> Parser:
    parser = Parser(
        "bnonly ablate",
        "Set gammas to zero and score the network, without retraining. Beta stays: a channel without gamma puts out "
        "its beta. What was scored before is kept, and only new points are evaluated.",
    )
    add_subject(parser, NAME)
    default = " ".join(map(str, THRESHOLDS))
    parser.add_argument(
        "--thresholds",
        type=amount,
        nargs="*",
        default=list(THRESHOLDS),
        metavar="T",
        help=f"clamp every |gamma| < T; without a number none (default: {default})",
    )
    for way, what in (("smallest", "smallest |gamma|"), ("largest", "largest |gamma|"), ("random", "any")):
        parser.add_argument(
            f"--{way}",
            type=amount,
            nargs="*",
            default=[],
            metavar="SHARE",
            help=f"clamp this share of the channels, those of {what}, as 0.1 or 10%% (default: none)",
        )
    parser.add_argument("--per-layer", action="store_true", help="take the shares within each layer too")
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="draws of random channels (default: 3)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the first draw (default: 0)")
    return parser


def main(argv: list[str]) -> int:
    options = parser().parse_args(argv)
    who = given_subject(options)
    names = ("thresholds", "smallest", "largest", "random", "per_layer", "repeats", "seed")
    request = {name: getattr(options, name) for name in names}
    facts = ablate(who, **request, out=options.out, force=options.force)
    if options.json:
        print(json.dumps(facts, indent=2))
        return 0
    print(f"{facts['channels']:,} channels, {facts['images']:,} images, {facts['precision']}")
    for line in table(facts, points(**request)):
        print(line)
    written(output(who, options.out, NAME))
    return 0


def table(facts: dict[str, Any], wanted: tuple[Point, ...]) -> list[str]:
    """The lines of these points, the draws of a random share as their mean."""
    intact = facts["intact"]
    shown = [("way", "amount", "clamped", "share", "top-1", "loss", "difference")]
    shown.append(("intact", "", "0", "0.0%", f"{intact['top1']:.2%}", _loss(intact["loss"]), ""))
    for point, row in _means(facts, wanted):
        shown.append(
            (
                f"{point.way}{' in each layer' if point.scope == 'layer' else ''}",
                f"{point.amount:g}",
                f"{row['clamped']:,.0f}",
                f"{row['clamped'] / facts['channels']:.1%}",
                f"{row['top1']:.2%}",
                _loss(row["loss"]),
                f"{100 * (row['top1'] - intact['top1']):+.2f}{row['note']}",
            )
        )
    wide = [max(map(len, column)) for column in zip(*shown, strict=True)]
    first = [f"{row[0]:<{wide[0]}}" for row in shown]
    rest = ["  ".join(f"{cell:>{size}}" for cell, size in zip(row[1:-1], wide[1:], strict=False)) for row in shown]
    return [f"{a}  {b}  {row[-1]}".rstrip() for a, b, row in zip(first, rest, shown, strict=True)]


def _means(facts: dict[str, Any], wanted: tuple[Point, ...]) -> Iterator[tuple[Point, dict[str, Any]]]:
    there, groups = rows(facts), dict[tuple[Any, ...], list[Point]]()
    for point in wanted:
        groups.setdefault((point.way, point.scope, point.amount), []).append(point)
    for same in groups.values():
        found = [there[point] for point in same]
        mean: dict[str, Any] = {
            name: None if any(row[name] is None for row in found) else fmean(row[name] for row in found)
            for name in ("clamped", *SCORES)
        }
        yield same[0], mean | {"note": f"  mean of {len(found)} draws" if len(found) > 1 else ""}


def _loss(loss: float | None) -> str:
    return "overflow" if loss is None else f"{loss:.4f}"
