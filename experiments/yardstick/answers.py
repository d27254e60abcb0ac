"""What comparisons leave in their folders, and whether that is what is asked for. Imports next to nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bnonly.config import RunConfig
from bnonly.files import read_object
from bnonly.runs import RunFolder
from experiments.yardstick.sides import unavailable

VERSION = 1  # of speed.json


def place(folder: RunFolder) -> Path:
    return folder.path / "speed.json"


def found(folder: RunFolder) -> dict[str, Any] | None:
    """What was measured there; None where nothing was, or by another version."""
    facts = read_object(place(folder))
    return facts if facts is not None and facts.get("version") == VERSION else None


def answered(config: RunConfig, folder: RunFolder, options: Mapping[str, Any]) -> bool:
    """Whether that was measured with these options, and no side could be had now that could not be then. Threads and
    device count, too, though they are in no run's id."""
    facts = found(folder)
    if facts is None or (facts["run"], facts["asked"], facts["on"]) != (config.id, plain(options), on(config)):
        return False
    return all(unavailable(name, facts["made"]["device"]) for name in facts["unavailable"])


def plain(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as JSON gives them back."""
    return json.loads(json.dumps({**options, "sides": list(options["sides"])}))


def on(config: RunConfig) -> dict[str, Any]:
    return {"threads": config.training.threads, "device": config.training.device}


def place_of_pieces(folder: RunFolder) -> Path:
    """Beside the trials' folders: they are measured once an experiment."""
    return folder.path.parent / "pieces.json"


def pieces_answered(config: RunConfig, folder: RunFolder, options: Mapping[str, Any]) -> bool:
    return (read_object(place_of_pieces(folder)) or {}).get("rounds", 0) >= options["rounds"]
