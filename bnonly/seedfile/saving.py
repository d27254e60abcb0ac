"""From a network to a seed+BN file: what the seed does not bring back, and how a reader can tell that it did."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import rfc8785
from numpy.typing import NDArray
from torch import Tensor, nn

from bnonly.errors import BadInput
from bnonly.files import write_atomically
from bnonly.networks import Origin
from bnonly.networks.folded import FoldedBatchNorm2d
from bnonly.networks.registry import parse
from bnonly.seedfile import codecs, container, probe
from bnonly.seedfile.contents import Contents, Limits
from bnonly.seedfile.errors import NotStorable, SeedFileError
from bnonly.seedfile.floats import DTYPES, rounded, stored
from bnonly.seedfile.growing import Digest, drawn, places
from bnonly.seedfile.header import FORMS, Arch, Check, Header, Init, Input, Norms
from bnonly.seedfile.header import parse as parse_header
from bnonly.seedfile.loading import assembled
from bnonly.seedfile.plan import Plan
from bnonly.trainable import trained_groups

Form = Literal["folded", "full"]
Dtype = Literal["fp32", "fp16", "bf16"]
Codec = Literal["raw", "mask", "rans"]
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
CODECS = {"raw": "raw", "mask": "mask", "rans": "rans-1"}
"""By the name that users type, the codec's id in the file."""


@dataclass(frozen=True)
class How:
    """How the values are written.

    form: "folded", two numbers a channel, to evaluate; "full", gamma, beta and running statistics, to train on or
    clamp later. dtype: "fp32" | "fp16" | "bf16", of every stored number. codec: "raw"; "mask", without the zeros;
    "rans", in steps and range coded, folded form only. clamp: every |gamma| below it is stored as 0. step: steps a
    standard deviation for "rans", a power of two up to 1024.
    """

    form: Form = "folded"
    dtype: Dtype = "fp32"
    codec: Codec = "raw"
    clamp: float = 0.0
    step: int = 32

    def __post_init__(self):
        for name, known in (("form", FORMS), ("dtype", DTYPES), ("codec", CODECS)):
            if getattr(self, name) not in known:
                raise BadInput(f"{name} {getattr(self, name)!r} is unknown: use one of {', '.join(known)}")
        if not 0 <= self.clamp < float("inf"):
            raise BadInput(f"a clamp of {self.clamp} is impossible: it bounds |gamma|, so it is a number from 0 up")
        if self.step not in codecs.STEPS:
            raise BadInput(f"a step of {self.step} is impossible: use a power of two from 1 to {codecs.STEPS[-1]}")
        if self.codec == "rans" and self.form == "full":
            raise BadInput("codec rans codes a and b, which form full does not have: use form folded, or codec mask")


@dataclass(frozen=True)
class Packed:
    """A file's bytes. header: what it says. zeros: channels whose scale is 0. notes: what one should know."""

    data: bytes
    header: Header
    zeros: int
    notes: tuple[str, ...]

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


def save(
    net: nn.Module,
    path: str | os.PathLike[str],
    *,
    form: Form = "folded",
    dtype: Dtype = "fp32",
    codec: Codec = "raw",
    clamp: float = 0.0,
    step: int = 32,
    input: Input | None = None,
    info: Mapping[str, Any] | None = None,
) -> Packed:
    """Store a network that `bnonly.network` made as its seed and what was trained; the file is there whole or not.

    Which parameters may differ from the seed's is what `freeze_all_but` was told. input, info: what the header says
    of images and anything else; those of the file the network was loaded from, else the architecture's own size.
    See `How` for the rest. Equal content gives equal bytes. The network is left as it is.
    Raises `seedfile.errors.NotStorable` where the seed would not bring the network back, and BadInput.
    """
    packed = pack(net, How(form, dtype, codec, clamp, step), input, info)
    write_atomically(Path(path), packed.data)
    return packed


def pack(net: nn.Module, how: How, input: Input | None = None, info: Mapping[str, Any] | None = None) -> Packed:
    """`save` without a file."""
    origin = _origin(net)
    known: Header | None = getattr(net, "stored", None)
    # Not the parameters: those of random:K stand beside the weights, where state_dict puts them in.
    state = {name: value.cpu() for name, value in net.state_dict().items()}
    plan = _plan(net, state, origin)
    own = {entry.name: _host(state[entry.name]) for entry in plan.entries}
    frozen_sha256, scalars = _compared(own, plan, origin)
    coded, eps, notes = _coded(net, state, plan, how)
    codec = "mask" if notes else CODECS[how.codec]
    beside = {}
    for name, entries in plan.stored().items():
        flat = scalars if name == "random.values" else [own[entry.name].reshape(-1) for entry in entries]
        beside[name] = rounded(np.concatenate(flat), how.dtype, name)
    tensors = coded.tensors | {name: stored(value, how.dtype) for name, value in beside.items()}
    start = origin.start
    header = Header(
        arch=Arch(origin.name, origin.classes),
        init=Init(origin.seed, start.weights, start.scale, start.gamma, start.beta),
        bn=Norms(how.form, sum(plan.sizes()), eps, how.dtype),
        input=input or (known.input if known else plain_input(origin.name, origin.classes)),
        check=Check((), (), 0.0),
        trained=plan.trained,
        codec=codec,
        codec_args={"R": how.step} if codec == "rans-1" else {},
        head="stored" if "output" in plan.trained else "seeded",
        requires=plan.requires(codec),
        plan_sha256=plan.digest(),
        frozen_sha256=frozen_sha256,
        payload_sha256=container.payload_sha256(tensors),
        info=dict(info if info is not None else known.info if known else {}),
    )
    _check_input(header.input, origin.classes)
    # The probe asks the network that a reader will have, its weights in this one's memory.
    reader = Contents(header, plan, coded.values, beside, 0, "")
    replica = assembled(
        reader, lambda entry: own[entry.name] if plan.source(entry) == "seed" else own[entry.name].copy()
    )
    header = replace(header, check=probe.asked(replica, origin.seed, header.input.shape))
    zeros = int((coded.values["a" if how.form == "folded" else "weight"] == 0).sum())
    return Packed(container.pack(_text(header), tensors), header, zeros, notes)


def plain_input(name: str, classes: int) -> Input:
    """Where nothing is known of the images: the architecture's own size, mean 0, std 1, classes by number."""
    side = parse(name).family.resolution
    return Input((3, side, side), (0.0,) * 3, (1.0,) * 3, tuple(map(str, range(classes))))


def _origin(net: nn.Module) -> Origin:
    origin: Origin | None = getattr(net, "origin", None)
    if origin is None:
        raise NotStorable("network", "one that bnonly.network made from a seed", type(net).__name__)
    if not origin.start.storable:
        raise NotStorable("init.dist", "a distribution that a seed brings back on any machine", origin.start.weights)
    return origin


def _plan(net: nn.Module, state: Mapping[str, Tensor], origin: Origin) -> Plan:
    trained = trained_groups(net)
    if "all" in trained:
        raise NotStorable("trained", "a group that leaves something to the seed", "all: every weight was trained")
    if len(random := [part for part in trained if part.startswith("random:")]) > 1:
        raise NotStorable("trained", "one random:K, since each K has positions of its own", " and ".join(random))
    drawn_from = getattr(net, "positions_seed", origin.seed)
    if drawn_from != origin.seed:
        raise NotStorable("random:K", f"positions from the network's own seed {origin.seed}", f"seed {drawn_from}")
    entries = tuple(parse(origin.name).entries(origin.classes))
    own = {name: tuple(value.shape) for name, value in state.items() if name.rpartition(".")[2] not in _STATISTICS}
    wanted = {entry.name: entry.shape for entry in entries}
    if odd := sorted(name for name in own.keys() | wanted.keys() if own.get(name) != wanted.get(name)):
        here, there = own.get(odd[0], "none"), wanted.get(odd[0], "none")
        raise NotStorable(f"network, {odd[0]}", f"{there}, as in {origin.name}", here)
    return Plan(entries, trained)


def _host(value: Tensor) -> NDArray[np.float32]:
    return np.ascontiguousarray(value.float().contiguous().numpy())


def _compared(
    own: Mapping[str, NDArray[np.float32]], plan: Plan, origin: Origin
) -> tuple[str, list[NDArray[np.float32]]]:
    """The digest of what the seed gives, and the scalars of random:K, parameter by parameter.

    Raises NotStorable, naming the parameter, where the network has something else than the seed gives.
    """
    scalars = []
    with Digest() as digest:
        seeded = [entry for entry in plan.entries if plan.source(entry) != "file"]
        for entry, grown in zip(seeded, drawn(seeded, origin.seed, origin.start), strict=True):
            source, mine = plan.source(entry), own[entry.name]
            digest.add(grown, change=source != "seed")
            if source == "seed+file":
                at = places(entry, origin.seed, plan.scalars)
                scalars.append(mine.reshape(-1)[at])
                grown.reshape(-1)[at] = scalars[-1]
            if not np.array_equal(grown, mine):
                changed = int((grown != mine).sum())
                groups = "+".join(plan.trained) or "none"
                raise NotStorable(
                    entry.name,
                    f"the values of seed {origin.seed}, as the trained groups ({groups}) leave them",
                    f"{changed} of {entry.size} others",
                    "train it through bnonly.freeze_all_but, which remembers the group, or store it whole",
                )
        return digest.hexdigest(), scalars


def _coded(
    net: nn.Module, state: Mapping[str, Tensor], plan: Plan, how: How
) -> tuple[codecs.Coded, float, tuple[str, ...]]:
    """The BatchNorm values as they will be stored, eps, and what was done otherwise than asked."""
    paths = [entry.name.rpartition(".")[0] for entry in plan.entries if entry.role == "gamma"]
    layers: list[Any] = [net.get_submodule(path) for path in paths]
    if len(distinct := {layer.eps for layer in layers}) > 1 or any(layer.running_var is None for layer in layers):
        raise NotStorable("bn.eps", "one eps, and running statistics, in all layers", sorted(distinct))
    weight, bias, mean, var = (
        np.concatenate([state[f"{path}.{name}"].double().numpy() for path in paths])
        for name in ("weight", "bias", "running_mean", "running_var")
    )
    eps = layers[0].eps
    if any(isinstance(layer, FoldedBatchNorm2d) for layer in layers):
        if how.form == "full" or how.clamp:
            asked = "form full" if how.form == "full" else "a clamp of |gamma|"
            raise NotStorable(
                "form", "a network that still has gamma", "a folded one", f"{asked} needs the original run"
            )
        a, shift = weight, lambda _: bias
    else:
        if not (var >= 0).all():
            raise NotStorable("running_var", "variances from 0 up", f"{var.min():g}")
        weight[np.abs(weight) < how.clamp] = 0
        if how.form == "full":
            full = {"weight": weight, "bias": bias, "mean": mean, "var": var}
            return codecs.encode_full(full, how.codec, how.dtype), eps, ()
        a, shift = codecs.fold(weight, var, eps), lambda near: bias - mean * near
    sizes = plan.sizes()
    try:
        return codecs.encode_folded(a, shift, sizes, CODECS[how.codec], how.dtype, how.step), eps, ()
    except codecs.OutOfReach as reason:
        note = f"codec mask instead of rans: {reason}"
        return codecs.encode_folded(a, shift, sizes, "mask", how.dtype, how.step), eps, (note,)


def _check_input(given: Input, classes: int) -> None:
    if len(given.labels) != classes:
        raise BadInput(f"{len(given.labels)} labels do not name {classes} classes: give one a class, in order")
    if len(given.shape) != 3 or given.shape[0] != 3 or min(given.shape) < 1:
        raise BadInput(f"images of shape {given.shape} are impossible: say (3, height, width)")
    if given.shape[1] * given.shape[2] > Limits.pixels:
        raise BadInput(f"images of shape {given.shape} are larger than readers take: {Limits.pixels} pixels at most")


def _text(header: Header) -> str:
    try:
        text = header.text()
    except (rfc8785.CanonicalizationError, RecursionError) as error:
        raise BadInput(
            f"info or labels hold what JSON cannot ({error}): use texts, numbers, lists and objects"
        ) from error
    try:
        parse_header(text)  # what a reader would refuse must not be written
    except SeedFileError as error:
        raise BadInput(
            f"readers would refuse the file for its {error.field} ({error.got}, not {error.expected}): "
            "change what you give as input or info"
        ) from error
    return text
