"""The task of `bytes`: a finished run as files of every kind, each read back and scored. Without torch until then.

Leaves bytes.json in the run's folder, a row a file.
"""

from __future__ import annotations

import lzma
import re
from collections.abc import Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from bnonly.config import RunConfig
from bnonly.files import write_object
from bnonly.runs import RunFolder
from experiments.stagefile import kept

if TYPE_CHECKING:
    from torch import nn

    from bnonly.data.batches import Loader
    from bnonly.data.images import Dataset

    # What files are, their bytes by codec, and the network that a reader gets of each.
    _Made = tuple[dict[str, Any], dict[str, int], nn.Module]

VERSION = 3  # of bytes.json
NAME = "bytes.json"

STEPS = (2, 4, 8, 16, 32)
OURS: tuple[dict[str, Any], ...] = (
    {"dtype": "fp32", "codec": "raw"},
    {"dtype": "fp16", "codec": "mask"},
    *({"dtype": "fp16", "codec": "rans", "step": step, "outliers": "widen"} for step in STEPS),
)
"""Each is written as it is, and through xz, as the rivals are."""
BARE = ((2, 2), (4, 2), (4, 4), (8, 4), (8, 8), (8, 16), (16, 32))
"""Steps of a and b, and of what else trained in convolutions."""
CALIBRATION = 1000  # training images, without labels, by which running statistics are put right for rounding
_BATCHES = 100  # of training, for the same


def answered(config: RunConfig, folder: RunFolder, options: Mapping[str, Any]) -> bool:
    return kept(folder.path / NAME, config, VERSION) is not None


def store(config: RunConfig, folder: RunFolder) -> None:
    """Write, read back and score each file that a run of this group may become."""
    from bnonly.training.build import run_batches, run_data
    from bnonly.training.environment import pick_device

    images = run_data(config)
    train, test = run_batches(config, images, pick_device(config.training.device))
    if config.group == "all":
        made = _rivals(config, folder, train)
    else:
        made = chain(_own(config, folder), _bare(config, folder, images))
    rows = []
    for facts, sizes, net in made:
        score = _score(net, config, test)
        rows += [facts | {"codec": codec, "bytes": size, **score} for codec, size in sizes.items()]
    found = {"version": VERSION, "run": config.id, "rows": rows}
    write_object(folder.path / NAME, found)


def _own(config: RunConfig, folder: RunFolder) -> Iterator[_Made]:
    """Seed+BN files."""
    from bnonly.seedfile.exporting import export
    from bnonly.seedfile.loading import load
    from bnonly.seedfile.saving import How
    from experiments.bytes_rivals import xz

    with TemporaryDirectory() as place:
        for number, how in enumerate(OURS):
            path, calibrate = Path(place) / f"{number}.safetensors", CALIBRATION if how["codec"] == "rans" else 0
            packed = export(
                folder, path, How(**how), measure=False, data=config.data.path, calibrate=calibrate, quiet=True
            ).packed
            codec = packed.header.codec.removesuffix("-1")  # rans may have fallen back to mask
            squeezed = xz(packed.data)
            assert lzma.decompress(squeezed) == packed.data
            sizes = {codec: len(packed.data), f"{codec}+xz": len(squeezed)}
            facts = {"form": "seed", "dtype": how["dtype"], "step": how.get("step"), "other_step": None}
            yield facts, sizes, load(path)


def _bare(config: RunConfig, folder: RunFolder, images: Dataset) -> Iterator[_Made]:
    """What of seed+BN files is left without what verifies them."""
    from bnonly.seedfile.exporting import calibration_images
    from bnonly.training.build import trained_network
    from experiments.bytes_bare import bare, grown

    chosen, classes = calibration_images(config, images, CALIBRATION), len(folder.finished()[1]["classes"])
    alone = not {"random", "shortcut"} & set(re.split(r"[+:]", config.group))
    for step, other in [(step, step) for step in STEPS] if alone else BARE:
        data = bare(trained_network(folder), step, other, chosen)
        facts = {"form": "bare", "dtype": "steps", "step": step, "other_step": None if alone else other}
        yield facts, {"rans": len(data)}, grown(data, classes)


def _rivals(config: RunConfig, folder: RunFolder, train: Loader) -> Iterator[_Made]:
    """Whole networks. Weights that did not train on steps are rounded here, and running statistics estimated anew."""
    from bnonly.training.build import trained_network
    from bnonly.training.environment import exact_kernels
    from bnonly.training.frozen import estimate
    from experiments.bytes_rivals import CODECS, How, packed, quantise, unpacked

    net, bits, own = trained_network(folder), config.compression.bits, config.network
    classes = len(folder.finished()[1]["classes"])
    asked = ["fp32", "fp16", "int8", "int4"] if bits is None else [f"int{bits}"]
    for dtype in asked:
        if bits is None and (fewer := How(dtype, "raw").bits) is not None:
            net = trained_network(folder)
            quantise(net, fewer)
            net.to(train.device)
            with exact_kernels():
                estimate(net, islice(train.epoch(config.training.epochs - 1), _BATCHES), config.training.precision)
            net.cpu()
        ways = [How(dtype, codec) for codec in CODECS]
        files = [packed(net, how) for how in ways]
        back, *others = (
            unpacked(data, own.name, classes, how, own.antialias) for data, how in zip(files, ways, strict=True)
        )
        assert all(_equal(back, other) for other in others)
        sizes = {how.codec: len(data) for how, data in zip(ways, files, strict=True)}
        yield {"form": "whole", "dtype": dtype, "step": None, "other_step": None}, sizes, back


def _equal(one: nn.Module, other: nn.Module) -> bool:
    others = other.state_dict()
    return all(value.equal(others[name]) for name, value in one.state_dict().items())


def _score(net: nn.Module, config: RunConfig, test: Loader) -> dict[str, float | None]:
    from bnonly.measure.accuracy import evaluate
    from bnonly.training.build import placed
    from bnonly.training.environment import exact_kernels, pick_device

    placed(net, config, pick_device(config.training.device))
    with exact_kernels():
        found = evaluate(net, test.in_order(), config.training.precision).plain()
    return {"top1": found["top1"], "loss": found["loss"]}
