"""Runs that begin where another one ended: what they begin with is kept, so that they need the other no longer."""

from __future__ import annotations

from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file
from torch import nn

from bnonly.config import RunConfig
from bnonly.errors import BadInput
from bnonly.files import write_safetensors
from bnonly.networks import origin_of
from bnonly.regrow import chosen, redraw, rounds_of
from bnonly.runs import RunFolder

_ROUNDS, _REDRAWN = "rounds/", "redrawn/"


def begin(net: nn.Module, config: RunConfig, folder: RunFolder) -> None:
    """Put into a fresh network what its run begins with: as kept in its folder, or the other run's end, regrown.

    Raises BadInput where neither is there, or the other run is of another network.
    """
    if folder.start_values.exists():
        _restore(net, folder)
        return
    other, own = _other(config), config.network
    theirs, result = other.finished()
    origin = origin_of(net)
    classes = (origin.classes if origin else None, len(result["classes"]))
    if (theirs.network, theirs.seed) != (own, config.seed) or len(set(classes)) > 1:
        raise BadInput(
            f"regrow.after {config.regrow.after} is a run of {theirs.network.name}, seed {theirs.seed}, "
            f"{classes[1]} classes: a run goes on with network, initial values, seed and classes of the one before"
        )
    from bnonly.training.build import trained_network

    before = trained_network(other)
    net.load_state_dict(before.state_dict())
    object.__setattr__(net, "rounds", rounds_of(before))
    masks = chosen(net, config.regrow.choose, config.regrow.below)
    redraw(net, masks)
    object.__setattr__(net, "redrawn", masks)


def keep(net: nn.Module, config: RunConfig, folder: RunFolder) -> None:
    """Write what the run begins with, unless that is there or the seed gives it."""
    if config.regrow.after is None or folder.start_values.exists():
        return
    values = {name: value.detach().cpu().numpy() for name, value in net.state_dict().items()}
    values |= {_ROUNDS + name: rounds for name, rounds in rounds_of(net).items()}
    values |= {_REDRAWN + name: mask for name, mask in _redrawn(net).items()}
    write_safetensors(folder.start_values, values, {"run": config.id, "after": config.regrow.after})


def facts(net: nn.Module, config: RunConfig) -> dict[str, Any]:
    """For the result: filters that were drawn anew for this run, of how many."""
    if config.regrow.after is None:
        return {}
    masks = _redrawn(net)
    return {"redrawn": int(sum(m.sum() for m in masks.values())), "filters": sum(len(m) for m in masks.values())}


def _redrawn(net: nn.Module) -> dict[str, Any]:
    return getattr(net, "redrawn", {})


def _restore(net: nn.Module, folder: RunFolder) -> None:
    try:
        kept = load_file(folder.start_values)
        own = {name: torch.from_numpy(kept[name]) for name in net.state_dict()}
        net.load_state_dict(own)
    except (OSError, SafetensorError, KeyError, RuntimeError) as error:
        raise BadInput(
            f"{folder.start_values} cannot be read ({error}): delete it if the run before is there"
        ) from error
    for mark, name in ((_ROUNDS, "rounds"), (_REDRAWN, "redrawn")):
        parts = {key.removeprefix(mark): value for key, value in kept.items() if key.startswith(mark)}
        object.__setattr__(net, name, parts)


def _other(config: RunConfig) -> RunFolder:
    found = sorted(path for path in config.out.glob(f"*/{config.regrow.after}") if (path / "result.json").exists())
    if not found:
        raise BadInput(
            f"regrow.after {config.regrow.after}: no finished run of that id is in {config.out}, in whatever folder"
        )
    return RunFolder(found[0])
