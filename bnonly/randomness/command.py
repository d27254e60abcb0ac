"""`bnonly weights`: the generator, bare."""

from __future__ import annotations

import argparse
from typing import get_args

from bnonly.config.parser import Parser
from bnonly.randomness import bngen


def parser() -> Parser:
    parser = Parser(prog="bnonly weights", description="Print weights of one stream of bngen-1, or their SHA-256.")
    parser.add_argument("--seed", required=True, metavar="HEX", help="the seed, 1 to 32 hexadecimal digits")
    parser.add_argument("--stream", required=True, type=_whole, metavar="N", help="stream number, 0x... or decimal")
    parser.add_argument("--count", required=True, type=_whole, metavar="N", help="how many weights")
    parser.add_argument("--fan-in", required=True, type=_whole, metavar="N", help="their variance is 2/N")
    parser.add_argument("--dist", default="normal", choices=get_args(bngen.Distribution), help="(default: normal)")
    parser.add_argument(
        "--sha256",
        action="store_true",
        help="print the SHA-256 over little-endian float32 instead of the values",
    )
    return parser


def main(argv: list[str]) -> int:
    options = parser().parse_args(argv)
    seed = bngen.parse_seed(options.seed)
    values = bngen.he_weights(seed, options.stream, options.count, options.fan_in, options.dist)
    if options.sha256:
        print(bngen.sha256(values))
    else:
        for value in values.tolist():
            print(repr(value))  # the shortest decimal of the float64 it widens to: exact
    return 0


def _whole(text: str) -> int:
    try:
        value = int(text, 0)
    except ValueError:
        value = -1
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0 up")
    return value
