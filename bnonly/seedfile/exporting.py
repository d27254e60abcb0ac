"""From a finished run to a seed+BN file, measured before and after."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bnonly.config import RunConfig
from bnonly.data.images import Dataset, Images
from bnonly.errors import BadInput
from bnonly.files import check_place, write_atomically
from bnonly.measure.accuracy import Score, evaluate
from bnonly.progress import track
from bnonly.randomness import bngen
from bnonly.runs import RunFolder
from bnonly.seedfile.calibration import calibrated
from bnonly.seedfile.contents import read
from bnonly.seedfile.header import Input
from bnonly.seedfile.loading import network_of
from bnonly.seedfile.saving import How, Packed, pack
from bnonly.training.build import (
    engaged,
    evaluation_batches,
    image_shape,
    placed,
    run_batches,
    run_data,
    trained_network,
)
from bnonly.training.environment import exact_kernels, pick_device


@dataclass(frozen=True)
class Exported:
    """packed: the file. weights: all parameters. before, after: scores of the run's network and of the file's."""

    packed: Packed
    weights: int
    before: Score | None
    after: Score | None

    @property
    def ratio(self) -> float:
        """Times smaller than all parameters in float32; header and head are counted, running statistics are not."""
        return 4 * self.weights / len(self.packed.data)


def export(
    folder: RunFolder,
    path: Path,
    how: How,
    *,
    measure: bool = True,
    data: Path | None = None,
    calibrate: int = 0,
    quiet: bool = False,
) -> Exported:
    """Store a finished run's network at `path`, which is there whole or not at all.

    measure: score it on the run's evaluation images before, and what a reader gets from the file after. data: where
    these images lie now, if not where the run had them. calibrate: training images, without their labels, by which
    running statistics are put right for what coding changes (see `calibration`). quiet: without a bar.
    Raises BadInput for a run that is not finished, and `seedfile.errors.NotStorable` for one that a seed does not
    bring back.
    """
    if check_place(path) in folder.own_files():
        raise BadInput(f"{path} belongs to the run itself: name another file, for example net.safetensors beside it")
    net = trained_network(folder)
    config, result = folder.config(), folder.result()
    assert config is not None and result is not None, "trained_network has read both"
    if data is not None:
        if config.data.path is None and config.data.source == "digits":
            raise BadInput("data: digits come with scikit-learn and lie in no folder, so leave it out")
        config = config.model_copy(update={"data": config.data.model_copy(update={"path": data})})
    if calibrate < 0:
        raise BadInput(f"calibrate {calibrate} is impossible: a number of training images, or 0")
    images = run_data(config) if measure or calibrate or "image_shape" not in result else None
    if images is not None and images.digest() != result["data_sha256"]:
        raise BadInput(f"these are not the images that {folder.path} was evaluated on: name them with --data")
    shape = image_shape(config, images) if images is not None else result["image_shape"]
    labels = tuple(result["classes"])
    facts = _info(config, result, how) | ({"calibrate": calibrate} if calibrate else {})
    input = Input(tuple(shape), config.data.mean, config.data.std, labels)
    if calibrate:
        assert images is not None, "they were read above"
        packed = _calibrated(net, how, calibration_images(config, images, calibrate), input, facts)
    else:
        packed = pack(net, how, input, facts)
    reader = network_of(read(packed.data))
    before = after = None
    if measure:
        assert images is not None, "they were read above"
        before = _score(config, images, net, "before", quiet)
        after = _score(config, images, reader, "after", quiet)
    write_atomically(path, packed.data)
    return Exported(packed, sum(p.numel() for p in reader.parameters()), before, after)


def _calibrated(net: nn.Module, how: How, images: Tensor, input: Input | None, facts: dict[str, Any]) -> Packed:
    packed = pack(calibrated(net, how, images), how, input, facts)
    if packed.notes:  # rans could not: what was put right for its steps is wrong for another codec
        mask = replace(how, codec="mask")
        return replace(pack(calibrated(net, mask, images), mask, input, facts), notes=packed.notes)
    return packed


def calibration_images(config: RunConfig, data: Dataset, count: int) -> Tensor:
    """The first training images that the run has seen, as evaluation shows them: [count, 3, H, W]."""
    if not isinstance(data.train, Images):
        raise BadInput(f"calibration is for data sets in memory, and {data.name} is read from its files")
    if count > len(data.train):
        raise BadInput(f"calibrate {count} is more than the {len(data.train):,} training images")
    order = bngen.permutation(config.seed, bngen.stream_number(bngen.ORDER, 0), len(data.train))
    part = replace(data, test=data.train.take(np.sort(order[:count])))
    batches = evaluation_batches(config, part, torch.device("cpu")).in_order()
    return torch.cat([pixels for pixels, _ in batches])


def _info(config: RunConfig, result: dict[str, Any], how: How) -> dict[str, Any]:
    """What the network is, for people: no time and no place, so that equal runs give equal files."""
    info = {
        "data": config.data.source,
        "epochs": config.training.epochs,
        "group": config.group,
        "run": config.id,
        "top1": round(result["test"]["top1"], 6),
    }
    return info | ({"clamp": how.clamp} if how.clamp else {})


def _score(config: RunConfig, images: Dataset, net: nn.Module, when: str, quiet: bool) -> Score:
    device = pick_device(config.training.device)
    _, test = run_batches(config, images, device)
    batches = track(test.in_order(), test.steps, f"scoring {test.images:,} images {when} coding", quiet=quiet)
    with exact_kernels():
        return evaluate(engaged(placed(net, config, device), config), batches, config.training.precision)
