"""`python -m analysis report RUNS -o report.html`."""

from __future__ import annotations

import sys

from analysis.command import main
from bnonly.errors import BadInput, guarded


def _run(argv: list[str]) -> int:
    match argv:
        case ["report", *rest]:
            return main(rest, "python -m analysis report")
        case [] | ["-h" | "--help"]:
            print("usage: python -m analysis report RUNS [-o FILE]    (report --help says more)")
            return 0 if argv else 2
        case [verb, *_]:
            raise BadInput(f"unknown verb {verb!r}: there is report")
    return 2


if __name__ == "__main__":
    sys.exit(guarded(lambda: _run(sys.argv[1:])))
