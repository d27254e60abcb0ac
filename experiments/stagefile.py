"""What a stage leaves in its trial's folder: a JSON file that says of which run and version it is. Without torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bnonly.config import RunConfig
from bnonly.files import read_object
from bnonly.runs import RunFolder


def named(folder: RunFolder, kind: str, options: Mapping[str, Any]) -> Path:
    """KIND-DIGEST.json, DIGEST being that of the stage's options: of trials that have several stages of a kind."""
    text = json.dumps(options, sort_keys=True, separators=(",", ":"))
    return folder.path / f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:10]}.json"


def kept(path: Path, config: RunConfig, version: int, **wanted: Any) -> dict[str, Any] | None:
    """The file's facts; None where there is none, or of another run or version, or not of what is `wanted`."""
    facts = read_object(path) or {}
    wanted |= {"version": version, "run": config.id}
    return facts if all(facts.get(name) == value for name, value in wanted.items()) else None
