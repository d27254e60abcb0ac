"""The command line: see the package."""

from __future__ import annotations

import argparse
import sys

import experiments.reproduction as package
from bnonly.config.parser import Parser
from bnonly.errors import guarded
from bnonly.files import write_atomically
from experiments.reproduction.page import PAGE, RESULTS, filled


def main(argv: list[str] | None = None) -> int:
    parser = Parser("python -m experiments.reproduction", (package.__doc__ or "").splitlines()[0])
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--check", action="store_true", help="write nothing; exit status 1 if the page would change")
    options = parser.parse_args(argv)
    before = PAGE.read_text(encoding="utf-8")
    after = filled(before, RESULTS)
    if options.check:
        return int(after != before)
    write_atomically(PAGE, after.encode())
    print(PAGE)
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
