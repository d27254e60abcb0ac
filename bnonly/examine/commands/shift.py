"""`bnonly shift`: does a network say the same of an image that is moved by a few pixels?"""

from __future__ import annotations

import json
from typing import Any

from bnonly.config.parser import Parser
from bnonly.examine.flags import add_subject, given_subject, written
from bnonly.examine.places import output
from bnonly.examine.shifting import BORDERS, NAME, shift


def parser() -> Parser:
    parser = Parser(
        "bnonly shift",
        "Show a trained network its test images, moved by a few pixels: how often two shifts of an image get the "
        "same answer (classification consistency), how often the right one, and how sure the network is of it.",
    )
    add_subject(parser, NAME, gamma=False)
    parser.add_argument(
        "--border",
        choices=BORDERS,
        help="what comes in at the border: what has left on the other side, black, or more of a larger image "
        "(default: circular; of ImageNet crop)",
    )
    parser.add_argument(
        "--most",
        type=int,
        metavar="N",
        help="shift by up to N pixels (default: 4 in every direction; of crops 31 for 224 out of 256)",
    )
    parser.add_argument(
        "--pairs",
        type=int,
        metavar="N",
        help="draw N pairs of shifts an image; 0: every shift, which is exact (default: 0; above 64 pixels a side 5)",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the drawn pairs (default: 0)")
    parser.add_argument("--images", type=int, metavar="N", help="N test images, evenly spaced (default: all)")
    return parser


def main(argv: list[str]) -> int:
    options = parser().parse_args(argv)
    who = given_subject(options, gamma=False)
    request = {name: getattr(options, name) for name in ("border", "most", "pairs", "seed", "images")}
    facts = shift(who, **request, out=options.out, force=options.force)
    if options.json:
        print(json.dumps(facts, indent=2))
        return 0
    for line in table(facts):
        print(line)
    written(output(who, options.out, NAME))
    return 0


def table(facts: dict[str, Any]) -> list[str]:
    """What was asked, then a line a number, with its standard error over images."""
    wanted = facts["asked"]
    how = f"{facts['pairs']} drawn pairs an image" if wanted["pairs"] else f"{len(facts['offsets']) ** 2} shifts"
    lines = [f"{facts['images']:,} images, {how}, {wanted['border']}, up to {wanted['most']} pixels"]
    says = {
        "consistency": "two shifts get the same answer",
        "distinct": "two different shifts do",
        "top1": "the answer is right, mean over shifts",
        "spread": "standard deviation of the right class's probability over shifts",
    }
    for name, words in says.items():
        if name in facts and facts[name]["mean"] is not None:
            lines.append(f"{name:<13}{_percent(facts[name]['mean'])} {_error(facts[name]['se'])}  {words}")
    if facts.get("unmoved") is not None:
        lines.append(
            f"{'unmoved':<13}{_percent(facts['unmoved'])} {' ' * 9}  the answer to the image as it is is right"
        )
    return lines


def _percent(value: float) -> str:
    return f"{value:>7.2%}"


def _error(value: float | None) -> str:
    return f"+- {value:.2%}" if value is not None else " " * 9
