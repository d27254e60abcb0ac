"""Networks for their features: a plain random VGG, one of the registry, or a module in hand; frozen, in eval mode."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from difflib import get_close_matches

from torch import Tensor, nn
from torch.nn.functional import relu

from bnonly.errors import BadInput
from bnonly.features.structure import VGGS, Structure
from bnonly.features.vgg import PlainVGG, random_vgg
from bnonly.networks import network as registered
from bnonly.networks import title
from bnonly.networks.registry import LISTED, parse
from bnonly.networks.residual import BasicBlock, Bottleneck, ResNet
from bnonly.randomness.start import Start
from bnonly.training.frozen import estimate


def extractor(
    network: str | Structure | nn.Module, seed: int | None = None, *, channels: int = 3, residual: bool = True
) -> nn.Module:
    """A network whose features are wanted, frozen and in eval mode.

    network: `vgg11`, `vgg13`, `vgg16`, `vgg19` (plain: no normalisation, no bias, He et al.'s weights), a Structure
    (its variants), a name of the registry (gamma 1, beta 0, running statistics 0 and 1, so that BatchNorm does
    nothing until `settle`), or a module, pretrained perhaps, which is copied. seed: of random weights.
    channels: of the input; other than 3 for a plain VGG alone. residual: False takes the additions out of a ResNet's
    blocks. Raises BadInput for what is unknown or does not go together.
    """
    if isinstance(network, nn.Module):
        net = deepcopy(network)
    else:
        if seed is None:
            raise BadInput("random weights come from a seed: give one")
        net = _grown(network, seed, channels)
    if not residual:
        without_residuals(net)
    return net.requires_grad_(False).eval()


def _grown(network: str | Structure, seed: int, channels: int) -> nn.Module:
    if isinstance(network, str) and network in VGGS:
        network = Structure.named(network)
    if isinstance(network, Structure):
        return random_vgg(network, seed, channels)
    if channels != 3:
        raise BadInput(
            f"{network} takes 3 channels, not {channels}: of plain VGGs alone there are any ({VGGS[0]}, ...)"
        )
    try:
        parse(network)
    except BadInput as error:
        if "unknown" not in str(error):
            raise
        near = get_close_matches(network, (*VGGS, *LISTED), n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise BadInput(
            f"network {network!r} is unknown{hint} ({', '.join(VGGS)}, and what `bnonly networks` lists)"
        ) from None
    return registered(network, seed, start=Start(gamma="ones"))


class _StraightBasicBlock(BasicBlock):
    def forward(self, x: Tensor) -> Tensor:
        return relu(self.bn2(self.conv2(relu(self.bn1(self.conv1(x))))))


class _StraightBottleneck(Bottleneck):
    def forward(self, x: Tensor) -> Tensor:
        x = relu(self.bn1(self.conv1(x)))
        return relu(self.bn3(self.conv3(relu(self.bn2(self.conv2(x))))))


_STRAIGHT: dict[type[nn.Module], type[nn.Module]] = {BasicBlock: _StraightBasicBlock, Bottleneck: _StraightBottleneck}


def without_residuals(net: nn.Module) -> None:
    """Let every block of a ResNet forget its shortcut, in place: the NoResNet of Wang et al. (CVPR 2021).

    Raises BadInput for another network.
    """
    if not isinstance(net, ResNet):
        raise BadInput(f"{title(net)} has no residual connections to leave out: ask for it with residual connections")
    for block in net.modules():
        if type(block) in _STRAIGHT:
            block.__class__ = _STRAIGHT[type(block)]


def settle(net: nn.Module, batches: Sequence[Tensor]) -> None:
    """Give every BatchNorm the statistics that it meets for these images, in place; other networks stay as they are.

    batches: each [N, C, H, W], of any sizes; means over batches of their statistics, as in training. Of a single one
    each channel then has mean beta and standard deviation gamma. Raises BadInput where images are too small for that.
    """
    try:
        estimate(net, ((images, None) for images in batches))
    except ValueError as error:  # torch's, of a channel with one value
        raise BadInput(
            f"images of {list(batches[0].shape)} leave a single value a channel somewhere in {title(net)}, which has "
            "no variance: take larger ones"
        ) from error


def stage_ends(net: nn.Module) -> tuple[str, ...]:
    """Where each stage of one of our networks ends, in order: the usual layers to take features from.

    Raises BadInput for a module in hand that is none of them: its layers have to be named.
    """
    if isinstance(net, PlainVGG):
        return net.structure.ends()
    if isinstance(net, ResNet):
        return tuple(net.stages)
    relus = [name for name in getattr(net, "order", []) if name.startswith("relu")]
    last = {name.partition("_")[0]: name for name in relus}
    if not last:
        raise BadInput(f"where the stages of {title(net)} end is not known: name its layers")
    return tuple(last.values())
