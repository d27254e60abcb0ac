"""The seed+BN file `bnonly/1`: a trained network in a seed and two numbers a channel, verified at load.

`docs/seedfile.md` is the specification. `contents.py` reads and verifies a file with numpy alone, `loading.py` and
`saving.py` go from and to a network, `hub.py` from and to folders and repositories of the Hugging Face Hub.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from bnonly.seedfile.errors import SeedFileError

if TYPE_CHECKING:
    from bnonly.seedfile.contents import Limits, open_file
    from bnonly.seedfile.header import Input
    from bnonly.seedfile.hub import from_pretrained, push_to_hub, save_pretrained
    from bnonly.seedfile.loading import load
    from bnonly.seedfile.saving import save

__all__ = [
    "Input",
    "Limits",
    "SeedFileError",
    "from_pretrained",
    "load",
    "open_file",
    "push_to_hub",
    "save",
    "save_pretrained",
]

_HOMES = {
    "Input": "header",
    "Limits": "contents",
    "from_pretrained": "hub",
    "load": "loading",
    "open_file": "contents",
    "push_to_hub": "hub",
    "save": "saving",
    "save_pretrained": "hub",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"bnonly.seedfile.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'bnonly.seedfile' has no attribute {name!r}")
