"""The few inputs of a fuzzer's corpus that reach all it reaches: `python -m tests.fuzz.minimise seedfile FOLDER`.

They go to tests/fuzz/corpus, beside what is there already. What the seeds reach needs none, and of inputs that bring
the same the smallest is kept. Needs coverage, and no atheris.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from coverage import Coverage

from tests.fuzz.outcomes import Fault

COMMITTED = Path(__file__).with_name("corpus")
TARGETS = {"seedfile": "tests.fuzz.seed_files", "config": "tests.fuzz.configurations"}
BRANCHES = Coverage(data_file=None, branch=True, include=["*/bnonly/*", "*/yaml/*"])


def reached(call: Callable[[], str]) -> set[Any]:
    """The outcome, and the steps from line to line on the way to it."""
    BRANCHES.erase()
    BRANCHES.start()
    try:
        outcome = call()
    except Fault as fault:
        outcome = fault.name
    finally:
        BRANCHES.stop()
    data = BRANCHES.get_data()
    return {outcome, *((file, step) for file in data.measured_files() for step in data.arcs(file) or ())}


def main(name: str, folder: str) -> None:
    target, place = import_module(TARGETS[name]), Path(tempfile.mkdtemp())

    def steps(data: bytes) -> set[Any]:
        return reached(lambda: target.examined(data, place))

    known = set().union(*map(steps, target.seeds().values()))
    at_first, committed = len(known), COMMITTED / name
    committed.mkdir(parents=True, exist_ok=True)
    found = {path.read_bytes() for path in (*Path(folder, "corpus").iterdir(), *committed.iterdir())}
    kept = []
    for data in sorted(found, key=lambda data: (len(data), data)):
        if more := steps(data) - known:
            known |= more
            kept.append(data)
    for path in committed.iterdir():
        path.unlink()
    for data in kept:
        (committed / hashlib.sha256(data).hexdigest()[:12]).write_bytes(data)
    print(f"{name}: {len(kept)} of {len(found)} inputs, {sum(map(len, kept))} bytes")
    print(f"{at_first} steps by the seeds, {len(known)} with these")


if __name__ == "__main__":
    main(*sys.argv[1:])
