"""The optimiser a configuration names, over the parameters that train."""

from __future__ import annotations

from difflib import get_close_matches
from inspect import signature
from typing import Any

import torch
from torch import nn

from bnonly.config.training import TrainingConfig
from bnonly.errors import BadInput
from bnonly.trainable import select

# LBFGS evaluates the loss many times a step, SparseAdam wants sparse gradients, Muon matrices alone.
_UNFIT = {"lbfgs", "sparseadam", "muon", "optimizer"}


def optimizer(net: nn.Module, training: TrainingConfig) -> torch.optim.Optimizer | None:
    """SGD or any other optimiser of torch.optim; None when nothing trains.

    Weight decay goes to the parameters of decay_group that train, the others get none. Raises BadInput for an unknown
    name or for options the optimiser does not take.
    """
    trained = {name: parameter for name, parameter in net.named_parameters() if parameter.requires_grad}
    if not trained:
        return None
    decayed = select(net, training.decay_group)
    groups = [
        {
            "params": [p for name, p in trained.items() if name in decayed],
            "weight_decay": training.weight_decay,
        },
        {"params": [p for name, p in trained.items() if name not in decayed], "weight_decay": 0.0},
    ]
    options = dict(training.optimizer_options)
    if training.optimizer.lower() == "sgd":
        options = {"momentum": training.momentum} | options
    kind: Any = _kind(training.optimizer)  # each has its own signature
    if training.weight_decay and "weight_decay" not in signature(kind).parameters:
        raise BadInput(f"training.optimizer {training.optimizer} has no weight decay: set training.weight_decay to 0")
    try:
        return kind([group for group in groups if group["params"]], lr=training.lr, **options)
    except (TypeError, ValueError) as error:
        raise BadInput(f"training.optimizer_options {options} do not suit {training.optimizer}: {error}") from error


def _kind(name: str) -> type[torch.optim.Optimizer]:
    known = {
        key.lower(): kind
        for key, kind in vars(torch.optim).items()
        if isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer) and key.lower() not in _UNFIT
    }
    if name.lower() in known:
        return known[name.lower()]
    near = get_close_matches(name.lower(), known, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise BadInput(f"training.optimizer {name!r} is unknown{hint} (known: {', '.join(sorted(known))})")
