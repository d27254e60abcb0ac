"""What a network costs: multiply-adds, parameters, channels, and time, side by side with another's."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Cost:
    """multiply_adds: of convolutions and linear layers, one image. channels: that convolutions compute."""

    multiply_adds: int
    parameters: int
    channels: int


def cost(net: nn.Module, shape: tuple[int, int, int]) -> Cost:
    """The cost of a network in eval mode for images of `shape`, (channels, H, W). Nothing is computed."""
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.utils.flop_counter import FlopCounterMode

    first = next(net.parameters())
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), FakeTensorMode(allow_non_fake_inputs=True), counter:
        net(torch.empty(1, *shape, device=first.device, dtype=first.dtype))
    convolutions = [module for module in net.modules() if isinstance(module, nn.Conv2d)]
    return Cost(
        counter.get_total_flops() // 2,  # torch counts a multiplication and an addition as two
        sum(parameter.numel() for parameter in net.parameters()),
        sum(layer.out_channels for layer in convolutions),
    )


@dataclass(frozen=True)
class Latency:
    """Median seconds a call of two networks, and the median of before / after over the rounds."""

    before: float
    after: float
    ratio: float
    rounds: int


def latency(before: nn.Module, after: nn.Module, images: Tensor, seconds: float = 3.0, least: int = 5) -> Latency:
    """Time two networks on the same images in turns, so that whatever else the machine does meets both.

    images: [N, 3, H, W] on the networks' device. seconds: about how long; at least `least` rounds in any case. Who
    goes first changes from round to round.
    """
    nets = (before, after)
    times: tuple[list[float], list[float]] = ([], [])
    with torch.inference_mode():
        for net in nets:
            _timed(net, images)
        until = time.perf_counter() + seconds
        while len(times[0]) < least or time.perf_counter() < until:
            for place in (0, 1) if len(times[0]) % 2 else (1, 0):
                times[place].append(_timed(nets[place], images))
    ratio = median(one / other for one, other in zip(*times, strict=True))
    return Latency(median(times[0]), median(times[1]), ratio, len(times[0]))


def _timed(net: nn.Module, images: Tensor) -> float:
    start = time.perf_counter()
    net(images)
    if images.is_cuda:
        torch.cuda.synchronize(images.device)
    return time.perf_counter() - start
