"""`python -m experiments` is `bnonly experiment`."""

from __future__ import annotations

import sys

from bnonly.errors import guarded
from experiments.command import main

if __name__ == "__main__":
    sys.exit(guarded(lambda: main(sys.argv[1:])))
