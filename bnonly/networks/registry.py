"""Architectures by name. Names are parsed here without torch, so that a configuration can be checked at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING, Any

from bnonly.errors import BadInput
from bnonly.networks.antialias import Antialias

if TYPE_CHECKING:
    from torch import nn

    from bnonly.randomness.entry import Entry

IMAGENET_STAGES = {
    18: (1, (2, 2, 2, 2)),
    34: (1, (3, 4, 6, 3)),
    50: (4, (3, 4, 6, 3)),
    101: (4, (3, 4, 23, 3)),
    152: (4, (3, 8, 36, 3)),
    200: (4, (3, 24, 36, 3)),
}
"""By depth: expansion (1 basic block, 4 bottleneck) and blocks a stage."""

IMAGENET_DEPTHS = tuple(IMAGENET_STAGES)

VGG_STAGES = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
"""By depth: convolutions a stage."""

VGG_WIDTHS = (64, 128, 256, 512, 512)
"""Channels of VGG's stages."""


def _six_n_plus_two(depth: int, factor: int = 1, width: int = 16) -> str | None:
    if depth < 8 or depth % 6 != 2:
        below = max(8, (depth - 2) // 6 * 6 + 2)
        return f"depth {depth} is not 6n+2: use for example {below} or {below + 6}"
    if width < 1:
        return "the width of the first stage is at least 1"
    return "the width factor is at least 1" if factor < 1 else None


def _imagenet_depth(depth: int) -> str | None:
    known = ", ".join(map(str, IMAGENET_DEPTHS))
    return None if depth in IMAGENET_DEPTHS else f"depth {depth} is not among {known} (cifar_resnet takes any 6n+2)"


def _vgg_depth(depth: int) -> str | None:
    return None if depth in VGG_STAGES else f"depth {depth} is not among {', '.join(map(str, VGG_STAGES))}"


def _cut(width: int, depth: int, patch: int, resolution: int = 32) -> str | None:
    if width < 8 or width % 4 or depth < 1 or patch < 1:
        return "the width is a multiple of 4, 8 at least, depth and patch are at least 1"
    return f"patches of {patch} do not cut {resolution} pixels" if resolution < 1 or resolution % patch else None


def _headed(width: int, depth: int, patch: int) -> str | None:
    if width > 64 and width % 64:
        return "a width above 64 is a multiple of 64, the channels of a head"
    return _cut(width, depth, patch, max(patch, 1))


@dataclass(frozen=True)
class Family:
    """Names of one pattern, the function that builds them, and what it refuses."""

    pattern: str  # its groups are the builder's integer arguments
    builder: str  # module:function
    layout: str  # module:function, of the same arguments: its parameters without torch
    classes: int  # outputs unless told
    resolution: int  # pixels a side it was made for
    refusal: Callable[..., str | None]
    listed: tuple[str, ...]
    library: str = ""  # the package that defines it, whose name is the builder's argument


_SIZES = r"w(?P<width>0|[1-9]\d{0,3})_d(?P<depth>0|[1-9]\d{0,2})_p(?P<patch>0|[1-9]\d{0,2})"

FAMILIES = (
    Family(
        r"cifar_resnet(?P<depth>0|[1-9]\d{0,4})",
        "bnonly.networks.cifar_resnet:cifar_resnet",
        "bnonly.networks.layout:cifar_resnet",
        10,
        32,
        _six_n_plus_two,
        tuple(f"cifar_resnet{depth}" for depth in (14, 32, 56, 110, 218, 434, 866)),
    ),
    Family(
        r"cifar_resnet(?P<depth>0|[1-9]\d{0,4})_w(?P<width>0|[1-9]\d{0,3})",
        "bnonly.networks.cifar_resnet:cifar_resnet",
        "bnonly.networks.layout:cifar_resnet",
        10,
        32,
        _six_n_plus_two,
        (),
    ),
    Family(
        r"cifar_wrn(?P<depth>0|[1-9]\d{0,4})_(?P<factor>0|[1-9]\d{0,2})",
        "bnonly.networks.cifar_resnet:cifar_resnet",
        "bnonly.networks.layout:cifar_resnet",
        10,
        32,
        _six_n_plus_two,
        tuple(f"cifar_wrn14_{factor}" for factor in (1, 2, 4, 8, 16, 32)),
    ),
    Family(
        r"resnet(?P<depth>0|[1-9]\d{0,4})",
        "bnonly.networks.imagenet_resnet:imagenet_resnet",
        "bnonly.networks.layout:imagenet_resnet",
        1000,
        224,
        _imagenet_depth,
        tuple(f"resnet{depth}" for depth in IMAGENET_DEPTHS),
    ),
    Family(
        r"vgg(?P<depth>0|[1-9]\d{0,4})_bn",
        "bnonly.networks.vgg:vgg_bn",
        "bnonly.networks.layout:vgg_bn",
        10,
        32,
        _vgg_depth,
        tuple(f"vgg{depth}_bn" for depth in VGG_STAGES),
    ),
    Family(
        r"cifar_resnet(?P<depth>0|[1-9]\d{0,4})_gn",
        "bnonly.networks.cifar_resnet:cifar_resnet_gn",
        "bnonly.networks.layout:cifar_resnet_normed",
        10,
        32,
        _six_n_plus_two,
        ("cifar_resnet14_gn", "cifar_resnet56_gn"),
    ),
    Family(
        r"cifar_resnet(?P<depth>0|[1-9]\d{0,4})_ln",
        "bnonly.networks.cifar_resnet:cifar_resnet_ln",
        "bnonly.networks.layout:cifar_resnet_normed",
        10,
        32,
        _six_n_plus_two,
        ("cifar_resnet14_ln", "cifar_resnet56_ln"),
    ),
    Family(
        rf"mixer_{_SIZES}",
        "bnonly.networks.mixer:mixer",
        "bnonly.networks.token_layout:mixer",
        10,
        32,
        _cut,
        ("mixer_w128_d4_p4", "mixer_w128_d8_p4", "mixer_w256_d8_p4"),
    ),
    Family(
        rf"mixer_{_SIZES}_r(?P<resolution>[1-9]\d{{0,3}})",
        "bnonly.networks.mixer:mixer",
        "bnonly.networks.token_layout:mixer",
        10,
        32,
        _cut,
        ("mixer_w768_d12_p16_r224",),
    ),
    Family(
        rf"vit_{_SIZES}",
        "bnonly.networks.vit:vit",
        "bnonly.networks.token_layout:vit",
        10,
        32,
        _headed,
        ("vit_w128_d4_p4", "vit_w192_d6_p4", "vit_w192_d12_p4"),
    ),
    *(
        Family(
            rf"{library}/(?P<name>[A-Za-z0-9_][A-Za-z0-9_.-]{{0,99}})",
            f"bnonly.networks.libraries:{library}_network",
            f"bnonly.networks.libraries:{library}_entries",
            1000,
            224,
            lambda name: None,
            (),
            library,
        )
        for library in ("timm", "torchvision")
    ),
)

LISTED = tuple(name for family in FAMILIES for name in family.listed)

PATTERN = "^(" + "|".join(re.sub(r"\?P<\w+>", "", family.pattern) for family in FAMILIES) + ")$"
"""Names of any family, impossible depths among them."""


@dataclass(frozen=True)
class Architecture:
    """A parsed name: its family and the integers in it, or the name that a library knows."""

    name: str
    family: Family
    arguments: dict[str, Any]

    @property
    def resolution(self) -> int:
        """Pixels a side it was made for."""
        return self.arguments.get("resolution", self.family.resolution)

    def build(self, classes: int | None = None, antialias: Antialias = "none") -> nn.Module:
        """The module as its builder makes it: shapes without memory, on torch's meta device."""
        return self._call(self.family.builder, classes, antialias=antialias)

    def entries(self, classes: int | None = None) -> Iterator[Entry]:
        """The plan without torch, entry by entry: of a giant one takes as many as one can bear."""
        return self._call(self.family.layout, classes)

    def _call(self, place: str, classes: int | None, **more: Any) -> Any:
        module, _, function = place.partition(":")
        make = getattr(import_module(module), function)
        return make(**self.arguments, **more, classes=self.family.classes if classes is None else classes)


def parse(name: str) -> Architecture:
    """The architecture of that name. Raises BadInput, with the nearest known name, for any other."""
    for family in FAMILIES:
        if match := re.fullmatch(family.pattern, name):
            read = str if family.library else int
            arguments = {key: read(value) for key, value in match.groupdict().items()}
            if refusal := family.refusal(**arguments):
                raise BadInput(f"network {name!r} is impossible: {refusal}")
            return Architecture(name, family, arguments)
    near = get_close_matches(name, LISTED, n=1, cutoff=0.4)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise BadInput(f"network {name!r} is unknown{hint} (`bnonly networks` lists them)")
