"""`bnonly measure`: gamma, beta, zeros of ReLUs, dead and effective channels of a trained network."""

from __future__ import annotations

import json
from typing import Any

from bnonly.config.parser import Parser
from bnonly.examine.flags import add_subject, amount, given_subject, written
from bnonly.examine.measuring import NAME, measure
from bnonly.examine.places import output
from bnonly.measure.levels import SHARES, THRESHOLDS


def parser() -> Parser:
    parser = Parser(
        "bnonly measure",
        "Look at a trained network in one pass over its test images: gamma and beta, ReLUs that are zero, channels "
        "that are constant, and how many carry the variance.",
    )
    add_subject(parser, f"{NAME} and measures.safetensors")
    for name, default, says in (
        ("thresholds", THRESHOLDS, "count |gamma| below T"),
        ("shares", SHARES, "count channels whose ReLU is zero on this share of the images"),
    ):
        parser.add_argument(
            f"--{name}",
            type=amount,
            nargs="+",
            default=list(default),
            metavar="T" if name == "thresholds" else "SHARE",
            help=f"{says} (default: {' '.join(map(str, default))})",
        )
    return parser


def main(argv: list[str]) -> int:
    options = parser().parse_args(argv)
    who = given_subject(options)
    request = {"thresholds": options.thresholds, "shares": options.shares}
    facts = measure(who, **request, out=options.out, force=options.force)
    if options.json:
        print(json.dumps(facts, indent=2))
        return 0
    print(f"{facts['images']:,} images, {facts['precision']}, top-1 {facts['score']['top1']:.2%}")
    for line in table(facts):
        print(line)
    written(output(who, options.out, NAME))
    return 0


def table(facts: dict[str, Any]) -> list[str]:
    """A line a normalisation layer, and one for all: what a person looks at first."""
    bounds = [f"< {bound:g}" for bound in facts["thresholds"]]
    shown = [["layer", "channels", "gamma", "std", *bounds, "dead", "effective", "ReLU zero", "off"]]
    names = dict.fromkeys(name for part in ("dead", "relu") for name in facts[part].get("layers", ()))
    for name in [*names, None]:
        gamma, relu = (_of(facts[part], name) for part in ("gamma", "relu"))
        dead, carry = _of(facts["dead"], name), _of(facts["effective"], name)
        shown.append(
            [
                "all" if name is None else name or "the network",
                f"{(dead or relu)['channels']:,}",
                _number(gamma, "mean", ".3f"),
                _number(gamma, "std", ".3f"),
                *([f"{below:.1%}" for below in gamma["below"]] if gamma else ["-"] * len(bounds)),
                _number(dead, "dead", ","),
                _number(carry, "effective", ".1f"),
                _number(relu, "zero", ".1%"),
                _number(relu, "off", ".1%"),
            ]
        )
    wide = [max(map(len, column)) for column in zip(*shown, strict=True)]
    return [
        "  ".join(f"{cell:<{size}}" if not place else f"{cell:>{size}}" for place, (cell, size) in enumerate(cells))
        for cells in (list(zip(row, wide, strict=True)) for row in shown)
    ]


def _of(part: dict[str, Any], name: str | None) -> dict[str, Any]:
    """A layer's facts, or those of all; empty where there are none."""
    return part.get("all", {}) if name is None else part.get("layers", {}).get(name, {})


def _number(facts: dict[str, Any], key: str, how: str) -> str:
    return f"{facts[key]:{how}}" if facts else "-"
