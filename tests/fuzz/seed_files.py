"""The reader of seed+BN files under test: what it is asked, and mutants that get behind its digests."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from random import Random

import rfc8785

from bnonly.seedfile import Limits, contents
from bnonly.seedfile.errors import FrozenDigestMismatch, PlanMismatch, SeedFileError
from bnonly.seedfile.growing import Digest
from bnonly.seedfile.loading import load
from tests.fuzz.mutations import Shake, changed
from tests.fuzz.outcomes import judged
from tests.seedfile.forge import ORDER, WIDTHS, Forged

LARGEST = 1 << 15
LIMITS = Limits(bytes=1 << 20, channels=1 << 14, weights=1 << 21, pixels=1 << 10)
"""So tight that nothing that is within them takes long, or much memory."""

GOLDEN = Path(__file__).parents[1] / "golden" / "seedfile"
NETWORKS = (
    *("cifar_resnet8", "cifar_resnet14", "cifar_resnet8_w4", "cifar_resnet8_gn", "cifar_resnet8_ln", "vgg11_bn"),
    *("mixer_w16_d2_p4_r16", "mixer_w8_d1_p1_r1", "vit_w32_d1_p4", "vit_w8_d1_p1", "resnet18", "cifar_wrn14_999"),
    *("torchvision/shufflenet_v2_x0_5", "timm/resnet18", "module/Net", "cifar_resnet99998", ""),
)
WORDS = {
    "arch.id": NETWORKS,
    "arch.args.antialias": ("none", "rect2", "tri3", "bin5", "bin6"),
    "init.dist": ("normal", "uniform", "sign", "orthogonal"),
    "init.scale": ("fan_in", "fan_out"),
    "init.gamma": ("uniform", "ones", "symmetric"),
    "init.beta": ("zeros", "ones"),
    "init.other": ("refuse", "zeros", "ones"),
    "bn.form": ("folded", "full", "affine"),
    "bn.dtype": ("fp32", "fp16", "bf16"),
    "codec": ("raw", "mask", "rans-1"),
    "codec_args.R": (1, 2, 1024, 2048, 3),
    "input.shape": ([3, 1, 1], [3, 32, 32], [3, 1, 1024], [3, 7, 5], [1, 8, 8]),
    "check.rtol": (0, 1),
    "trained": (
        [],
        ["bn"],
        ["gamma"],
        ["output"],
        ["shortcut"],
        ["random:2"],
        ["random:1%"],
        ["norm", "output"],
        ["all"],
    ),
    "requires": ([], ["mask"], ["rans-1"], ["affine"], ["library"], ["module"], ["other"], ["antialias"], ["rounds"]),
}
VALUES = tuple(
    bytes.fromhex(text) for text in ("0000c07f", "00000080", "0000807f", "00000000", "ffff", "007c", "0080")
)
"""NaN, -0, infinity and others, little-endian."""


def seeds() -> dict[str, bytes]:
    return {path.stem: path.read_bytes() for path in sorted(GOLDEN.glob("*.safetensors"))}


def examined(data: bytes, place: Path) -> str:
    """What loading it comes to, by way of a file in that folder. Raises Fault."""
    path = place / "net.safetensors"
    path.write_bytes(data)
    return judged(lambda: load(path, limits=LIMITS), SeedFileError)


def mutated(data: bytes, random: Random, shake: Shake) -> bytes:
    """A file changed in one to three places, mostly with every length and digest made right again."""
    if random.random() < 0.05 or (forged := _taken_apart(data)) is None:
        return shake(data)
    try:
        for _ in range(random.choice((1, 1, 2, 3))):
            random.choice(CHANGES)(forged, random, shake)
        return put_together(forged, random.choice(("digests", "plan", "all", "all", "nothing")))
    except (rfc8785.CanonicalizationError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return shake(data)


def put_together(forged: Forged, right: str) -> bytes:
    """right: "nothing", "digests", "plan" (and all that the architecture decides), or "all", frozen weights too.

    What the reader would have is learnt from its own refusals.
    """
    if right == "nothing" or not isinstance(forged.header, dict):
        return forged.data()
    forged.signed()
    for _ in range(0 if right == "digests" else 8):
        try:
            held = contents.read(forged.data(), LIMITS)
            if right == "all":
                with Digest() as digest:
                    for _ in held.parameters(held.drawn(digest)):
                        pass
                    held.check_frozen(digest)
            break
        except SeedFileError as error:
            if not _mended(forged, error):
                break
            forged.signed()
        except Exception:  # it is the target that says so, not the mutator
            break
    return forged.data()


def _mended(forged: Forged, error: SeedFileError) -> bool:
    """Whether the field, or the tensors, could be made what they should be."""
    header = forged.header
    if isinstance(error, PlanMismatch) and error.field == "plan_sha256":
        header["plan_sha256"] = error.got
    elif isinstance(error, PlanMismatch) and (count := re.match(r"\d+", error.got)):
        if header["bn"]["channels"] >= int(count[0]):
            header["bn"]["channels"] = int(count[0])
        else:
            header["bn"]["channels"] = LIMITS.channels  # it stopped counting at those
    elif isinstance(error, FrozenDigestMismatch):
        header["frozen_sha256"] = error.got
    elif error.field == "requires" and error.expected.startswith("["):
        header["requires"] = json.loads(error.expected.replace("'", '"'))
    elif error.field == "head":
        header["head"] = error.expected
    elif error.field in ("input.labels", "check.logits[0]"):
        classes = header["arch"]["args"]["classes"]
        if not isinstance(classes, int) or not 0 < classes < 100:
            return False
        header["input"]["labels"] = list(map(str, range(classes)))
        header["check"]["logits"] = [[0] * classes for _ in header["check"]["logits"]]
        header["check"]["argmax"] = [0 for _ in header["check"]["argmax"]]
    elif wanted := re.fullmatch(r"(F32|F16|BF16|U8) \[(\d+)\]", error.expected):
        name, size = error.field.removeprefix("tensor "), int(wanted[2]) * WIDTHS[wanted[1]]
        data = forged.tensors[name][1] or b"\0"
        forged.tensors[name] = wanted[1], (data * (size // len(data) + 1))[:size]
    elif error.field == "tensors":
        names = error.expected.split(", ")
        forged.tensors = {name: forged.tensors.get(name, ("U8", bytes(8))) for name in names}
    else:
        return False
    return True


def _taken_apart(data: bytes) -> Forged | None:
    try:
        return Forged.parse(data)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None


def _field(forged: Forged, random: Random, shake: Shake) -> None:
    forged.header = changed(forged.header, random, shake)


def _word(forged: Forged, random: Random, shake: Shake) -> None:
    path = random.choice(list(WORDS))
    *way, last = path.split(".")
    holder = forged.header
    for key in way:
        holder = holder.get(key) if isinstance(holder, dict) else None
    if isinstance(holder, dict):
        holder[last] = random.choice(WORDS[path])


def _classes(forged: Forged, random: Random, shake: Shake) -> None:
    header = forged.header
    if isinstance(header, dict) and isinstance(header.get("arch"), dict) and "args" in header["arch"]:
        header["arch"]["args"] = {"classes": random.choice((1, 2, 3, 10, 99))}


def _values(forged: Forged, random: Random, shake: Shake) -> None:
    if not forged.tensors:
        return
    name = random.choice(list(forged.tensors))
    dtype, data = forged.tensors[name]
    width = WIDTHS.get(dtype, 1)  # an input may name any
    if random.random() < 0.5:
        odd, place = random.choice(VALUES), random.randrange(len(data) + 1) // width * width
        data = data[:place] + odd + data[place + len(odd) :]
    else:
        new = shake(data)
        data = (new + data[len(new) :])[: len(data)] if random.random() < 0.7 else new
    forged.tensors[name] = dtype, data[: len(data) // width * width]


def _tensor(forged: Forged, random: Random, shake: Shake) -> None:
    names = (*forged.tensors, "bn.a", "bn.b", "bn.mask", "rounds", "head.bias", "random.values", "x\ny")
    name, kind = random.choice(names), random.randrange(4)
    dtype, data = forged.tensors.get(name, (random.choice(ORDER), bytes(random.choice((0, 8, 336)) * 4)))
    if kind == 0:
        forged.tensors.pop(name, None)
    elif kind == 1:
        forged.tensors[random.choice(names)] = dtype, data
    elif kind == 2:
        forged.tensors[name] = random.choice(ORDER), data[: len(data) // 4 * 4]
    else:
        size = random.randrange(len(data) + 1) // 4 * 4
        forged.tensors[name] = dtype, random.choice((data[:size], data + data[:size]))


def _spliced(forged: Forged, random: Random, shake: Shake) -> None:
    """A field or a tensor of another file."""
    foreign = Forged.parse(random.choice(list(seeds().values())))
    if random.random() < 0.5 and isinstance(forged.header, dict):
        key = random.choice(list(foreign.header))
        forged.header[key] = foreign.header[key]
    else:
        name = random.choice(list(foreign.tensors))
        forged.tensors[name] = foreign.tensors[name]


CHANGES: tuple[Callable[[Forged, Random, Shake], None], ...] = (
    *(_field, _field, _word, _word, _classes, _values, _values, _tensor, _spliced),
)
