"""The networks as one finds them in anybody's repository: plain torch, nothing of the laboratory's.

Names of parameters are torchvision's, which the laboratory's networks use too, so that one's values fit the other.
"""

from __future__ import annotations

from collections import OrderedDict

import torch.nn.functional as F
from torch import Tensor, nn

from bnonly.errors import BadInput
from bnonly.networks.registry import parse


def plain_network(name: str, classes: int) -> nn.Module:
    """The architecture of that name with torch's own initial values. Raises BadInput for one that has no double."""
    found = parse(name)
    if "cifar_resnet" in found.family.builder:
        width = found.arguments.get("width", 16) * found.arguments.get("factor", 1)
        return _CifarResNet((found.arguments["depth"] - 2) // 6, width, classes)
    import torchvision

    if name.startswith("resnet") and hasattr(torchvision.models, name):
        return getattr(torchvision.models, name)(num_classes=classes)
    raise BadInput(f"network {name} is not in torchvision, so there is nothing to hold it against")


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )
        else:
            self.downsample = nn.Sequential()

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += self.downsample(x)
        return F.relu(out)


class _CifarResNet(nn.Module):
    """Three stages of `blocks` blocks, `width` channels in the first."""

    def __init__(self, blocks: int, width: int, classes: int):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        stages, inputs = OrderedDict[str, nn.Module](), width
        for stage in range(3):
            layers = []
            for place in range(blocks):
                stride = 2 if stage and not place else 1
                layers.append(_Block(inputs, width << stage, stride))
                inputs = width << stage
            stages[f"layer{stage + 1}"] = nn.Sequential(*layers)
        for name, part in stages.items():
            self.add_module(name, part)
        self.stages = list(stages)
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        for name in self.stages:
            out = getattr(self, name)(out)
        out = F.adaptive_avg_pool2d(out, 1).flatten(1)
        return self.fc(out)
