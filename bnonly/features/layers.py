"""Features: what named layers of a network put out, in one forward pass."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from bnonly.config.names import did_you_mean, nearest
from bnonly.errors import BadInput
from bnonly.networks import title

_SHOWN = 8


class _Enough(Exception):
    """The last layer that was asked for has run."""


def checked(net: nn.Module, layers: str | Sequence[str]) -> tuple[str, ...]:
    """The layers, if the network has them all. Raises BadInput, with near names, where it has not."""
    names = (layers,) if isinstance(layers, str) else tuple(layers)
    known = [name for name, _ in net.named_modules() if name]
    if not names:
        raise BadInput(f"no layer of {title(net)} is named: give at least one, as {known[0] if known else '?'}")
    for name in names:
        if name not in known:
            hint = did_you_mean(nearest(name, known))
            some = ", ".join(known[:_SHOWN]) + (", ..." if len(known) > _SHOWN else "")
            raise BadInput(f"layer {name!r} of {title(net)} is unknown{hint}: it has {some}")
    if len(set(names)) < len(names):
        raise BadInput(f"layers {', '.join(names)}: one is named twice")
    return names


def features(net: nn.Module, layers: str | Sequence[str], x: Tensor) -> dict[str, Tensor]:
    """What these layers put out for x, by name, in the order asked for.

    net: any module; its forward is left when the last of the layers has run. layers: names as in `named_modules`. Of
    a layer that runs several times its first output. What a later layer does in place does not change the features.
    Raises BadInput for an unknown layer, for one that does not run or puts out no tensor, and for an x that the
    network refuses.
    """
    names, found = checked(net, layers), dict[str, Tensor]()

    def keep(name: str) -> Any:
        def hook(_: nn.Module, inputs: Any, output: Any) -> Any:
            if name in found:
                return None
            if not isinstance(output, Tensor):
                raise BadInput(f"layer {name} of {title(net)} puts out no tensor but {type(output).__name__}")
            found[name] = output
            if len(found) == len(names):
                raise _Enough
            return output.clone()  # for what may follow in place

        return hook

    with ExitStack() as stack:
        for name in names:
            stack.callback(net.get_submodule(name).register_forward_hook(keep(name)).remove)
        try:
            net(x)
        except _Enough:
            pass
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            first = next(iter(str(error).splitlines()), "")
            raise BadInput(f"{title(net)} cannot take an input of {list(x.shape)}: {first}") from error
    if missing := [name for name in names if name not in found]:
        raise BadInput(f"layer {missing[0]} of {title(net)} does not run in a forward pass")
    return {name: found[name] for name in names}
