"""Files are written whole or not at all: to a temporary neighbour, flushed to the disk, then renamed."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnonly.errors import BadInput

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def write_atomically(path: Path, data: bytes) -> None:
    """Replace `path` by a file of these bytes; whoever reads it sees the old one or the new one, whole.

    Raises BadInput, naming the path, where it cannot be written.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def read_object(path: Path) -> dict[str, Any] | None:
    """A JSON file's object; None where there is no file, or none that can be read, or it holds something else."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def write_object(path: Path, facts: Mapping[str, Any], allow_nan: bool = True) -> None:
    """A JSON file of plain values, for `read_object`. Raises BadInput where it cannot be written, and ValueError for
    NaN and infinity unless they are allowed."""
    write_atomically(path, (json.dumps(facts, indent=1, allow_nan=allow_nan) + "\n").encode())


def now() -> str:
    """The time as files have it: UTC, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def write_together(files: Mapping[Path, bytes]) -> None:
    """`write_atomically` of several files, which take their places in the order given; see `replacing_all`."""
    with replacing_all(list(files)) as temporaries:
        for temporary, data in zip(temporaries, files.values(), strict=True):
            temporary.write_bytes(data)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary neighbour of `path` to write into, which takes its place when the block ends well.

    Raises BadInput, naming the path, where it cannot be written.
    """
    with replacing_all([path]) as (temporary,):
        yield temporary


@contextmanager
def replacing_all(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """`replacing` of several: all are on the disk before the first takes its place, in the order given.

    So a full disk leaves every old file; only a crash between two renames leaves some new and the later ones old.
    """
    ready: list[Path] = []
    path = None
    paths = [check_place(path) for path in paths]
    try:
        for path in paths:
            ready.append(_neighbour(path))
        yield ready
        for temporary in ready:
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.chmod(0o666 & ~_umask())  # mkstemp's own mode shuts the group out
        for path, temporary in zip(paths, ready, strict=True):
            os.replace(temporary, path)
    except OSError as error:
        raise BadInput(f"{path} cannot be written ({error.strerror}): choose another place or make room") from error
    finally:
        for temporary in ready:
            temporary.unlink(missing_ok=True)


def check_place(path: Path) -> Path:
    """The file that `path` names, links followed. Raises BadInput where something other than a file is there."""
    whole = Path(os.path.realpath(path))  # else a link would be replaced, and not what it points to
    if whole.exists() and not whole.is_file():
        raise BadInput(f"{path} cannot be written: {'a folder' if whole.is_dir() else 'no ordinary file'} is there")
    return whole


def _neighbour(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    os.close(handle)
    return Path(name)


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def write_safetensors(path: Path, tensors: Mapping[str, NDArray[np.generic]], facts: Mapping[str, Any]) -> None:
    """A safetensors file of numpy arrays, in place whole or not at all; equal content gives equal bytes.

    facts: plain values, kept as JSON under the one metadata key "bnonly" (of several, safetensors mixes the order).
    """
    import numpy as np
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    # Not ascontiguousarray, which gives a scalar a dimension.
    whole = {name: np.asarray(value, order="C") for name, value in tensors.items()}
    with replacing(path) as temporary:
        try:
            save_file(whole, temporary, {"bnonly": json.dumps(facts, sort_keys=True)})
        except SafetensorError as error:  # which is how it reports a full disk
            raise BadInput(f"{path} cannot be written ({error}): choose another place or make room") from error


def cache_folder() -> Path:
    """Where fetched and decoded data is kept: $BNONLY_CACHE, or bnonly in the user's cache folder."""
    if own := os.environ.get("BNONLY_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bnonly"
