"""The two readers: that in JavaScript, asked of many files at once, and the package's own."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import bnonly
from bnonly.seedfile.errors import SeedFileError

NODE = shutil.which("node")
READER = Path(__file__).with_name("reader.mjs")


def answers(files: Mapping[str, Path]) -> dict[str, dict[str, Any]]:
    """What the reader says of each file: its digests and the probe's ratio, or error and field."""
    assert NODE
    paths = "".join(f"{path}\n" for path in files.values())
    done = subprocess.run([NODE, READER, "-"], input=paths, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return dict(zip(files, map(json.loads, done.stdout.splitlines()), strict=True))


def refusal(path: Path) -> str | None:
    """The name of the error by which bnonly refuses the file; None if it loads."""
    try:
        bnonly.load(path)
    except SeedFileError as error:
        return type(error).__name__
    return None
