"""A seed+BN file taken apart and verified by numpy alone: header, plan, stored values, seeded weights."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bnonly.errors import BadInput
from bnonly.groups import parse_group
from bnonly.networks import OWN
from bnonly.networks.registry import Architecture
from bnonly.networks.registry import parse as parse_architecture
from bnonly.randomness.entry import Entry
from bnonly.randomness.start import Start
from bnonly.seedfile import codecs, container, header
from bnonly.seedfile.errors import (
    CorruptFile,
    FrozenDigestMismatch,
    PayloadDigestMismatch,
    PlanMismatch,
    SeedFileError,
    TooLarge,
    UnsupportedFeature,
    UnsupportedVersion,
)
from bnonly.seedfile.floats import loaded
from bnonly.seedfile.growing import Digest, Rounds, drawn, places
from bnonly.seedfile.header import Header
from bnonly.seedfile.plan import FITTING, Plan, bounded

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Limits:
    """What a file may ask for at most. Nothing is built or allocated for one that asks for more."""

    bytes: int = 1 << 30
    channels: int = 1 << 24
    weights: int = 1 << 31
    pixels: int = 1 << 18


@dataclass(frozen=True)
class Contents:
    """norms: a and b, or weight and bias, of form full mean and var too, each [channels].

    stored: other parameters, by tensor name. rounds: of the filters that were drawn anew, see `growing.Rounds`.
    """

    header: Header
    plan: Plan
    norms: dict[str, Floats]
    stored: dict[str, Floats]
    size: int
    sha256: str
    rounds: Rounds = field(default_factory=dict)

    @property
    def start(self) -> Start:
        return started(self.header)

    def drawn(self, digest: Digest | None = None) -> Callable[[Entry], Floats]:
        """What the seed gives for an entry, asked for in plan order; added to the digest on the way."""
        seeded = (entry for entry in self.plan.entries if self.plan.source(entry) != "file")
        ready = drawn(seeded, self.header.init.seed, self.start, self.rounds)

        def draw(entry: Entry) -> Floats:
            grown = next(ready)
            if digest is not None:
                # The scalars of random:K will be put into the array.
                digest.add(grown if self.plan.source(entry) == "seed" else grown.copy())
            return grown

        return draw

    def parameters(self, draw: Callable[[Entry], Floats]) -> Iterator[Floats]:
        """Every parameter, float32 in its own shape, in plan order; gamma and beta are a and b of a folded file.

        draw: gives what does not stand in the file, in memory that may be kept, and changed for random:K.
        """
        scale, shift = ("a", "b") if self.header.bn.form == "folded" else ("weight", "bias")
        queues = {"gamma": self.norms[scale], "beta": self.norms[shift]} | self.stored
        names = {entry: name for name, entries in self.plan.stored().items() for entry in entries}
        taken = dict.fromkeys(queues, 0)
        for entry in self.plan.entries:
            source = self.plan.source(entry)
            if source == "seed":
                yield draw(entry)
                continue
            queue, count = names.get(entry, entry.role), self.plan.count(entry)
            own = queues[queue][taken[queue] : taken[queue] + count]
            taken[queue] += count
            if source == "file":
                yield own.reshape(entry.shape).copy()
            else:
                grown = draw(entry)
                grown.reshape(-1)[places(entry, self.header.init.seed, self.plan.scalars)] = own
                yield grown

    def check_frozen(self, digest: Digest) -> None:
        """Raises FrozenDigestMismatch unless the digest of what was drawn is the header's."""
        if (drawn := digest.hexdigest()) != self.header.frozen_sha256:
            raise FrozenDigestMismatch("frozen_sha256", self.header.frozen_sha256, drawn)


def open_file(path: Path, limits: Limits | None = None, own: Sequence[Entry] | None = None) -> Contents:
    """`read` of a file. Its errors name the file; a missing one is a BadInput."""
    limits = limits or Limits()
    try:
        return read(_bytes(path, limits), limits, own)
    except SeedFileError as error:
        error.file = str(path)
        raise
    except (OSError, ValueError) as error:  # a NUL in a path is a ValueError, and so is a BadInput
        if isinstance(error, BadInput):
            raise
        reason = getattr(error, "strerror", None) or error
        raise BadInput(f"{path} cannot be read ({reason}): name a file that `bnonly export` wrote") from error


def _bytes(path: Path, limits: Limits) -> bytes:
    """As many as the header speaks of, and one more, which is one too many, if it is there."""
    with path.open("rb") as file:
        data = file.read(8 + container.HEADER_LIMIT)
        if (whole := container.length(data)) > limits.bytes:
            raise TooLarge("file", f"at most {limits.bytes} bytes", whole)
        return data + file.read(max(0, whole + 1 - len(data)))


def read(data: bytes, limits: Limits | None = None, own: Sequence[Entry] | None = None) -> Contents:
    """Everything a file holds, all digests but the frozen one compared. own: the plan of the module it is for.

    Raises the errors of `seedfile.errors`.
    """
    limits = limits or Limits()
    text, tensors, buffer = container.unpack(data)
    head = header.parse(text)
    _check_limits(head, limits)
    plan = _plan(head, limits, own)
    if (found := hashlib.sha256(buffer).hexdigest()) != head.payload_sha256:
        raise PayloadDigestMismatch("payload_sha256", head.payload_sha256, found)
    beside = plan.stored()
    wanted = codecs.names(head.bn.form, head.codec) | beside.keys() | ({"rounds"} if plan.redrawn else set())
    if tensors.keys() != wanted:
        raise CorruptFile("tensors", ", ".join(sorted(wanted)), ", ".join(sorted(tensors)) or "none")
    bn, step = head.bn, head.codec_args.get("R", 0)
    norms = codecs.decode(tensors, bn.form, head.codec, bn.dtype, plan.sizes(), step, plan.lengths())
    stored = {
        name: loaded(tensors[name], bn.dtype, sum(map(plan.count, entries)), name) for name, entries in beside.items()
    }
    rounds = _rounds(tensors["rounds"], plan, limits) if plan.redrawn else {}
    return Contents(head, plan, norms, stored, len(data), hashlib.sha256(data).hexdigest(), rounds)


def rounds_tensor(plan: Plan, rounds: Rounds) -> dict[str, container.Tensor]:
    """The tensor of these rounds by its name; none where no filter was drawn anew."""
    if not plan.redrawn:
        return {}
    whole = [rounds.get(entry.name, np.zeros(entry.shape[0], np.uint8)) for entry in plan.filtered()]
    return {"rounds": container.Tensor("U8", (sum(map(len, whole)),), np.concatenate(whole).tobytes())}


def _rounds(tensor: container.Tensor, plan: Plan, limits: Limits) -> dict[str, NDArray[np.uint8]]:
    """By weight. Raises CorruptFile, and TooLarge where drawing them would take more than the limit's weights."""
    filtered = plan.filtered()
    count = sum(entry.shape[0] for entry in filtered)
    if tensor.dtype != "U8" or tensor.shape != (count,):
        raise CorruptFile("tensor rounds", f"U8 [{count}]", f"{tensor.dtype} {list(tensor.shape)}")
    whole = np.frombuffer(tensor.data, np.uint8)
    if not whole.any():
        raise CorruptFile("tensor rounds", "a filter that was drawn anew", "none")
    parts = np.split(whole, np.cumsum([entry.shape[0] for entry in filtered])[:-1])
    weights = sum(e.size * (1 + len(np.unique(part[part > 0]))) for e, part in zip(filtered, parts, strict=True))
    if weights > limits.weights:
        raise TooLarge("tensor rounds", f"at most {limits.weights} weights to draw", weights)
    return {entry.name: part for entry, part in zip(filtered, parts, strict=True) if part.any()}


def architecture(name: str) -> Architecture:
    """Of the registry. Raises UnsupportedFeature for a name it does not know."""
    try:
        return parse_architecture(name)
    except BadInput as error:
        raise UnsupportedFeature("arch.id", "a name of `bnonly networks`", f"{name!r} ({error})") from error


def library_of(name: str) -> str:
    """The package that defines a network, "" for our own and the user's."""
    return "" if name.startswith(OWN) else architecture(name).family.library


def started(head: Header) -> Start:
    """The initial distributions. Raises UnsupportedFeature for one this version does not know or cannot redraw."""
    init = head.init
    try:
        start = Start(init.dist, init.scale, init.gamma, init.beta, init.other)  # pyright: ignore[reportArgumentType]
    except BadInput as error:
        raise UnsupportedFeature("init", "distributions of bngen-1", error) from error
    if not start.storable:
        raise UnsupportedFeature("init.dist", "a distribution that a seed brings back", init.dist)
    return start


def _check_limits(head: Header, limits: Limits) -> None:
    if head.bn.channels > limits.channels:
        raise TooLarge("bn.channels", f"at most {limits.channels}", head.bn.channels)
    if head.input.shape[0] != 3:
        raise UnsupportedFeature("input.shape", "3 colours first", list(head.input.shape))
    if (pixels := head.input.shape[1] * head.input.shape[2]) > limits.pixels:
        raise TooLarge("input.shape", f"at most {limits.pixels} pixels", pixels)


def features(name: str, start: Start) -> set[str]:
    """What a reader must know of the architecture and its initial values."""
    found = {"other"} if start.other != "refuse" else set()
    if name.startswith(OWN):
        return found | {"module"}
    return found | ({"library"} if library_of(name) else set())


def _entries(head: Header, own: Sequence[Entry] | None) -> Iterable[Entry]:
    """The architecture's, in order, without building more than is asked for."""
    if head.arch.id.startswith(OWN):
        if own is None:
            todo = "load it in Python: bnonly.load(file, module=...), with a module of that class"
            raise UnsupportedFeature("arch.id", "a network that a name builds", head.arch.id, todo)
        return own
    if own is not None:
        todo = "leave module out: the name says what to build"
        raise UnsupportedFeature("arch.id", f"a module of one's own ({OWN}...)", head.arch.id, todo)
    known = architecture(head.arch.id)
    if known.family.library and "library" not in head.requires:  # before anything of it is imported
        raise UnsupportedFeature("arch.id", "a network of bnonly's own, as requires says", head.arch.id)
    try:
        return known.entries(head.arch.classes)
    except BadInput as error:  # a library that is missing, or has no such network any more
        got = f"{head.arch.id} ({error})"
        raise UnsupportedFeature("arch.id", "a network that can be built here", got, _made_with(head)) from error


def _made_with(head: Header) -> str | None:
    """What to do where a library's network is not what it was."""
    name = head.arch.library
    return f"the file was made with {name} {head.arch.version}: install that version" if name else None


def _plan(head: Header, limits: Limits, own: Sequence[Entry] | None) -> Plan:
    given = _entries(head, own)
    if head.arch.rev != header.REVISION:
        raise UnsupportedVersion("arch.rev", f"{header.REVISION} of {head.arch.id}", head.arch.rev)
    started(head)
    entries, weights, channels = bounded(given, limits.weights, head.bn.channels)
    if weights > limits.weights:
        raise TooLarge("arch", f"at most {limits.weights} weights", f"{weights} or more of {head.arch.id}")
    if channels != head.bn.channels:
        got = f"{channels} or more of {head.arch.id}"
        raise PlanMismatch("bn.channels", head.bn.channels, got, _made_with(head))
    plan = Plan(tuple(entries), _trained(head), "rounds" in head.requires)
    if (found := plan.digest()) != head.plan_sha256:
        raise PlanMismatch("plan_sha256", head.plan_sha256, found, _made_with(head))
    required = sorted({*plan.requires(head.codec, head.arch.antialias), *features(head.arch.id, started(head))})
    checks = {
        "requires": (required, list(head.requires)),
        "arch.args.library": (library_of(head.arch.id), head.arch.library),
        "head": ("stored" if "output" in plan.trained else "seeded", head.head),
    }
    for name, (expected, got) in checks.items():
        if expected != got:
            raise CorruptFile(name, expected, got)
    if head.bn.form not in (fitting := FITTING[plan.norms]):
        raise CorruptFile("bn.form", f"{' or '.join(fitting)} for {head.arch.id}", head.bn.form)
    if head.codec == "rans-1" and head.bn.form != "folded":
        raise CorruptFile("codec", f"raw or mask in form {head.bn.form}", head.codec)
    return plan


def _trained(head: Header) -> tuple[str, ...]:
    if not head.trained:
        return ()
    try:
        parts = parse_group("+".join(head.trained))
    except BadInput as error:
        raise UnsupportedFeature("trained", "groups of this version", error) from error
    if any(part.endswith("%") for part in parts):
        raise UnsupportedFeature("trained", "random:K, K a number", list(head.trained))
    if parts != head.trained or {"all", "none"} & set(parts):
        raise CorruptFile("trained", "groups that leave something to the seed", list(head.trained))
    return parts
