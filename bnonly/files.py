"""Files are written whole or not at all: to a temporary neighbour, flushed to the disk, then renamed."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnonly.errors import BadInput


def write_atomically(path: Path, data: bytes) -> None:
    """Replace `path` by a file of these bytes; whoever reads it sees the old one or the new one, whole.

    Raises BadInput, naming the path, where it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).chmod(0o666 & ~_umask())  # mkstemp's own mode shuts the group out
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise BadInput(f"{path} cannot be written ({error.strerror}): choose another place or make room") from error


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def write_safetensors(path: Path, tensors: Mapping[str, NDArray[np.generic]], facts: Mapping[str, Any]) -> None:
    """A safetensors file of numpy arrays, in place whole or not at all; equal content gives equal bytes.

    facts: plain values, kept as JSON under the one metadata key "bnonly" (of several, safetensors mixes the order).
    """
    from safetensors.numpy import save

    # Not ascontiguousarray, which gives a scalar a dimension.
    whole = {name: np.asarray(value, order="C") for name, value in tensors.items()}
    write_atomically(path, save(whole, {"bnonly": json.dumps(facts, sort_keys=True)}))


def cache_folder() -> Path:
    """Where fetched and decoded data is kept: $BNONLY_CACHE, or bnonly in the user's cache folder."""
    if own := os.environ.get("BNONLY_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bnonly"
