"""Coverage-guided fuzzing by atheris and libFuzzer: `python -m tests.fuzz seedfile|config FOLDER [-runs=N ...]`.

FOLDER keeps what was learnt, so that the next run goes on from there: corpus/ the inputs that reach more of the code,
faults/ an input for each fault, outcomes.json what all inputs came to. Further flags are libFuzzer's.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
import time
from collections import Counter
from importlib import import_module
from pathlib import Path
from random import Random
from types import ModuleType

import atheris

TARGETS = {
    "seedfile": ("tests.fuzz.seed_files", ("bnonly", "rfc8785")),
    "config": ("tests.fuzz.configurations", ("bnonly", "yaml")),
}
COMMITTED = Path(__file__).with_name("corpus")
# Seconds on the clock, generous for a busy machine: `outcomes.judged` counts those of the processor.
LIBFUZZER = ("-timeout=1200", "-report_slow_units=1200", "-rss_limit_mb=3000", "-print_final_stats=1")


class Fuzzer:
    """One target, and what came of its inputs."""

    def __init__(self, target: ModuleType, folder: Path):
        from tests.fuzz.outcomes import Fault

        self.target, self.fault = target, Fault
        self.corpus, self.faults, self.record = folder / "corpus", folder / "faults", folder / "outcomes.json"
        for place in (self.corpus, self.faults):
            place.mkdir(parents=True, exist_ok=True)
        self.outcomes = Counter(json.loads(self.record.read_text()) if self.record.exists() else {})
        self.place = Path(tempfile.mkdtemp())
        self.written = time.monotonic()

    def test(self, data: bytes) -> None:
        """One input. A fault is kept, the first of its name, and the run goes on."""
        try:
            outcome = self.target.examined(data, self.place)
        except self.fault as fault:
            outcome, path = "fault", self.faults / re.sub(r"[^\w.:-]+", "-", fault.name)
            if not path.exists():
                path.write_bytes(data)
                print(f"fault: {fault}", flush=True)
        self.outcomes[outcome] += 1
        if time.monotonic() - self.written > 5:
            self.record.write_text(json.dumps(self.outcomes, indent=2, sort_keys=True) + "\n")
            self.written = time.monotonic()

    def mutator(self, data: bytes, largest: int, seed: int) -> bytes:
        """As libFuzzer calls it."""
        return self.target.mutated(data, Random(seed), lambda part: atheris.Mutate(part, len(part) + 16))[:largest]


def main(name: str, folder: str, *flags: str) -> None:
    """Does not return: libFuzzer ends the process."""
    module, packages = TARGETS[name]
    with atheris.instrument_imports(include=list(packages)):
        target = import_module(module)
    fuzzer = Fuzzer(target, Path(folder))
    for title, data in target.seeds().items() if not any(fuzzer.corpus.iterdir()) else ():
        (fuzzer.corpus / title).write_bytes(data)
    folders = [str(place) for place in (fuzzer.corpus, COMMITTED / name) if place.is_dir()]
    given = [*LIBFUZZER, f"-max_len={target.LARGEST}", f"-artifact_prefix={fuzzer.faults}/"]
    atheris.Setup([sys.argv[0], *folders, *given, *flags], fuzzer.test, custom_mutator=fuzzer.mutator)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
