"""What a seed+BN file says of a network, without what lets a reader verify it: as few bytes as we know how.

One safetensors file of one tensor, as the rivals' (experiments/bytes_rivals.py): the network's name, its seed and its
initial distributions stand in the header. The values are those of codec rans-1 to the bit, the output layer's and
other trained scalars in steps of their layers too, and all are coded layer by layer without tables
(experiments/bytes_coder.py). No digest, no probe, no labels: a damaged file gives another network, and nobody knows.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save
from torch import nn

from bnonly.errors import BadInput
from bnonly.groups import parse_group
from bnonly.seedfile import container
from bnonly.seedfile.codecs import REACH, codes_of, on_grid, to_grid
from bnonly.seedfile.contents import Contents, architecture, read
from bnonly.seedfile.header import REVISION, Arch, Check, Header, Init, Input, Norms
from bnonly.seedfile.loading import assembled
from bnonly.seedfile.plan import Plan
from experiments.bytes_coder import Part, decode, encode

_INIT = ("dist", "scale")  # of the frozen weights: gamma and beta are in the file

Floats = NDArray[np.float32]
Sizes = dict[str, list[int]]
"""How many values of a kind each layer has: of a, b and whatever else trained."""


def bare(data: bytes) -> bytes:
    """Of a seed+BN file of codec rans-1. Raises BadInput for another codec, and for what it has no place for."""
    contents = read(data)
    head, plan = contents.header, contents.plan
    if head.codec != "rans-1" or head.arch.antialias != "none" or plan.redrawn or head.arch.library:
        raise BadInput(f"{head.arch.title} in {head.codec} has no bare form, which is for plain networks in rans-1")
    step, sizes = head.codec_args["R"], _sizes(plan)
    known = np.split(np.frombuffer(container.unpack(data)[1]["bn.scales"].data, "<f2").astype(np.float16), 2)
    coded = {
        name: (codes_of(contents.norms[name].astype(np.float64), scales, sizes[name], step), scales)
        for name, scales in zip("ab", known, strict=True)
    }
    for name, values in contents.stored.items():
        coded[name] = to_grid(values.astype(np.float64), sizes[name], step, name, True)[:2]
    symbols = []
    for name, (codes, scales) in coded.items():
        symbols += _bytes(scales)
        symbols += np.split(codes + REACH * step, np.cumsum(sizes[name])[:-1])
    facts = {"arch": head.arch.id, "seed": head.init.seed, "trained": "+".join(head.trained), "step": step}
    facts |= {name: value for name in _INIT if (value := getattr(head.init, name)) != _plain(name)}
    stream = np.frombuffer(encode(_parts(sizes, step), symbols), np.uint8)
    return save({"codes": stream}, {"bare": json.dumps(facts, separators=(",", ":"))})


def grown(data: bytes, classes: int) -> nn.Module:
    """The network of a bare file, evaluating. Raises BadInput for bytes that do not fit."""
    try:
        size = int.from_bytes(data[:8], "little")
        facts = json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["bare"])
        step = facts["step"]
        plan = Plan(tuple(architecture(facts["arch"]).entries(classes)), parse_group(facts["trained"]))
        sizes = _sizes(plan)
        parts = _parts(sizes, step)
        symbols = iter(decode(load(data)["codes"].tobytes(), parts))
        values = {}
        for name, layers in sizes.items():
            scales = np.stack([next(symbols), next(symbols)], axis=1).view(">f2")[:, 0].astype(np.float16)
            codes = np.concatenate([next(symbols) for _ in layers]).astype(np.int64) - REACH * step
            values[name] = on_grid(codes, scales, layers, step)
    except (KeyError, ValueError, TypeError, SafetensorError) as error:
        raise BadInput(f"these bytes are no bare seed+BN file ({error})") from error
    norms = {name: values.pop(name) for name in "ab"}
    header = _header(facts, classes, plan)
    contents = Contents(header, plan, norms, values, len(data), "")
    return assembled(contents, contents.drawn())


def _sizes(plan: Plan) -> Sizes:
    beside = {name: [plan.count(entry) for entry in entries] for name, entries in plan.stored().items()}
    return {"a": plan.sizes(), "b": plan.sizes()} | beside


def _parts(sizes: Sizes, step: int) -> list[Part]:
    """Of each kind its layers' scales, the first bytes and the second, then layer by layer its codes."""
    parts = []
    for name, layers in sizes.items():
        parts += [Part("scale", 8, len(layers)), Part(None, 8, len(layers))]
        parts += [Part(name, (2 * REACH * step).bit_length(), count) for count in layers]
    return parts


def _bytes(scales: NDArray[np.float16]) -> list[NDArray[np.uint8]]:
    both = scales.astype(">f2").view(np.uint8).reshape(-1, 2)
    return [both[:, 0], both[:, 1]]


def _plain(name: str) -> str:
    return getattr(Init(0), name)


def _header(facts: dict[str, Any], classes: int, plan: Plan) -> Header:
    """Of a file that would hold this network, as far as it is asked when one is put together."""
    return Header(
        arch=Arch(facts["arch"], classes, REVISION),
        init=Init(facts["seed"], **{name: facts[name] for name in _INIT if name in facts}),
        bn=Norms("folded", sum(plan.sizes()), 1e-5, "fp16"),
        input=Input((3, 32, 32), (0.0,) * 3, (1.0,) * 3, ("",) * classes),
        check=Check((), (), 0.0),
        trained=plan.trained,
        codec="rans-1",
        codec_args={"R": facts["step"]},
        head="stored" if "output" in plan.trained else "seeded",
        requires=(),
        plan_sha256="",
        frozen_sha256="",
        payload_sha256="",
    )
