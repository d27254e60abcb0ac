"""A plain random VGG in torch: convolutions and ReLUs, named as features of VGG are (`relu3_1`)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from bnonly.errors import BadInput
from bnonly.features.structure import Structure
from bnonly.networks.parts import Conv2d
from bnonly.networks.vgg import InOrder
from bnonly.randomness import bngen
from bnonly.randomness.plan import plan


class PlainVGG(InOrder):
    """Layers `conv1_1`, `relu1_1`, ..., `pool1`, ...: made by `random_vgg`. Odd sizes are rounded up by the pools."""

    def __init__(self, structure: Structure, channels: int):
        super().__init__()
        self.structure = structure
        inputs = channels
        for stage, (count, width) in enumerate(zip(structure.blocks, structure.widths, strict=True), 1):
            if stage > 1:
                self.append(f"pool{stage - 1}", nn.MaxPool2d(2, ceil_mode=True))
            for place in range(1, count + 1):
                kernel = structure.kernel
                layer = Conv2d(inputs, width, kernel, 1, kernel // 2, bias=structure.bias, device="cpu")
                self.append(f"conv{stage}_{place}", layer)
                self.append(f"relu{stage}_{place}", nn.ReLU())
                inputs = width

    def forward(self, x: Tensor) -> Tensor:
        """[N, channels, H, W] -> the last stage's features."""
        return self.features(x)


def random_vgg(structure: Structure, seed: int, channels: int = 3) -> PlainVGG:
    """A VGG of that structure, its weights from the seed's streams in plan order; frozen, in eval mode, on the CPU.

    seed: 0 <= seed < 2^128. channels: of its input. Raises BadInput where one of them is out of range.
    """
    if not 1 <= channels <= 4096:
        raise BadInput(f"{channels} channels are impossible: an input has 1 to 4096")
    net = PlainVGG(structure, channels)
    places = {f"{name}.weight": place for place, name in enumerate(net.order, 1)}
    parameters = dict(net.named_parameters())
    with torch.no_grad():
        for entry in plan(net):
            stream = bngen.stream_number(bngen.INITIAL, entry.index)
            if entry.role == "bias":
                values = bngen.linear_bias(seed, stream, entry.size, entry.fan_in)
            else:
                dist, std = structure.draw(entry.fan_in, entry.fan_out, places[entry.name])
                scale = np.float32(std * float(bngen.unit_scale(dist)))
                values = bngen.scaled(seed, stream, entry.size, dist, scale)
            parameters[entry.name].copy_(torch.from_numpy(values.reshape(entry.shape)))
    return net.requires_grad_(False).eval()
