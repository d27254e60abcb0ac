"""bnonly: networks of random features, of which only gamma and beta (or another small group) train.

    import bnonly
    net = bnonly.network("cifar_resnet56", seed=7)      # frozen random weights, nothing trained yet
    bnonly.freeze_all_but(net, "bn")                    # -> the parameters that train
    bnonly.save(net, "net.safetensors")                 # a seed and two numbers a channel
    net = bnonly.load("net.safetensors")                # the same network, verified, in eval mode
    net = bnonly.from_pretrained("owner/name")          # from the Hugging Face Hub, or a folder
    net = bnonly.grown(module, seed=7)                  # a module of your own, its values from the seed

torch is imported when one of these is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bnonly.networks import grown, network
    from bnonly.seedfile.hub import from_pretrained, push_to_hub, save_pretrained
    from bnonly.seedfile.loading import load
    from bnonly.seedfile.saving import save
    from bnonly.trainable import freeze_all_but

__version__ = "0.1.0"
__all__ = [
    "__version__",
    "freeze_all_but",
    "from_pretrained",
    "grown",
    "load",
    "network",
    "push_to_hub",
    "save",
    "save_pretrained",
]

_HOMES = {
    "network": "bnonly.networks",
    "grown": "bnonly.networks",
    "freeze_all_but": "bnonly.trainable",
    "save": "bnonly.seedfile.saving",
    "load": "bnonly.seedfile.loading",
    "save_pretrained": "bnonly.seedfile.hub",
    "from_pretrained": "bnonly.seedfile.hub",
    "push_to_hub": "bnonly.seedfile.hub",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name == "features":  # a room that one uses by its name
        return import_module("bnonly.features")
    raise AttributeError(f"module 'bnonly' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
