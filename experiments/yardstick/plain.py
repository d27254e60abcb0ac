"""Their side: a training loop as one writes it without the laboratory, in the style of the paper's time.

The data set is torchvision's kind (arrays in memory, each image through PIL and torchvision's transforms, a
DataLoader), training is eager, float32 and NCHW, what does not train has requires_grad=False, and nothing of the
process is tuned. The sides "off the shelf" add what torch has for that, and nothing else.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from bnonly.config import RunConfig
from bnonly.data.cores import usable_cores
from bnonly.data.images import Images, Part
from bnonly.errors import BadInput
from bnonly.groups import parse_group, random_scalars
from experiments.yardstick.images import images, shown
from experiments.yardstick.pace import Pace
from experiments.yardstick.plain_net import plain_network
from experiments.yardstick.sides import Side

_PREFETCHED = 2  # batches of each process of a DataLoader


def work(config: RunConfig, side: Side, device: torch.device) -> None:
    """Train the run's group for ever, or with group none evaluate, at the pace that is asked for."""
    data = images(config)
    if config.network.antialias != "none":
        raise BadInput(
            "there is no plain network with anti-aliasing to hold one against: leave network.antialias out"
        )
    net = plain_network(config.network.name, len(data.classes)).to(device)
    trained, masks = choose(net, config.group, config.training.weight_decay)
    last = config.training.memory_format == "channels_last"
    if last:
        net = net.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    workers = usable_cores() if side.workers and device.type == "cuda" else 0
    evaluates = config.group == "none"
    loader = _loader(config, data.test if evaluates else data.train, not evaluates, workers, bool(side.compile))
    pace = Pace(device, net, _PREFETCHED * workers, shown(data))
    run: Any = torch.compile(net, mode=side.compile) if side.compile else net
    half = config.training.precision == "bf16"
    autocast = torch.autocast(device.type, torch.bfloat16) if half else nullcontext()

    def forward(pixels: Tensor) -> Tensor:
        pixels = pixels.to(device, non_blocking=workers > 0)
        if last:
            pixels = pixels.contiguous(memory_format=torch.channels_last)
        with autocast:
            return run(pixels)

    if evaluates:
        net.eval()
        _evaluate(forward, loader, device, pace)
    net.train()
    training, decay = config.training, 0.0 if masks else config.training.weight_decay
    optimizer = torch.optim.SGD(trained, lr=training.lr, momentum=training.momentum, weight_decay=decay)
    criterion = nn.CrossEntropyLoss()
    while True:
        for pixels, labels in loader:
            optimizer.zero_grad()
            loss = criterion(forward(pixels), labels.to(device, non_blocking=workers > 0))
            loss.backward()
            optimizer.step()
            pace.stepped(len(labels))


def _evaluate(forward: Any, loader: Any, device: torch.device, pace: Pace) -> None:
    criterion = nn.CrossEntropyLoss()
    loss, right = torch.zeros((), device=device), torch.zeros((), device=device)
    while True:
        for pixels, labels in loader:
            labels = labels.to(device)
            with torch.no_grad():
                logits = forward(pixels)
                loss += criterion(logits, labels) * len(labels)
                right += (logits.argmax(1) == labels).sum()
            pace.stepped(len(labels))


def choose(net: nn.Module, group: str, decay: float = 0.0) -> tuple[list[nn.Parameter], bool]:
    """Freeze all but bn, output, all, none or random:K; what trains, and whether gradients are masked.

    random:K as public code does it: the whole convolution trains, with a mask on its gradient, weight decay included
    there, since the optimiser's would move the rest. Raises BadInput for other groups.
    """
    convolutions = [layer for layer in net.modules() if isinstance(layer, nn.Conv2d)]
    chosen: list[Any] = []
    count = random_scalars(parse_group(group)).count
    if group == "bn":
        chosen = [p for layer in net.modules() if isinstance(layer, nn.BatchNorm2d) for p in layer.parameters()]
    elif group == "output":
        chosen = list(net.get_submodule("fc").parameters())
    elif group == "all":
        chosen = list(net.parameters())
    elif count and group == f"random:{count}":
        chosen = [layer.weight for layer in convolutions]
    elif group != "none":
        raise BadInput(f"group {group} has no plain loop to be held against: use bn, output, all, none or random:K")
    for parameter in net.parameters():
        parameter.requires_grad_(any(parameter is one for one in chosen))
    for weight in chosen if count else ():
        _train_some(weight, count, decay)
    return chosen, bool(count)


def _train_some(weight: nn.Parameter, count: int, decay: float) -> None:
    mask = torch.zeros_like(weight).flatten(1)
    mask[:, torch.randperm(mask.shape[1])[:count]] = 1
    mask = mask.view_as(weight)
    weight.register_hook(lambda gradient: mask * (gradient + decay * weight.detach()))


class _Pictures(Dataset[tuple[Tensor, int]]):
    """As torchvision's CIFAR10 keeps and hands out its images: uint8 [N, H, W, 3] in memory."""

    def __init__(self, data: NDArray[np.uint8], targets: list[int], transform: Any):
        self.data, self.targets, self.transform = data, targets, transform

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image, target = self.data[index], self.targets[index]
        return self.transform(Image.fromarray(image)), target

    def __len__(self) -> int:
        return len(self.data)


def _loader(config: RunConfig, part: Part, training: bool, workers: int, whole: bool) -> Any:
    assert isinstance(part, Images), "the yardstick's images are in memory"
    wanted, size = config.data, part.pixels.shape[2]
    steps: list[Any] = []
    if training and wanted.crop:
        steps.append(transforms.RandomCrop(size, padding=wanted.crop))
    if training and wanted.flip:
        steps.append(transforms.RandomHorizontalFlip())
    steps += [transforms.ToTensor(), transforms.Normalize(wanted.mean, wanted.std)]
    pixels = np.ascontiguousarray(part.pixels.transpose(0, 2, 3, 1))
    return DataLoader(
        _Pictures(pixels, part.labels.tolist(), transforms.Compose(steps)),
        batch_size=config.training.batch_size,
        shuffle=training,
        num_workers=workers,
        pin_memory=workers > 0,
        persistent_workers=workers > 0,
        drop_last=whole,  # torch.compile wants batches of one size
    )
