"""What a seed+BN file says of a network, without what lets a reader verify it: as few bytes as we know how.

One safetensors file of one tensor, as the rivals' (experiments/bytes_rivals.py): the network's name, its seed and the
frozen weights' distribution stand in the header. a and b of BatchNorm are those of codec rans-1 to the bit; the
output layer and other scalars that trained are in steps of their layers too. All are coded layer by layer without
tables (experiments/bytes_coder.py). No digest, no probe, no labels: a damaged file gives another network, and nobody
knows.
"""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save
from torch import Tensor, nn

from bnonly.errors import BadInput
from bnonly.groups import parse_group
from bnonly.seedfile import container
from bnonly.seedfile.calibration import calibrated
from bnonly.seedfile.codecs import REACH, codes_of, on_grid, to_grid
from bnonly.seedfile.contents import Contents, architecture, read
from bnonly.seedfile.header import REVISION, Arch, Check, Header, Init, Input, Norms
from bnonly.seedfile.loading import assembled
from bnonly.seedfile.plan import Plan
from bnonly.seedfile.saving import How, pack, plain_input
from bnonly.seedfile.storable import plan_of, storable_origin
from bnonly.trainable import RANDOM_VALUES
from experiments.bytes_coder import Part, decode, encode

_HEAD = 4  # steps of the output layer, for which finer ones gain nothing
_INIT = ("dist", "scale")  # of the frozen weights: gamma and beta are in the file

Floats = NDArray[np.float32]
Sizes = dict[str, tuple[list[int], int]]
"""How many values of a kind each layer has, and steps of a standard deviation: of a, b and whatever else trained."""


def bare(net: nn.Module, step: int, other: int, images: Tensor) -> bytes:
    """A network as its run left it, its values rounded to steps: so many a standard deviation of each layer.

    step: of a and b; other: of convolutions' scalars, both of `codecs.STEPS`. images: float32 [N, 3, H, W] to
    calibrate by (see `bnonly.seedfile.calibration`). The network is left as it is.
    Raises BadInput for a network that has no place here, and NotStorable.
    """
    origin = storable_origin(net)
    plan = plan_of(net, net.state_dict(), origin)
    if origin.antialias != "none" or plan.redrawn or architecture(origin.name).family.library:
        raise BadInput(f"{origin.name} has no bare form, which is for plain networks as the seed draws them")
    sizes = _sizes(plan, step, other)
    rounded = deepcopy(net)
    beside = _round(rounded, plan, sizes)
    how = How(form="folded", codec="rans", step=step, outliers="widen")
    packed = pack(calibrated(rounded, how, images, like=net), how, plain_input(origin.name, origin.classes))
    if packed.header.codec != "rans-1":
        raise BadInput(f"{origin.name} has no bare form ({'; '.join(packed.notes)})")
    contents = read(packed.data)
    known = np.split(np.frombuffer(container.unpack(packed.data)[1]["bn.scales"].data, "<f2").astype(np.float16), 2)
    symbols = []
    for name, scales in (dict(zip("ab", known, strict=True)) | beside).items():
        values = (contents.norms | contents.stored)[name].astype(np.float64)
        counts, steps = sizes[name]
        codes = codes_of(values, scales, counts, steps) + REACH * steps
        symbols += [*_bytes(scales), *np.split(codes, np.cumsum(counts)[:-1])]
    facts = {"arch": origin.name, "seed": origin.seed, "trained": "+".join(plan.trained), "steps": [step, other]}
    facts |= {name: value for name in _INIT if (value := getattr(packed.header.init, name)) != getattr(Init(0), name)}
    stream = np.frombuffer(encode(_parts(sizes), symbols), np.uint8)
    return save({"codes": stream}, {"bare": json.dumps(facts, separators=(",", ":"))})


def grown(data: bytes, classes: int) -> nn.Module:
    """The network of a bare file, evaluating. Raises BadInput for bytes that do not fit."""
    try:
        size = int.from_bytes(data[:8], "little")
        facts = json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["bare"])
        plan = Plan(tuple(architecture(facts["arch"]).entries(classes)), parse_group(facts["trained"]))
        sizes = _sizes(plan, *facts["steps"])
        parts = _parts(sizes)
        symbols = iter(decode(load(data)["codes"].tobytes(), parts))
        values = {}
        for name, (counts, steps) in sizes.items():
            scales = np.stack([next(symbols), next(symbols)], axis=1).view(">f2")[:, 0].astype(np.float16)
            codes = np.concatenate([next(symbols) for _ in counts]).astype(np.int64) - REACH * steps
            values[name] = on_grid(codes, scales, counts, steps)
    except (KeyError, ValueError, TypeError, SafetensorError) as error:
        raise BadInput(f"these bytes are no bare seed+BN file ({error})") from error
    norms = {name: values.pop(name) for name in "ab"}
    header = _header(facts, classes, plan)
    contents = Contents(header, plan, norms, values, len(data), "")
    return assembled(contents, contents.drawn())


def _round(net: nn.Module, plan: Plan, sizes: Sizes) -> dict[str, NDArray[np.float16]]:
    """Round what trained beside BatchNorm to steps of its layers, in place; by its kind, each layer's scale."""
    found = {}
    for name, entries in plan.stored().items():
        places = [entry.name.rpartition(".") for entry in entries]
        own = [
            net.get_submodule(path).get_parameter(RANDOM_VALUES if name == "random.values" else last)
            for path, _, last in places
        ]
        flat = torch.cat([parameter.detach().double().reshape(-1) for parameter in own]).cpu().numpy()
        counts, steps = sizes[name]
        _, found[name], near = to_grid(flat, counts, steps, name, True)
        with torch.no_grad():
            for parameter, part in zip(own, torch.from_numpy(near).split(counts), strict=True):
                parameter.copy_(part.view_as(parameter))
    return found


def _sizes(plan: Plan, step: int, other: int) -> Sizes:
    beside = {
        name: ([plan.count(entry) for entry in entries], _HEAD if name.startswith("head") else other)
        for name, entries in plan.stored().items()
    }
    return {"a": (plan.sizes(), step), "b": (plan.sizes(), step)} | beside


def _parts(sizes: Sizes) -> list[Part]:
    """Of each kind its layers' scales, the first bytes and the second, then layer by layer its codes."""
    parts = []
    for name, (counts, steps) in sizes.items():
        parts += [Part("scale", 8, len(counts)), Part(None, 8, len(counts))]
        parts += [Part(name, (2 * REACH * steps).bit_length(), count) for count in counts]
    return parts


def _bytes(scales: NDArray[np.float16]) -> list[NDArray[np.uint8]]:
    both = scales.astype(">f2").view(np.uint8).reshape(-1, 2)
    return [both[:, 0], both[:, 1]]


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
        codec_args={"R": facts["steps"][0]},
        head="stored" if "output" in plan.trained else "seeded",
        requires=(),
        plan_sha256="",
        frozen_sha256="",
        payload_sha256="",
    )
