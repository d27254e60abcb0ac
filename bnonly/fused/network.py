"""The fused engine in a network: its blocks compute by `conv_norm`; parameters, buffers and names stay."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from bnonly.fused.functions import conv_norm, two_steps
from bnonly.networks.parts import BatchNorm2d
from bnonly.networks.residual import (
    BasicBlock,
    BlurredBasicBlock,
    BlurredBottleneck,
    BlurredShortcut,
    Bottleneck,
    ResNet,
    Shortcut,
)


class FusedShortcut(Shortcut):
    def forward(self, input: Tensor) -> Tensor:
        return conv_norm(self[0], self[1], input, relu=False)  # type: ignore[arg-type]


class FusedBasicBlock(BasicBlock):
    def forward(self, x: Tensor) -> Tensor:
        skip = x if self.downsample is None else self.downsample(x)
        return two_steps(self.conv1, self.bn1, self.conv2, self.bn2, x, skip)


class FusedBottleneck(Bottleneck):
    def forward(self, x: Tensor) -> Tensor:
        skip = x if self.downsample is None else self.downsample(x)
        x = two_steps(self.conv1, self.bn1, self.conv2, self.bn2, x)
        return conv_norm(self.conv3, self.bn3, x, skip)


class FusedBlurredShortcut(BlurredShortcut):
    def forward(self, input: Tensor) -> Tensor:
        return conv_norm(self[0], self[1], self.blur(input), relu=False)  # type: ignore[arg-type]


class FusedBlurredBasicBlock(BlurredBasicBlock):
    def forward(self, x: Tensor) -> Tensor:
        skip = self.downsample(x)
        return conv_norm(self.conv2, self.bn2, self.blur(conv_norm(self.conv1, self.bn1, x)), skip)


class FusedBlurredBottleneck(BlurredBottleneck):
    def forward(self, x: Tensor) -> Tensor:
        skip = self.downsample(x)
        x = self.blur(two_steps(self.conv1, self.bn1, self.conv2, self.bn2, x))
        return conv_norm(self.conv3, self.bn3, x, skip)


class FusedResNet(ResNet):
    def begin(self, x: Tensor) -> Tensor:
        return conv_norm(self.conv1, self.bn1, x)


_FUSED: dict[type[nn.Module], type[nn.Module]] = {
    Shortcut: FusedShortcut,
    BasicBlock: FusedBasicBlock,
    Bottleneck: FusedBottleneck,
    BlurredShortcut: FusedBlurredShortcut,
    BlurredBasicBlock: FusedBlurredBasicBlock,
    BlurredBottleneck: FusedBlurredBottleneck,
    ResNet: FusedResNet,
}


def fuse(net: nn.Module) -> int:
    """Let every part that can compute fused; returns how many do. `unfuse` takes it back.

    Results equal those of the modules within rounding. Hooks on the convolutions and BatchNorms inside such a part
    are not called any more. A part whose BatchNorm is no plain one (synchronised over processes, or exchanged by the
    user) stays as it is, and so do networks of other kinds.
    """
    count = 0
    for module in list(net.modules()):
        if type(module) in _FUSED and _is_plain(module):
            module.__class__ = _FUSED[type(module)]
            count += 1
    return count


def unfuse(net: nn.Module) -> None:
    """Back to plain modules."""
    for module in net.modules():
        if (kind := plain_kind(module)) is not type(module):
            object.__setattr__(module, "__class__", kind)


def plain_kind(module: nn.Module) -> type[nn.Module]:
    """The class of a module, or where it is fused of what it was."""
    plain = {fused: original for original, fused in _FUSED.items()}
    return plain.get(type(module), type(module))


def _is_plain(part: nn.Module) -> bool:
    """Whether each convolution of the part's own has a BatchNorm of its own, and both are as they were built."""
    convolutions = [child for child in part.children() if isinstance(child, _ConvNd)]
    norms = [child for child in part.children() if isinstance(child, _NormBase)]
    return (
        len(norms) == len(convolutions)
        and all(type(norm) is BatchNorm2d and norm.affine and norm.track_running_stats for norm in norms)
        and all(layer.bias is None and layer.padding_mode == "zeros" for layer in convolutions)
    )
