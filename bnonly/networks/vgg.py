"""VGG with BatchNorm (Simonyan and Zisserman, ICLR 2015, table 1, configurations A, B, D, E), for small images."""

from __future__ import annotations

from torch import Tensor, nn

from bnonly.networks.antialias import Antialias
from bnonly.networks.blur import max_blur_pool
from bnonly.networks.parts import BatchNorm2d, Conv2d, Linear
from bnonly.networks.registry import VGG_STAGES, VGG_WIDTHS


class InOrder(nn.Module):
    """Layers by name, one behind another; `order` has the names."""

    def __init__(self):
        super().__init__()
        self.order: list[str] = []

    def append(self, name: str, layer: nn.Module) -> None:
        self.add_module(name, layer)
        self.order.append(name)

    def features(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> the last layer's result."""
        for name in self.order:
            x = self.get_submodule(name)(x)
        return x


class VGG(InOrder):
    """Five stages of 3x3 convolution - BN - ReLU, a 2x2 max-pool before each but the first, mean over space, linear.

    blocks: convolutions a stage. Layers have the names that features of VGG are called by: `conv1_1`, `bn1_1`,
    `relu1_1`, ..., `pool1`, ..., `fc`. No convolution has a bias. Pools round odd sizes up, so that images of any
    size pass, 8x8 too; where every size on the way is even, as from 32x32, nothing tells them from plain ones.
    """

    def __init__(self, blocks: tuple[int, ...], classes: int, antialias: Antialias = "none"):
        super().__init__()
        inputs = 3
        for stage, (count, width) in enumerate(zip(blocks, VGG_WIDTHS, strict=True), 1):
            if stage > 1:
                self.append(f"pool{stage - 1}", _pool(antialias))
            for place in range(1, count + 1):
                self.append(f"conv{stage}_{place}", Conv2d(inputs, width, 3, 1, 1, bias=False))
                self.append(f"bn{stage}_{place}", BatchNorm2d(width))
                self.append(f"relu{stage}_{place}", nn.ReLU())
                inputs = width
        self.fc = Linear(inputs, classes)
        self.roles = {"output": ["fc"], "shortcut": []}

    def forward(self, x: Tensor) -> Tensor:
        """Images [N, 3, H, W], normalised -> logits [N, classes]."""
        return self.fc(self.features(x).mean((2, 3)))


def _pool(antialias: Antialias) -> nn.Module:
    return nn.MaxPool2d(2, ceil_mode=True) if antialias == "none" else max_blur_pool(antialias)


def vgg_bn(depth: int, classes: int = 10, antialias: Antialias = "none") -> VGG:
    """VGG-11, 13, 16 or 19: one linear layer in the place of three, as is usual for CIFAR."""
    return VGG(VGG_STAGES[depth], classes, antialias)
