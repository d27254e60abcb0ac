"""From a seed+BN file to a network, verified on the way."""

from __future__ import annotations

import os
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from bnonly.errors import BadInput
from bnonly.networks import Origin
from bnonly.networks.folded import fold
from bnonly.networks.skeleton import grow
from bnonly.randomness.entry import Entry
from bnonly.randomness.plan import BATCH_NORMS, plan
from bnonly.seedfile import probe
from bnonly.seedfile.contents import Contents, Limits, open_file
from bnonly.seedfile.errors import CorruptFile, SeedFileError
from bnonly.seedfile.growing import Digest
from bnonly.seedfile.storable import common_eps


def load(
    path: str | os.PathLike[str],
    *,
    verify: bool = True,
    limits: Limits | None = None,
    module: nn.Module | None = None,
) -> nn.Module:
    """The network of a seed+BN file: in eval mode, every parameter frozen, float32, on the CPU.

    `net.stored` is the file's header (input shape, mean, std, labels, trained groups, ...), `net.origin` what it grew
    from. The BatchNorm layers of a folded file are `networks.folded.FoldedBatchNorm2d`; those of a full one are
    ordinary. verify: compare the digest of the drawn weights and the answers to the probe images too; all other
    digests are always compared. limits: what the file may ask for. module: for a network that `bnonly.grown` made,
    another one of its class; a copy of it is filled and returned.
    Raises `seedfile.errors.SeedFileError`, naming file, field, expected and got, and BadInput for a missing file.
    """
    contents = open_file(Path(path), limits, None if module is None else plan(module))
    try:
        return network_of(contents, verify=verify, module=module)
    except SeedFileError as error:
        error.file = str(path)
        raise


def network_of(contents: Contents, *, verify: bool = True, module: nn.Module | None = None) -> nn.Module:
    """`load` of a file in hand."""
    head = contents.header
    with Digest() as digest:
        net = assembled(contents, contents.drawn(digest if verify else None), deepcopy(module))
        if verify:
            contents.check_frozen(digest)
    if head.bn.form == "affine":
        _check_eps(net, contents)
    ratio = probe.compare(net, head) if verify else None
    facts = {"stored": head, "trained": head.trained, "positions_seed": head.init.seed, "probe": ratio}
    facts |= {"rounds": dict(contents.rounds)} if contents.rounds else {}
    for name, value in facts.items():
        object.__setattr__(net, name, value)  # plain attributes, which nn.Module keeps no record of
    return net


@torch.inference_mode(False)  # or its values could never train
def assembled(
    contents: Contents, draw: Callable[[Entry], NDArray[np.float32]], module: nn.Module | None = None
) -> nn.Module:
    """The network in eval mode, its seeded parameters given by draw, with the file's normalisation layers."""
    head = contents.header
    arch = head.arch
    origin = Origin(arch.id, head.init.seed, contents.start, arch.classes, arch.antialias)
    parameters = contents.parameters(draw)
    try:
        net = grow(origin, lambda _: next(parameters), contents.plan.entries, module)
    except SeedFileError:
        raise
    except BadInput as error:  # a filter, say, that the architecture has no place for
        raise CorruptFile("arch.args", f"what {arch.id} takes", f"{arch.args} ({error})") from error
    if head.bn.form == "affine":
        return net.eval()
    layers: list[Any] = [layer for layer in net.modules() if isinstance(layer, BATCH_NORMS)]
    begin = 0
    for layer in layers:
        layer.eps, end = head.bn.eps, begin + layer.num_features
        if head.bn.form == "folded":
            fold(layer)
        else:
            layer.running_mean = torch.from_numpy(contents.norms["mean"][begin:end].copy())
            layer.running_var = torch.from_numpy(contents.norms["var"][begin:end].copy())
        begin = end
    return net.eval()


def _check_eps(net: nn.Module, contents: Contents) -> None:
    """Without running statistics eps is the architecture's; raises CorruptFile where the header has another."""
    paths = {e.name.rpartition(".")[0]: None for e in contents.plan.entries if e.role in ("gamma", "beta")}
    eps = common_eps(net.get_submodule(path) for path in paths)
    if contents.header.bn.eps != eps:
        raise CorruptFile("bn.eps", f"{eps:g} of {contents.header.arch.id}", contents.header.bn.eps)
