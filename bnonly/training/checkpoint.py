"""Where training stands, as a safetensors file with a digest: trained values, buffers, optimiser, position.

Frozen weights are not in it; the seed grows them again and their digest is compared. Nothing is pickled. The file is
replaced whole, the one before is kept, and a damaged one is passed over in its favour.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from bnonly.errors import BadInput
from bnonly.files import write_atomically


@dataclass(frozen=True)
class State:
    """tensors: by name, on the CPU. facts: plain values (position, digests, the last record)."""

    tensors: dict[str, Tensor]
    facts: dict[str, Any]


def trained_state(net: nn.Module) -> dict[str, Tensor]:
    """What distinguishes a network from its seed: `trained/NAME` of the parameters that train, `buffer/NAME` of all
    buffers (running statistics move in every layer, whatever trains)."""
    buffers, stored = dict(net.named_buffers()), net.state_dict().keys()
    return {
        **{f"trained/{name}": p.detach() for name, p in net.named_parameters() if p.requires_grad},
        **{f"buffer/{name}": b for name, b in buffers.items() if name in stored},
    }


def restore_trained(net: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Put `trained_state`'s values back into a network of the same plan and group."""
    own = trained_state(net)
    theirs = {name: value for name, value in tensors.items() if name.startswith(("trained/", "buffer/"))}
    odd = sorted(set(own) ^ set(theirs)) or sorted(n for n in own if own[n].shape != theirs[n].shape)
    if odd:
        raise BadInput(f"the stored values do not fit this network and group: {odd[0]} differs ({len(odd)} in all)")
    with torch.no_grad():
        for name, value in own.items():
            value.copy_(theirs[name])


def optimizer_state(optimizer: torch.optim.Optimizer | None) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """An optimiser's state as flat tensors `optimizer/INDEX/NAME` and plain values."""
    if optimizer is None:
        return {}, {}
    whole = optimizer.state_dict()
    tensors, plain = {}, {}
    for index, state in whole["state"].items():
        for name, value in state.items():
            (tensors if isinstance(value, Tensor) else plain)[f"optimizer/{index}/{name}"] = value
    return tensors, {"state": plain, "param_groups": whole["param_groups"]}


def restore_optimizer(optimizer: torch.optim.Optimizer | None, state: State) -> None:
    if optimizer is None:
        return
    values = {name: value for name, value in state.tensors.items() if name.startswith("optimizer/")}
    by_index: dict[int, dict[str, Any]] = {}
    for name, value in (values | state.facts["optimizer"]["state"]).items():
        _, index, key = name.split("/")
        by_index.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": by_index, "param_groups": state.facts["optimizer"]["param_groups"]})


def write(path: Path, state: State) -> None:
    """Replace the checkpoint at `path`; the one before stays as `path.previous`."""
    # One storage each: views and tied values would be refused, and copies from the device are owed anyway.
    tensors = {name: value.detach().cpu().clone().contiguous() for name, value in state.tensors.items()}
    facts = state.facts | {"tensors_sha256": _digest(tensors)}
    data = save(tensors, {"bnonly": json.dumps(facts)})
    fresh = _fresh(path)
    write_atomically(fresh, data)
    try:
        if path.exists():
            os.replace(path, _previous(path))
        os.replace(fresh, path)
    except OSError as error:
        raise BadInput(f"{path} cannot be written ({error.strerror}): what it held is kept beside it") from error


def read(path: Path) -> tuple[State | None, list[str]]:
    """The newest whole checkpoint and what was wrong with those passed over; None where there is no whole one."""
    passed_over = []
    for candidate in (path, _fresh(path), _previous(path)):
        if not candidate.exists():
            continue
        try:
            return _read(candidate), passed_over
        except OSError as error:
            raise BadInput(f"{candidate} cannot be read ({error.strerror or error}): nothing was changed") from error
        except (SafetensorError, ValueError, KeyError) as error:
            passed_over.append(f"{candidate.name} is damaged ({error})")
    return None, passed_over


def _read(path: Path) -> State:
    with safe_open(path, framework="pt") as file:
        facts = json.loads((file.metadata() or {})["bnonly"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if _digest(tensors) != facts.pop("tensors_sha256"):
        raise ValueError("its digest does not match")
    return State(tensors, facts)


def _fresh(path: Path) -> Path:
    return path.with_name(path.name + ".new")


def _previous(path: Path) -> Path:
    return path.with_name(path.name + ".previous")


def _digest(tensors: dict[str, Tensor]) -> str:
    total = hashlib.sha256()
    for name in sorted(tensors):
        total.update(f"{name} {tensors[name].dtype} {tuple(tensors[name].shape)}".encode())
        total.update(tensors[name].reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()
