"""`python -m bnonly.training.member`: one more process of a run, started by the first, which says what to do."""

from __future__ import annotations

import json
import os
import sys
import threading

from bnonly.config import RunConfig
from bnonly.errors import guarded


def main() -> int:
    order = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_the_first, daemon=True).start()
    from bnonly.training.fit import fit
    from bnonly.training.team import Team

    rank, count = order["rank"], order["count"]
    fit(RunConfig.model_validate(order["config"]), team=Team(rank, count, rank, count, order["port"]))
    return 0


def _end_with_the_first() -> None:
    # Not sys.stdin: its lock, held while one reads, would hang the processes that decode images.
    os.read(0, 1)  # returns when the other end of the pipe is gone
    os._exit(1)


if __name__ == "__main__":
    sys.exit(guarded(main))
