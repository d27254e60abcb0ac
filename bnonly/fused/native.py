"""The native kernels: built from the C++ files beside this one at first use, and kept in the user's cache.

A plain C interface and ctypes: building takes seconds, needs a compiler and nothing else, and fits every version of
torch. Where there is no compiler, or it cannot build them, torch's own operators do the work.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnonly.errors import BadInput
from bnonly.files import cache_folder, replacing
from bnonly.progress import console

if TYPE_CHECKING:
    from torch import Tensor

SOURCES, _HEADERS = (sorted(Path(__file__).parent.glob(f"*.{kind}")) for kind in ("cpp", "h"))
_COMPILERS = ("c++", "g++", "clang++")
_FLAGS = ("-std=c++17", "-O3", "-fPIC", "-shared", "-fopenmp", "-Wno-psabi")
_SECONDS = 300

_POINTER, _SIZE, _REAL, _FLAG = ctypes.c_void_p, ctypes.c_int64, ctypes.c_double, ctypes.c_int
_ARGUMENTS = {
    "forward": [_POINTER] * 4 + [_SIZE] * 2 + [_POINTER] * 6 + [_REAL] * 2 + [_FLAG] * 3,
    "backward": [_POINTER] * 5 + [_SIZE] * 2 + [_POINTER] * 3 + [_FLAG] * 3,
    "scalars": [_POINTER] * 4 + [_SIZE] * 9 + [_POINTER] * 2 + [_FLAG],
    "transform": [_POINTER] * 3 + [_SIZE] * 3 + [_FLAG, _POINTER, _SIZE, _FLAG],
    "convolution": [_POINTER] * 3 + [_SIZE] * 5 + [_POINTER] * 2 + [_FLAG] + [_POINTER] + [_FLAG] * 2,
}
_TYPES = {
    "forward": ("float32", "float64", "bfloat16"),
    "backward": ("float32", "float64", "bfloat16"),
    "transform": ("float32",),
    "convolution": ("float32", "bfloat16"),
}

Kernel = Callable[..., None]


class Kernels:
    """`kernel("forward", "float32")` and its like; None where there is none for that type."""

    def __init__(self, path: Path):
        library = ctypes.CDLL(str(path))
        self._found: dict[tuple[str, str], Kernel] = {}
        for name, arguments in _ARGUMENTS.items():
            for dtype in _TYPES.get(name, ("float32", "float64")):
                function: Any = getattr(library, f"{name}_{dtype}")
                function.argtypes, function.restype = arguments, None
                self._found[name, dtype] = function
        self.arena_tensor: Any = library.arena_tensor
        self.arena_tensor.argtypes, self.arena_tensor.restype = [_SIZE] * 4 + [_FLAG] * 2, _POINTER
        self.arena_used: Any = library.arena_used
        self.arena_used.argtypes, self.arena_used.restype = [], _SIZE
        self.arena_trim: Any = library.arena_trim
        self.arena_trim.argtypes, self.arena_trim.restype = [], None

    def kernel(self, name: str, dtype: str) -> Kernel | None:
        return self._found.get((name, dtype))


def address(tensor: Tensor | None) -> int | None:
    """Where a tensor's values begin, as kernels take it; none for none."""
    return None if tensor is None else tensor.data_ptr()


@cache
def kernels() -> Kernels | None:
    """This machine's kernels, built if need be; None where that cannot be done, which is said once."""
    compiler = _compiler()
    if compiler is None:
        console().print("no C++ compiler was found: the fused engine runs on torch's operators, which is slower")
        return None
    try:
        path = library(compiler)
        if path.is_file():
            with suppress(OSError):  # torn, as by a full disk
                return Kernels(path)
        _build(compiler, path)
        return Kernels(path)
    except (OSError, AttributeError, subprocess.SubprocessError, BadInput) as error:
        first = next(iter((getattr(error, "stderr", None) or str(error)).splitlines()), type(error).__name__)
        console().print(
            f"the native kernels could not be built with {compiler} ({first}): the fused engine runs on torch's "
            "operators, which is slower",
            markup=False,
        )
        return None


def library(compiler: str) -> Path:
    """Where the kernels of this compiler, these sources and this processor are kept."""
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True, timeout=_SECONDS)
    sources = [path.read_text() for path in (*SOURCES, *_HEADERS)]
    facts = [version.stdout.splitlines()[0], *_FLAGS, _tuning(), _processor(), *sources]
    name = hashlib.sha256("\0".join(facts).encode()).hexdigest()[:16]
    return cache_folder() / "kernels" / f"{name}.so"


def _build(compiler: str, path: Path) -> None:
    console().print(f"building native kernels with {compiler}, once on this machine (some ten seconds)")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with replacing(path) as temporary:
        command = [compiler, *_FLAGS, _tuning(), *map(str, SOURCES), "-o", str(temporary)]
        subprocess.run(command, capture_output=True, text=True, check=True, timeout=_SECONDS)


def _compiler() -> str | None:
    wanted = os.environ.get("CXX")
    return next(filter(None, map(shutil.which, [wanted] if wanted else _COMPILERS)), None)


def _tuning() -> str:
    """For this very processor, in the words of its compilers."""
    return "-march=native" if platform.machine().lower() in ("x86_64", "amd64", "i686") else "-mcpu=native"


def _processor() -> str:
    """What the processor can do: a cache on a shared disk serves unlike machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    known = [line for line in lines if line.startswith(("flags", "Features", "model name", "CPU part"))]
    return "\n".join([platform.machine(), *dict.fromkeys(known)])
