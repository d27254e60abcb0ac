"""A training step as one CUDA graph: its kernels start together, so that a small network does not wait for them.

The optimiser's step stays outside, since its rate changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bnonly.config import RunConfig

WARM_UP = 3  # steps of a shape before it is captured: libraries choose their kernels, and memory is allocated

Found = tuple[Tensor, Tensor]
Compute = Callable[[Tensor, Tensor], Found]
Capture = Callable[[Callable[[], Found]], tuple[Found, Callable[[], None]]]


@dataclass(frozen=True)
class _Graph:
    images: Tensor
    labels: Tensor
    found: Found
    gradients: tuple[Tensor | None, ...]
    replay: Callable[[], None]


class Captured:
    """`compute(images, labels)`, which leaves gradients in the parameters, captured once for each shape of batch.

    What it returns is valid until the next call. Whatever `compute` reads besides must stay where it is in memory;
    what it changes in place, as running statistics, changes at every call. Nothing in it may wait for the device.
    """

    def __init__(self, compute: Compute, parameters: Iterable[nn.Parameter], capture: Capture | None = None):
        self._compute, self._parameters = compute, [p for p in parameters if p.requires_grad]
        self._capture = capture or on_cuda
        self._seen: dict[torch.Size, int] = {}
        self._graphs: dict[torch.Size, _Graph] = {}

    def __call__(self, images: Tensor, labels: Tensor) -> Found:
        shape = images.shape
        if (graph := self._graphs.get(shape)) is None:
            self._seen[shape] = self._seen.get(shape, 0) + 1
            if self._seen[shape] <= WARM_UP:
                self._forget()
                return _aside(lambda: self._compute(images, labels), images.device)
            graph = self._graphs[shape] = self._captured(images, labels)
        graph.images.copy_(images)
        graph.labels.copy_(labels)
        graph.replay()
        for parameter, gradient in zip(self._parameters, graph.gradients, strict=True):
            parameter.grad = gradient
        return graph.found

    def _captured(self, images: Tensor, labels: Tensor) -> _Graph:
        own_images, own_labels = images.clone(), labels.clone()  # clone keeps the memory format
        self._forget()  # so that backward leaves its gradients in the graph's own memory
        found, replay = self._capture(lambda: self._compute(own_images, own_labels))
        return _Graph(own_images, own_labels, found, tuple(p.grad for p in self._parameters), replay)

    def _forget(self) -> None:
        for parameter in self._parameters:
            parameter.grad = None


def engaged(compute: Compute, net: nn.Module, config: RunConfig, device: torch.device) -> Compute:
    """`compute`, captured where the run's engine is the fused one, alone on a GPU."""
    alone = config.training.devices == 1 and device.type == "cuda"
    return Captured(compute, net.parameters()) if alone and config.training.engine == "fused" else compute


def on_cuda(function: Callable[[], Found]) -> tuple[Found, Callable[[], None]]:
    """Record what the function starts on the device, without doing it; what is returned beside does it."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = function()
    return found, graph.replay


def _aside(function: Callable[[], Any], device: torch.device) -> Any:
    """Perform it on a stream of its own, as warming up for a capture must be; the current stream waits."""
    if device.type != "cuda":
        return function()
    current, aside = torch.cuda.current_stream(device), torch.cuda.Stream(device)
    aside.wait_stream(current)
    with torch.cuda.stream(aside):
        found = function()
    current.wait_stream(aside)
    return found
