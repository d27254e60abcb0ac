"""Keep freed activations in the process.

glibc gives large freed blocks back to the system at once; the page faults of taking them again next step cost more
than what freezing the weights saves. The thresholds are raised from within, so nobody has to set a variable.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any

from bnonly.fused import arena

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3  # malloc.h


def keep_freed_memory() -> None:
    """Raise glibc's mmap and trim thresholds for this process; does nothing where there is no glibc."""
    if (libc := _glibc()) is not None:
        libc.mallopt(_M_MMAP_THRESHOLD, 1 << 30)
        libc.mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)
        libc.mallopt(_M_TOP_PAD, 1 << 28)


def give_back_freed_memory() -> None:
    """To the system, once: for when others need it."""
    arena.trim()
    if (libc := _glibc()) is not None:
        libc.malloc_trim(0)


def _glibc() -> Any:
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "malloc_trim") else None
