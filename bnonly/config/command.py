"""`bnonly schema`: the configuration for editors and readers."""

from __future__ import annotations

import json
from pathlib import Path

from bnonly.config.parser import Parser
from bnonly.config.reference import page
from bnonly.config.schema import layer_schema
from bnonly.files import write_atomically


def parser() -> Parser:
    parser = Parser("bnonly schema", "Print the JSON schema of a configuration file, or the page that explains it.")
    parser.add_argument("--markdown", action="store_true", help="the reference page, docs/configuration.md")
    parser.add_argument("-o", "--out", metavar="FILE", type=Path, help="write it there instead of printing it")
    return parser


def main(argv: list[str]) -> int:
    options = parser().parse_args(argv)
    text = page() if options.markdown else json.dumps(layer_schema(), indent=2, ensure_ascii=False) + "\n"
    if options.out is None:
        print(text, end="")
    else:
        write_atomically(options.out, text.encode())
    return 0
