"""What fuzzing has found stays found, mutants are what they should be, and, with atheris, more are looked for."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from random import Random

import pytest

from bnonly.errors import BadInput
from tests.fuzz import configurations, seed_files
from tests.fuzz.mutations import shaken
from tests.fuzz.outcomes import Fault, judged

ROOT = Path(__file__).parents[2]
CORPUS = Path(__file__).with_name("corpus")
TARGETS = {"seedfile": seed_files, "config": configurations}
LARGEST_CORPUS = 300_000  # bytes: it travels with every clone


@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus_is_taken_or_refused_in_a_sentence(name, tmp_path):
    inputs = sorted((CORPUS / name).iterdir())
    outcomes = Counter(TARGETS[name].examined(path.read_bytes(), tmp_path) for path in inputs)
    assert len(outcomes) > 1 and len(inputs) > 50, outcomes


def test_the_corpus_is_small():
    assert sum(path.stat().st_size for path in CORPUS.rglob("*")) < LARGEST_CORPUS


@pytest.mark.parametrize("name", TARGETS)
def test_mutants_get_behind_the_first_checks(name, tmp_path):
    """Nearly all files of random bytes end at the container, or as no YAML."""
    target, random, outcomes = TARGETS[name], Random(1), Counter()
    seeds = list(target.seeds().values())
    for _ in range(100):
        mutant = target.mutated(random.choice(seeds), random, lambda part: shaken(part, random))
        outcomes[target.examined(mutant[: target.LARGEST], tmp_path)] += 1
    assert 5 <= outcomes["taken"] <= 60, outcomes
    if name == "seedfile":
        assert outcomes["ProbeMismatch"] + outcomes["FrozenDigestMismatch"] >= 5, outcomes
        assert outcomes["HeaderDigestMismatch"] + outcomes["PayloadDigestMismatch"] <= 40, outcomes


def _raise(error):
    raise error


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: _raise(ValueError("a")), "ValueError"),
        (lambda: _raise(BadInput("")), "BadInput"),
        (lambda: _raise(BadInput("x" * 3000)), "BadInput"),
        (lambda: _raise(SystemExit(2)), "SystemExit"),
        (lambda: sum(range(1 << 16)), "late"),
    ],
)
def test_what_a_fault_is(call, name):
    assert judged(lambda: None, BadInput) == "taken"
    assert judged(lambda: _raise(BadInput("two\nlines")), BadInput) == "BadInput", "which are spelled as one"
    with pytest.raises(Fault, match=name):
        judged(call, BadInput, seconds=0.0 if name == "late" else 10.0)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("atheris") is None, reason="atheris is not installed: docs/fuzzing.md says how")
@pytest.mark.parametrize("name", TARGETS)
def test_nothing_new_is_found(name, tmp_path):
    seconds = int(os.environ.get("BNONLY_FUZZ_SECONDS", "60"))
    command = [sys.executable, "-m", "tests.fuzz", name, str(tmp_path), f"-max_total_time={seconds}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert not list((tmp_path / "faults").iterdir()), done.stdout[-2000:]
