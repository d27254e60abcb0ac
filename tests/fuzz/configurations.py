"""The reader of configurations under test: a YAML file and flags over it, and mutants that know the schema."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import yaml

from bnonly.config import RunConfig
from bnonly.config.command_line import RunParser, parse_run, run_parser
from bnonly.config.schema import entries
from bnonly.errors import BadInput
from tests.fuzz.mutations import ODD, Shake, changed
from tests.fuzz.outcomes import SENTENCE, Fault, judged

LARGEST = 1 << 12
CONFIGS = Path(__file__).parents[2] / "configs"

FLAGS = "#flags\n"
"""A line of an input, a comment to YAML: before it is the file, behind it one argument a line."""

DEFAULTS = RunConfig().flat()
TEXTS = (
    *("2001-13-45", "0x_", "0b_", "!!int ''", "!!bool maybe", "!!timestamp x", "!!binary '='", "&a [*a]", "*a", "<<"),
    *(
        "{<<: 1}",
        "? [1]\n: 2",
        "1:99:7",
        ".inf",
        "-.inf",
        ".nan",
        "~",
        "on",
        "1_000",
        "1e3",
        "+1",
        "!!set {a}",
        "!!x y",
    ),
    *("!!python/name:os.system", "'a\n\n  b'", "|\n  a\n", "0o17", "017", "!!float ''", "!!omap [a: 1]", "=", "%TAG"),
)


def seeds() -> dict[str, bytes]:
    files = {path.stem: path.read_bytes() for path in sorted(CONFIGS.rglob("*.yaml"))}
    files["every_field"] = RunConfig().to_yaml().encode()
    for name, entry in entries().items():
        for place, value in enumerate((*entry.values, DEFAULTS.get(name))):
            files[f"flag-{name}-{place}"] = f"{{}}\n{FLAGS}--{name}={value}\n".encode()
    return files


@cache
def _parser() -> RunParser:
    return run_parser("bnonly fit", "")


def examined(data: bytes, place: Path) -> str:
    """What reading it comes to, by way of a file in that folder. Raises Fault.

    What is taken must come to the same run when it is written and read again.
    """
    text, _, flags = data.partition(FLAGS.encode())
    path = place / "run.yaml"
    path.write_bytes(text)
    argv = [flag for flag in flags.decode("utf-8", "surrogateescape").split("\n") if not _other_file(flag)]

    def read() -> None:
        run, _ = parse_run(_parser(), [f"--config={path}", *argv])
        path.write_text(run.to_yaml(), encoding="utf-8")
        again, _ = parse_run(_parser(), [f"--config={path}"])
        if again != run or again.id != run.id:
            raise Fault("another run", f"{run!r} is written as {again!r}")

    # Every mistake is listed, each with what is known instead.
    return judged(read, BadInput, sentence=20 * 510 + SENTENCE)  # twenty mistakes


def _other_file(flag: str) -> bool:
    """Arguments that name another file to read, or ask for help; and empty ones."""
    return not flag or flag.startswith(("-c", "-h", "--h", "--conf"))


def mutated(data: bytes, random: Random, shake: Shake) -> bytes:
    """Some fields other values, odd ones among them; or bytes changed wherever they are."""
    text, _, flags = data.partition(FLAGS.encode())
    kind = random.randrange(6)
    if kind == 0:
        return shake(data)
    if kind == 1:
        name = random.choice(list(entries()))
        return text + f"\n{FLAGS}".encode() + flags + f"--{name}\n{_value(name, random, shake)}\n".encode()
    if kind == 2:
        return text + f"\n{random.choice(list(entries())).split('.')[-1]}: {random.choice(TEXTS)}\n".encode()
    values = _plain(text)
    if not isinstance(values, dict):
        return shake(data)
    if kind == 3:
        values = changed(values, random, shake)
    else:
        for _ in range(random.randrange(1, 4)):
            name = random.choice(list(entries()))
            *way, last = name.split(".")
            holder = values
            for key in way:
                if not isinstance(holder.get(key), dict):
                    holder[key] = {}
                holder = holder[key]
            holder[last] = _value(name, random, shake)
    try:
        written = yaml.safe_dump(values, default_flow_style=random.choice((True, False, None)), sort_keys=False)
    except (yaml.YAMLError, RecursionError, ValueError, TypeError):
        return shake(data)
    return written.encode("utf-8", "replace") + (FLAGS.encode() + flags if flags else b"")


def _plain(text: bytes) -> Any:
    """What plain YAML would make of it; None of what it cannot read."""
    try:
        return yaml.safe_load(text)
    except Exception:  # it is the target that says so, not the mutator
        return None


def _value(name: str, random: Random, shake: Shake) -> Any:
    entry = entries()[name]
    default = DEFAULTS.get(name)
    known = [*entry.values, default, default]
    if random.random() < 0.5:
        return random.choice(known)
    return random.choice((changed(random.choice(known), random, shake), random.choice(ODD), random.choice(TEXTS)))
