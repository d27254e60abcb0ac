"""BatchNorm whose statistics stay: estimated before the first step, then kept. Where, besides, only the output layer
trains and images are not augmented, that layer's inputs never change: they are computed once, and an epoch costs no
more than one linear layer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from bnonly.data.batches import Batches
from bnonly.measure.accuracy import autocast
from bnonly.randomness.plan import BATCH_NORMS
from bnonly.training.chance import draws, may_draw

if TYPE_CHECKING:
    from bnonly.training.module import GroupTraining

_UNKNOWN = 1 << 30  # bytes taken to be free where the system does not say


def train_mode(net: nn.Module, statistics: str) -> None:
    """Train mode, but for BatchNorm with "frozen" statistics."""
    net.train()
    if statistics == "frozen":
        for layer in _batch_norms(net):
            layer.eval()


def settle(module: GroupTraining) -> None:
    """Before training begins or goes on, under "frozen": estimate the statistics of a run that has trained nothing
    yet, and let the output layer's inputs stand in for the images where they never change and fit into memory.
    """
    training, net = module.config.training, module.net
    if training.bn_statistics != "frozen":
        return
    if module.record is None and not module.position_step:
        estimate(net, module.train_batches.epoch(0), training.precision)
    train, test, path = module.train_batches, module.test_batches, lone_output(net)
    if path is None or module.team.count > 1 or not isinstance(train, Batches) or not isinstance(test, Batches):
        return
    layer = net.get_submodule(path)
    assert isinstance(layer, nn.Linear)
    needed = 4 * layer.in_features * (train.images + test.images)
    if train.augmented or 2 * needed > _free(train.device) or _draws(net, train, training.precision):
        return
    module.train_batches, module.test_batches = (
        Features(net, layer, batches, training.precision) for batches in (train, test)
    )
    module.shown = path


def renew(module: GroupTraining) -> None:
    """Running statistics for values that the network has not trained with, from the batches of its last epoch."""
    training = module.config.training
    if training.bn_statistics != "frozen":
        estimate(module.net, module.train_batches.epoch(training.epochs - 1), training.precision)


def estimate(net: nn.Module, batches: Iterable[tuple[Tensor, object]], precision: str = "fp32") -> None:
    """Set every BatchNorm's running statistics to the mean of those that these batches have in a pass in train mode:
    mean and unbiased variance by channel, each batch counting alike. Images [B, C, H, W], any size; labels ignored.
    """
    layers = _batch_norms(net)
    momenta, training = [layer.momentum for layer in layers], net.training
    net.eval()
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # the mean of all batches so far
        layer.train()
    try:
        with torch.no_grad():
            for images, _ in batches if layers else ():
                with autocast(images.device, precision):
                    net(images)
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
        net.train(training)


def lone_output(net: nn.Module) -> str | None:
    """The path of the output layer, if it is linear and nothing else trains; else None."""
    paths: list[str] = getattr(net, "roles", {}).get("output", [])
    if len(paths) != 1 or not isinstance(layer := net.get_submodule(paths[0]), nn.Linear):
        return None
    own = {id(parameter) for parameter in layer.parameters()}
    others = [p for p in net.parameters() if p.requires_grad and id(p) not in own]
    return None if others or not any(p.requires_grad for p in layer.parameters()) else paths[0]


class Features:
    """A Loader whose images are what the output layer is given for them, [B, in_features], in the same order.

    batches: not augmented; they go through the network, in eval mode, once and in order.
    """

    def __init__(self, net: nn.Module, layer: nn.Linear, batches: Batches, precision: str):
        self.device, self._batches, training = batches.device, batches, net.training
        kept: list[Tensor] = []
        hook = layer.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0]))
        net.eval()
        try:
            with torch.no_grad():  # not inference_mode, whose tensors no backward may use
                for images, _ in batches.in_order():
                    with autocast(images.device, precision):
                        net(images)
        finally:
            hook.remove()
            net.train(training)
        self._values = torch.cat(kept)

    @property
    def images(self) -> int:
        return self._batches.images

    @property
    def steps(self) -> int:
        return self._batches.steps

    def epoch(self, epoch: int, first: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        for chosen in self._batches.order(epoch).split(self._batches.batch_size)[first:]:
            yield self._values[chosen], self._batches.labels[chosen]

    def in_order(self) -> Iterator[tuple[Tensor, Tensor]]:
        size = self._batches.batch_size
        yield from zip(self._values.split(size), self._batches.labels.split(size), strict=True)


def _draws(net: nn.Module, batches: Batches, precision: str) -> bool:
    """Whether the layers' inputs differ from epoch to epoch by dropout."""
    if not may_draw(net):
        return False
    training, (images, _) = net.training, next(batches.in_order())
    train_mode(net, "frozen")
    try:
        return draws(net, images, precision)
    finally:
        net.train(training)


def _batch_norms(net: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    """Those that keep running statistics."""
    return [layer for layer in net.modules() if isinstance(layer, BATCH_NORMS) and layer.running_mean is not None]


def _free(device: torch.device) -> int:
    """Bytes of memory to be had on the device."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError, IndexError):
        return _UNKNOWN
