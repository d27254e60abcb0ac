"""From a network to a seed+BN file: what the seed does not bring back, and how a reader can tell that it did."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import rfc8785
from numpy.typing import NDArray
from torch import Tensor, nn

from bnonly.errors import BadInput
from bnonly.files import write_atomically
from bnonly.networks import is_own
from bnonly.networks.folded import is_folded
from bnonly.networks.libraries import library_version
from bnonly.networks.registry import parse
from bnonly.seedfile import codecs, container, probe, storable
from bnonly.seedfile.contents import Contents, features, library_of, rounds_tensor
from bnonly.seedfile.errors import NotStorable, SeedFileError
from bnonly.seedfile.floats import DTYPES, rounded, stored
from bnonly.seedfile.header import FORMS, REVISION, Arch, Check, Header, Init, Input, Norms
from bnonly.seedfile.header import parse as parse_header
from bnonly.seedfile.loading import assembled
from bnonly.seedfile.plan import FITTING, Plan

Values = NDArray[np.float64]
Form = Literal["auto", "folded", "full", "affine"]
Dtype = Literal["fp32", "fp16", "bf16"]
Codec = Literal["raw", "mask", "rans"]
Outliers = Literal["fallback", "widen"]
CODECS = {"raw": "raw", "mask": "mask", "rans": "rans-1"}
"""By the name that users type, the codec's id in the file."""
OUTLIERS: tuple[Outliers, ...] = get_args(Outliers)


@dataclass(frozen=True)
class How:
    """How the values are written.

    form: "folded", two numbers a channel, to evaluate; "full", gamma, beta and running statistics, to train on or
    clamp later; "affine", gamma and beta of layers that have no running statistics, as LayerNorm; "auto", folded
    where all layers are BatchNorm, full where some are, affine where none is. dtype: "fp32" | "fp16" | "bf16", of
    every stored number. codec: "raw"; "mask", without the zeros; "rans", in steps and range coded, folded form only.
    clamp: every |gamma| below it is stored as 0. step: steps a standard deviation for "rans", a power of two up to
    1024. outliers: what "rans" does about a value of more than 5 standard deviations: "fallback", the file takes
    codec mask; "widen", that layer's steps are just wide enough to reach it, and its other values coarser.
    """

    form: Form = "auto"
    dtype: Dtype = "fp32"
    codec: Codec = "raw"
    clamp: float = 0.0
    step: int = 32
    outliers: Outliers = "fallback"

    def __post_init__(self):
        kinds = {"clamp": float, "step": int}
        for name, kind in kinds.items():
            value = getattr(self, name)
            try:
                exact = kind(value)
            except (TypeError, ValueError, OverflowError):
                exact = None
            if exact is None or (exact != value and value == value) or isinstance(value, str):
                raise BadInput(f"{name} {value!r} is no {'number' if kind is float else 'whole number'}")
            object.__setattr__(self, name, exact)
        for name, known in (("form", ("auto", *FORMS)), ("dtype", DTYPES), ("codec", CODECS), ("outliers", OUTLIERS)):
            if getattr(self, name) not in known:
                raise BadInput(f"{name} {getattr(self, name)!r} is unknown: use one of {', '.join(known)}")
        if not 0 <= self.clamp < float("inf"):
            raise BadInput(f"a clamp of {self.clamp} is impossible: it bounds |gamma|, so it is a number from 0 up")
        if self.step not in codecs.STEPS:
            raise BadInput(f"a step of {self.step} is impossible: use a power of two from 1 to {codecs.STEPS[-1]}")
        if self.codec == "rans" and self.form in ("full", "affine"):
            raise BadInput(
                f"codec rans codes a and b, which form {self.form} does not have: use codec mask, or "
                "form folded where the network has BatchNorm alone"
            )

    def fitting(self, plan: Plan) -> How:
        """With the form decided. Raises NotStorable where the network's normalisation layers have no such form."""
        known = FITTING[plan.norms]
        if self.form == "auto":
            return replace(self, form=known[0])  # type: ignore[arg-type]
        if self.form not in known:
            layers = {"batch": "BatchNorm alone", "affine": "no BatchNorm", "mixed": "BatchNorm and other layers"}
            todo = "leave the form out, and the one that fits is taken"
            raise NotStorable("form", f"{' or '.join(known)} for {layers[plan.norms]}", self.form, todo)
        return self


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
    form: Form = "auto",
    dtype: Dtype = "fp32",
    codec: Codec = "raw",
    clamp: float = 0.0,
    step: int = 32,
    outliers: Outliers = "fallback",
    input: Input | None = None,
    info: Mapping[str, Any] | None = None,
) -> Packed:
    """Store a network that `bnonly.network` made as its seed and what was trained; the file is there whole or not.

    Which parameters may differ from the seed's is what `freeze_all_but` was told. input, info: what the header says
    of images and anything else; those of the file the network was loaded from, else the architecture's own size.
    See `How` for the rest. Equal content gives equal bytes. The network is left as it is.
    Raises `seedfile.errors.NotStorable` where the seed would not bring the network back, and BadInput.
    """
    packed = pack(net, How(form, dtype, codec, clamp, step, outliers), input, info)
    write_atomically(Path(path), packed.data)
    return packed


def pack(net: nn.Module, how: How, input: Input | None = None, info: Mapping[str, Any] | None = None) -> Packed:
    """`save` without a file."""
    origin = storable.storable_origin(net)
    known: Header | None = getattr(net, "stored", None)
    # Not the parameters: those of random:K stand beside the weights, where state_dict puts them in.
    state = {name: value.cpu() for name, value in net.state_dict().items()}
    if input is None:
        if known is None and is_own(origin):
            raise BadInput(f"what images {origin.name} takes is not known: pass input=bnonly.seedfile.Input(...)")
        input = known.input if known else plain_input(origin.name, origin.classes)
    storable.check_input(input, origin.classes)
    if not isinstance(info, Mapping | None):
        raise BadInput(f"info is {type(info).__name__}: give names and values, or leave it out")
    plan = storable.plan_of(net, state, origin)
    how = how.fitting(plan)
    own = {entry.name: storable.host(entry.name, state[entry.name]) for entry in plan.entries}
    rounds = storable.later_rounds(net, plan)
    frozen_sha256, scalars = storable.compared(own, plan, origin, rounds)
    coded, codec, eps, notes = _coded(net, state, plan, how)
    beside = {}
    for name, entries in plan.stored().items():
        flat = scalars if name == "random.values" else [own[entry.name].reshape(-1) for entry in entries]
        beside[name] = rounded(np.concatenate(flat), how.dtype, name)
    tensors = coded.tensors | {name: stored(value, how.dtype) for name, value in beside.items()}
    tensors |= rounds_tensor(plan, rounds)
    start, library = origin.start, library_of(origin.name)
    header = Header(
        arch=Arch(
            origin.name, origin.classes, REVISION, origin.antialias, library, library and library_version(library)
        ),
        init=Init(origin.seed, start.weights, start.scale, start.gamma, start.beta, other=start.other),
        bn=Norms(how.form, sum(plan.sizes()), eps, how.dtype),
        input=input,
        check=Check((), (), 0.0),
        trained=plan.trained,
        codec=codec,
        codec_args={"R": how.step} if codec == "rans-1" else {},
        head="stored" if "output" in plan.trained else "seeded",
        requires=tuple(sorted({*plan.requires(codec, origin.antialias), *features(origin.name, start)})),
        plan_sha256=plan.digest(),
        frozen_sha256=frozen_sha256,
        payload_sha256=container.payload_sha256(tensors),
        info=dict(info if info is not None else known.info if known else {}),
    )
    # The probe asks the network that a reader will have, its weights in this one's memory.
    reader = Contents(header, plan, coded.values, beside, 0, "", rounds)
    replica = assembled(
        reader,
        lambda entry: own[entry.name] if plan.source(entry) == "seed" else own[entry.name].copy(),
        storable.plain_copy(net) if is_own(origin) else None,
    )
    storable.check_layers(net, replica, header.arch.title)
    kept = (e.name.rpartition(".")[0] for e in plan.entries if e.role in ("gamma", "beta") and e.statistics)
    storable.check_buffers(net, replica, kept)
    header = replace(header, check=probe.asked(replica, origin.seed, header.input.shape))
    zeros = int((coded.values["a" if how.form == "folded" else "weight"] == 0).sum())
    return Packed(container.pack(_text(header), tensors), header, zeros, notes)


def plain_input(name: str, classes: int) -> Input:
    """Where nothing is known of the images: the architecture's own size, mean 0, std 1, classes by number."""
    side = parse(name).resolution
    return Input((3, side, side), (0.0,) * 3, (1.0,) * 3, tuple(map(str, range(classes))))


def _coded(
    net: nn.Module, state: Mapping[str, Tensor], plan: Plan, how: How
) -> tuple[codecs.Coded, str, float, tuple[str, ...]]:
    """The norm layers' values as they will be stored, the codec's id, eps, and what was done otherwise than asked."""
    own = [entry for entry in plan.entries if entry.role in ("gamma", "beta")]
    paths = {entry.name.rpartition(".")[0]: entry.statistics for entry in own}
    layers: dict[str, Any] = {path: net.get_submodule(path) for path in paths}
    eps = storable.check_norms(layers, [path for path, kept in paths.items() if kept])

    def joined(names: Iterable[str]) -> Values:
        return np.concatenate([np.zeros(0), *(state[name].double().numpy().reshape(-1) for name in names)])

    weight, bias = (joined(entry.name for entry in own if entry.role == role) for role in ("gamma", "beta"))
    mean, var = (
        joined(f"{path}.{name}" for path, kept in paths.items() if kept) for name in ("running_mean", "running_var")
    )
    if is_folded(net):
        if how.form == "full" or how.clamp:
            asked = "form full" if how.form == "full" else "a clamp of |gamma|"
            raise NotStorable(
                "form", "a network that still has gamma", "a folded one", f"{asked} needs the original run"
            )
        coded, codec, notes = _folded(weight, lambda _: bias, plan.sizes(), how)
    else:
        coded, codec, notes = coded_layers(weight, bias, mean, var, eps, plan.sizes(), how)
    return coded, codec, eps, notes


def coded_layers(
    weight: Values, bias: Values, mean: Values, var: Values, eps: float, sizes: Sequence[int], how: How
) -> tuple[codecs.Coded, str, tuple[str, ...]]:
    """The values of normalisation layers, of `sizes` channels a layer, as they will be stored.

    With the codec's id and what was done otherwise than asked.
    """
    if not (var >= 0).all():
        raise NotStorable("running_var", "variances from 0 up", f"{var.min():g}")
    # In float32, as the measures compare it: a gamma of exactly T stays.
    weight = np.where(np.abs(weight).astype(np.float32) < np.float32(how.clamp), 0.0, weight)
    if how.form in ("full", "affine"):
        codec = CODECS[how.codec]
        full: dict[str, codecs.Floats] = {"weight": weight, "bias": bias}
        if how.form == "full":
            full |= {"mean": mean, "var": var}
        return codecs.encode_full(full, codec, how.dtype), codec, ()
    return _folded(codecs.fold(weight, var, eps), lambda near: bias - mean * near, sizes, how)


def _folded(
    a: Values, shift: Callable[[NDArray[np.float32]], Values], sizes: Sequence[int], how: How
) -> tuple[codecs.Coded, str, tuple[str, ...]]:
    codec = CODECS[how.codec]
    try:
        return codecs.encode_folded(a, shift, sizes, codec, how.dtype, how.step, how.outliers == "widen"), codec, ()
    except codecs.OutOfReach as reason:
        note = f"codec mask instead of rans: {reason}"
        note += "; outliers widen may code it all the same" if how.outliers == "fallback" else ""
        return codecs.encode_folded(a, shift, sizes, "mask", how.dtype, how.step), "mask", (note,)


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
