"""What a seed+BN file says of itself: one canonical JSON text (RFC 8785) with a digest, every field checked."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import Any

import rfc8785

from bnonly.networks.antialias import TAPS, Antialias
from bnonly.seedfile.container import HEADER_LIMIT, OTHER_KIND, parse_json
from bnonly.seedfile.errors import (
    CorruptFile,
    HeaderDigestMismatch,
    TooLarge,
    UnsupportedFeature,
    UnsupportedVersion,
)
from bnonly.seedfile.fields import Fields, number, whole
from bnonly.seedfile.fields import text as text_of
from bnonly.seedfile.floats import DTYPES

FORMAT = "bnonly/1"
GENERATOR = "bngen-1"
FORMS = ("folded", "full", "affine")
CODECS = ("raw", "mask", "rans-1")
FEATURES = (
    *("affine", "antialias", "library", "mask", "mixed", "module", "other"),
    *("rans-1", "random.values", "rounds", "shortcut.weight"),
)
"""What a file may require of its reader, beyond the rest."""

DEPTH = 64
"""Objects and lists inside one another at most: far from where the recursion of any JSON library ends."""

PROBES = 16
"""Probe images at most."""

REVISION = 1
"""Of every architecture of the registry; a change of what a name means gets a new one."""


@dataclass(frozen=True)
class Arch:
    """A name of the registry, its revision, and what the builder is told beside the name.

    library, version: the package that defines the network and the version that made the file, "" for our own.
    """

    id: str
    classes: int
    rev: int = REVISION
    antialias: Antialias = "none"
    library: str = ""
    version: str = ""

    @property
    def args(self) -> dict[str, Any]:
        """As they stand in the file, which says nothing of a filter or a library where there is none."""
        more = {"library": self.library, "version": self.version} if self.library else {}
        return {"classes": self.classes} | ({"antialias": self.antialias} if self.antialias != "none" else {}) | more

    @property
    def title(self) -> str:
        """The network in words."""
        return self.id if self.antialias == "none" else f"{self.id} (antialias {self.antialias})"


@dataclass(frozen=True)
class Init:
    """Seed and initial distributions, as `bnonly.randomness.start.Start` names them."""

    seed: int
    dist: str = "normal"
    scale: str = "fan_in"
    gamma: str = "uniform"
    beta: str = "zeros"
    gen: str = GENERATOR
    other: str = "refuse"


@dataclass(frozen=True)
class Norms:
    """The values of normalisation layers: form, channels of all layers together, eps, and the floats' dtype.

    Form folded or full; affine where no layer keeps running statistics. eps: of all BatchNorm layers; of form affine
    that of its layers, which the architecture decides, or 0 where they differ.
    """

    form: str
    channels: int
    eps: float
    dtype: str


@dataclass(frozen=True)
class Input:
    """Images the network was trained for: shape (3, H, W), mean and std that normalise pixels in [0, 1], labels."""

    shape: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Check:
    """What the network answers to n probe images: logits [n, classes], and how far another machine's may be off."""

    logits: tuple[tuple[float, ...], ...]
    argmax: tuple[int, ...]
    rtol: float

    @property
    def n(self) -> int:
        return len(self.logits)


@dataclass(frozen=True)
class Header:
    """The whole of it. Digests are lower-case hexadecimal SHA-256."""

    arch: Arch
    init: Init
    bn: Norms
    input: Input
    check: Check
    trained: tuple[str, ...]
    codec: str
    codec_args: dict[str, int]
    head: str
    requires: tuple[str, ...]
    plan_sha256: str
    frozen_sha256: str
    payload_sha256: str
    info: dict[str, Any] = field(default_factory=dict)

    def text(self) -> str:
        """The canonical JSON, header_sha256 included."""
        plain = self.plain()
        return rfc8785.dumps(plain | {"header_sha256": _digest(plain)}).decode()

    def plain(self) -> dict[str, Any]:
        """As it stands in the file, but for header_sha256."""
        init, arch, check = self.init, self.arch, self.check
        return {
            "format": FORMAT,
            "requires": list(self.requires),
            "arch": {"id": arch.id, "rev": arch.rev, "args": arch.args},
            "plan_sha256": self.plan_sha256,
            "init": {
                "gen": init.gen,
                "seed": f"{init.seed:032x}",
                "dist": init.dist,
                "scale": init.scale,
                "gamma": init.gamma,
                "beta": init.beta,
                **({"other": init.other} if init.other != "refuse" else {}),
            },
            "frozen_sha256": self.frozen_sha256,
            "payload_sha256": self.payload_sha256,
            "trained": list(self.trained),
            "bn": dict(vars(self.bn)),
            "codec": self.codec,
            "codec_args": self.codec_args,
            "head": self.head,
            "input": {name: list(value) for name, value in vars(self.input).items()},
            "check": {
                "n": check.n,
                "logits": [list(row) for row in check.logits],
                "rtol": check.rtol,
                "argmax": list(check.argmax),
            },
            "info": self.info,
        }

    def digest(self) -> str:
        return _digest(self.plain())


def parse(text: str, limit: int = HEADER_LIMIT) -> Header:
    """The header in a file's metadata, every field checked. Raises the errors of this format, in its order.

    limit: bytes of text. Nothing that the header asks for is built or allocated here.
    """
    data = text.encode("utf-8", "surrogatepass")
    if len(data) > limit:
        raise TooLarge("header", f"at most {limit} bytes", len(data))
    whole_text = parse_json(data, "header")
    fields = Fields(whole_text)
    if "format" not in whole_text:
        raise CorruptFile("format", FORMAT, "nothing", OTHER_KIND)
    if (version := fields.text("format")) != FORMAT:
        raise UnsupportedVersion("format", FORMAT, version)
    requires = fields.each("requires", text_of)
    if unknown := sorted(set(requires) - set(FEATURES)):
        raise UnsupportedFeature("requires", f"some of {', '.join(FEATURES)}", ", ".join(unknown))
    _check_spelling(data, whole_text)
    claimed = fields.digest("header_sha256")
    if (own := _digest({key: value for key, value in whole_text.items() if key != "header_sha256"})) != claimed:
        raise HeaderDigestMismatch("header_sha256", claimed, own)
    header = _header(fields, requires)
    fields.done()
    if header.plain() | {"header_sha256": claimed} != whole_text:  # for example a seed in other digits
        raise CorruptFile("header", "fields in their only spelling", "another")
    return header


def _header(fields: Fields, requires: tuple[str, ...]) -> Header:
    arch = fields.inside("arch")
    args = arch.inside("args")
    antialias: Any = _known(args, "antialias", tuple(TAPS)) if args.has("antialias") else "none"
    about = Arch(arch.text("id", "[ -~]{1,200}"), args.whole("classes", 1), arch.whole("rev", 1), antialias)
    if "library" in requires:
        about = replace(about, library=args.text("library"), version=args.text("version"))
    init = fields.inside("init")
    gen = init.text("gen")
    if gen != GENERATOR:
        raise UnsupportedFeature("init.gen", GENERATOR, gen)
    start = Init(
        int(init.text("seed", "[0-9a-f]{32}"), 16), *(init.text(n) for n in ("dist", "scale", "gamma", "beta"))
    )
    if "other" in requires:
        start = replace(start, other=init.text("other", "zeros|ones"))
    norms = fields.inside("bn")
    bn = Norms(
        _known(norms, "form", FORMS),
        norms.whole("channels", 1, 1 << 53),
        norms.number("eps", 0, 1),
        _known(norms, "dtype", tuple(DTYPES)),
    )
    given = fields.inside("input")
    pictures = Input(
        given.each("shape", lambda value, name: whole(value, name, 1), 3, 3),
        given.each("mean", lambda value, name: number(value, name, -1e9, 1e9), 3, 3),
        given.each("std", lambda value, name: number(value, name, 1e-9, 1e9), 3, 3),
        given.each("labels", text_of, about.classes, about.classes),
    )
    probe = fields.inside("check")
    count = probe.whole("n", 1, PROBES)
    row = about.classes
    check = Check(
        probe.each("logits", lambda value, name: Fields({"": value}, name).each("", _logit, row, row), count, count),
        probe.each("argmax", lambda value, name: whole(value, name, 0, row - 1), count, count),
        probe.number("rtol", 0, 1),
    )
    codec = _known(fields, "codec", CODECS)
    arguments = fields.inside("codec_args")
    step = {"R": arguments.whole("R", 1, 1 << 53)} if codec == "rans-1" else {}
    head = _known(fields, "head", ("seeded", "stored"))
    trained = fields.each("trained", text_of, 0, 16)
    plan, frozen, payload = (fields.digest(name) for name in ("plan_sha256", "frozen_sha256", "payload_sha256"))
    info = fields.take("info")
    Fields(info, "info")
    for part in (arch, args, init, norms, given, probe, arguments):
        part.done()
    return Header(
        about, start, bn, pictures, check, trained, codec, step, head, requires, plan, frozen, payload, info
    )


def _known(fields: Fields, key: str, known: tuple[str, ...]) -> str:
    if (value := fields.text(key)) not in known:
        raise UnsupportedFeature(fields.name(key), " or ".join(known), value)
    return value


def _logit(value: Any, name: str) -> float:
    return number(value, name, -1e30, 1e30)


def _check_spelling(data: bytes, plain: dict[str, Any]) -> None:
    if _deeper(plain, DEPTH):
        raise CorruptFile("header", f"objects and lists at most {DEPTH} deep", "more")
    try:
        canonical = rfc8785.dumps(plain)
    except (rfc8785.CanonicalizationError, RecursionError) as error:
        raise CorruptFile("header", "JSON that RFC 8785 can spell", error) from error
    if canonical != data:
        raise CorruptFile("header", "canonical JSON (RFC 8785)", "another spelling of it")


def _deeper(value: Any, levels: int) -> bool:
    """Whether objects and lists lie more than `levels` deep, the outermost being the first. No recursion."""
    row = [value]
    for _ in range(levels):
        held = [item.values() if isinstance(item, dict) else item for item in row if isinstance(item, dict | list)]
        row = [inner for items in held for inner in items]
    return any(isinstance(item, dict | list) for item in row)


def _digest(plain: dict[str, Any]) -> str:
    return hashlib.sha256(rfc8785.dumps(plain)).hexdigest()
