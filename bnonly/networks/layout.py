"""What parameters an architecture has, without torch: the plan before anything is built or allocated.

The modules say the same in their own way (`randomness.plan.plan` reads it off a network); the tests compare the two.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import count

from bnonly.networks.registry import IMAGENET_STAGES, VGG_STAGES, VGG_WIDTHS
from bnonly.randomness.entry import Entry, Part


def cifar_resnet(depth: int, factor: int = 1, width: int = 16, *, classes: int = 10) -> Iterator[Entry]:
    """Of `networks.cifar_resnet`, lazily."""
    return residual(1, ((depth - 2) // 6,) * 3, width * factor, classes, kernel=3)


def cifar_resnet_normed(depth: int, *, classes: int = 10) -> Iterator[Entry]:
    """Of `networks.cifar_resnet` with GroupNorm or LayerNorm, lazily."""
    for entry in cifar_resnet(depth, classes=classes):
        yield replace(entry, statistics=False) if entry.role in ("gamma", "beta") else entry


def imagenet_resnet(depth: int, *, classes: int = 1000) -> Iterator[Entry]:
    """Of `networks.imagenet_resnet`, lazily."""
    return residual(*IMAGENET_STAGES[depth], 64, classes, kernel=7)


def residual(expansion: int, blocks: tuple[int, ...], width: int, classes: int, kernel: int) -> Iterator[Entry]:
    """Stem, stages of blocks, output layer: in the order of ResNet's state_dict."""
    places = count()
    yield from _normalised(places, "conv1", "bn1", width, 3, kernel)
    before = width
    for stage, depth in enumerate(blocks):
        inner = width << stage
        kernels = (3, 3) if expansion == 1 else (1, 3, 1)
        outputs = (*[inner] * (len(kernels) - 1), inner * expansion)
        for block in range(depth):
            path, inputs = f"layer{stage + 1}.{block}", (before, *outputs[:-1])
            for place, sizes in enumerate(zip(outputs, inputs, kernels, strict=True), 1):
                yield from _normalised(places, f"{path}.conv{place}", f"{path}.bn{place}", *sizes)
            if block == 0 and (stage > 0 or before != outputs[-1]):
                skip = f"{path}.downsample.0", f"{path}.downsample.1"
                yield from _normalised(places, *skip, outputs[-1], before, 1, "shortcut")
            before = outputs[-1]
    yield from _output(places, before, classes)


def vgg_bn(depth: int, *, classes: int = 10) -> Iterator[Entry]:
    """Of `networks.vgg`, lazily."""
    places, before = count(), 3
    for stage, (layers, width) in enumerate(zip(VGG_STAGES[depth], VGG_WIDTHS, strict=True), 1):
        for place in range(1, layers + 1):
            yield from _normalised(places, f"conv{stage}_{place}", f"bn{stage}_{place}", width, before, 3)
            before = width
    yield from _output(places, before, classes)


def _normalised(
    places: Iterator[int], conv: str, norm: str, outputs: int, inputs: int, kernel: int, part: Part = ""
) -> Iterator[Entry]:
    fans = inputs * kernel**2, outputs * kernel**2
    yield Entry(next(places), f"{conv}.weight", "weight", (outputs, inputs, kernel, kernel), *fans, part)
    yield Entry(next(places), f"{norm}.weight", "gamma", (outputs,))
    yield Entry(next(places), f"{norm}.bias", "beta", (outputs,))


def _output(places: Iterator[int], inputs: int, classes: int) -> Iterator[Entry]:
    yield Entry(next(places), "fc.weight", "weight", (classes, inputs), inputs, classes, "output")
    yield Entry(next(places), "fc.bias", "bias", (classes,), inputs, classes, "output")
