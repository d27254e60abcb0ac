"""Random networks as feature extractors: a perceptual loss, style transfer, and what their features look like.

torch is imported when one of these is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bnonly.features.layers import features
    from bnonly.features.networks import extractor
    from bnonly.features.perceptual import perceptual_loss
    from bnonly.features.structure import Structure

__all__ = ["Structure", "extractor", "features", "perceptual_loss"]

_HOMES = {
    "Structure": "structure",
    "extractor": "networks",
    "features": "layers",
    "perceptual_loss": "perceptual",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"bnonly.features.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'bnonly.features' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
