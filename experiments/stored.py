"""A run as seed+BN files, for the demo: how many bytes in which form, at what accuracy, and read elsewhere."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from bnonly.errors import BnonlyError
from bnonly.runs import RunFolder

FORMS: dict[str, dict[str, Any]] = {
    "float32": {},
    "float16, zeros as bits": {"dtype": "fp16", "codec": "mask"},
    "range coded, 32 steps a deviation": {"dtype": "fp16", "codec": "rans"},
}


class NotVerified(BnonlyError):
    """A fresh process did not find in a file what was written."""


def stored(folder: RunFolder, path: Path) -> pd.DataFrame:
    """Export a finished run to `path`, in float32; the other forms are measured and not kept. One row a form."""
    from bnonly.seedfile.exporting import export
    from bnonly.seedfile.saving import How

    rows = []
    for name, options in FORMS.items():
        place = path if not options else path.with_name(f".{path.name}.other")
        done = export(folder, place, How(**options), quiet=True)
        assert done.before and done.after, "they are measured unless told otherwise"
        rows.append(
            {
                "stored as": name,
                "bytes": len(done.packed.data),
                "times smaller": done.ratio,
                "before": done.before.top1,
                "after": done.after.top1,
            }
        )
        if options:
            place.unlink()
    return pd.DataFrame(rows)


def verified(path: Path) -> dict[str, Any]:
    """What `bnonly verify --json` says of a file in a process of its own. Raises NotVerified."""
    command = [sys.executable, "-m", "bnonly", "verify", "--json", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotVerified(f"{path} was written but not verified in a fresh process: {done.stderr.strip()}")
    return json.loads(done.stdout)
