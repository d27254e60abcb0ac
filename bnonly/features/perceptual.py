"""A perceptual loss of a frozen network, random or not: how far a prediction's features are from the target's.

Johnson, Alahi and Fei-Fei (ECCV 2016); with random weights, and for other outputs than pictures, Liu et al., Generic
Perceptual Loss (CVPR 2021).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, l1_loss, mse_loss

from bnonly.errors import BadInput
from bnonly.features.layers import checked, features
from bnonly.features.maps import gram
from bnonly.features.networks import extractor
from bnonly.features.structure import VGGS, Structure
from bnonly.networks import title
from bnonly.randomness import bngen

Distance = Literal["l1", "l2", "gram"]


def perceptual_loss(
    network: str | Structure | nn.Module,
    layers: str | Sequence[str],
    seed: int | None = None,
    distance: Distance = "l2",
    *,
    weights: Sequence[float] | None = None,
    channels: int = 3,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> PerceptualLoss:
    """A module: prediction and target, [N, channels, H, W] each -> a scalar, the sum of the layers' distances.

    network: as of `extractor`: `vgg19` and its kin, a Structure, a name of the registry, or a module. layers: names
    of its parts. seed: of all random weights. distance: "l1", mean |difference| of features; "l2", its mean square;
    "gram", the squared Frobenius norm of the difference of Gram matrices, mean over images. weights: of the layers,
    1 each unless given.
    channels: of what is compared: 3 for pictures, 1 for depth, K for maps of K classes (probabilities against one-hot
    labels). A plain VGG gets a first convolution of so many inputs. Any other network that takes another number sees
    one channel repeated, and several through a frozen random 1x1 convolution of variance 1/channels.
    mean, std: by channel, taken from the input first; it goes in as it is unless they are given (for pictures in
    [0, 1]: `bnonly.data.colours`).
    Raises BadInput, in a sentence, for an unknown network or layer and for options that do not go together.
    """
    return PerceptualLoss(network, layers, seed, distance, weights, channels, mean, std)


class PerceptualLoss(nn.Module):
    """Made by `perceptual_loss`. Frozen, always in eval mode; gradients flow to the prediction alone."""

    distance: Distance
    offset: Tensor
    scale: Tensor
    mixing: Tensor | None

    def __init__(
        self,
        network: str | Structure | nn.Module,
        layers: str | Sequence[str],
        seed: int | None,
        distance: Distance,
        weights: Sequence[float] | None,
        channels: int,
        mean: Sequence[float] | None,
        std: Sequence[float] | None,
    ):
        super().__init__()
        if distance not in get_args(Distance):
            raise BadInput(f"distance {distance!r} is unknown: use one of {', '.join(get_args(Distance))}")
        plain = isinstance(network, Structure) or (isinstance(network, str) and network in VGGS)
        self.net = extractor(network, seed, channels=channels if plain else 3)
        self.layers, self.channels = checked(self.net, layers), channels
        self.distance = distance
        self.weights = _weights(weights, self.layers)
        self.register_buffer("offset", _by_channel("mean", mean, 0.0, channels))
        self.register_buffer("scale", _by_channel("std", std, 1.0, channels))
        if not (self.scale > 0).all():
            raise BadInput(f"std {list(std or ())} must be greater than 0")
        self.register_buffer("mixing", _mixing(self.net, seed, channels))
        self.eval()

    def train(self, mode: bool = True) -> PerceptualLoss:
        return super().train(False)

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Both [N, channels, H, W], of one floating dtype -> a scalar. Raises BadInput for other shapes."""
        self._check(prediction, target)
        with torch.no_grad():
            wanted = features(self.net, self.layers, self._prepared(target))
        found = features(self.net, self.layers, self._prepared(prediction))
        total = prediction.new_zeros(())
        for weight, name in zip(self.weights, self.layers, strict=True):
            total = total + weight * _distance(found[name], wanted[name], self.distance)
        return total

    def _prepared(self, x: Tensor) -> Tensor:
        x = (x - self.offset) / self.scale
        return x if self.mixing is None else conv2d(x, self.mixing)

    def _check(self, prediction: Tensor, target: Tensor) -> None:
        if prediction.shape != target.shape:
            raise BadInput(
                f"prediction {list(prediction.shape)} and target {list(target.shape)} differ in shape: a perceptual "
                "loss compares maps of one size (labels as one-hot maps)"
            )
        if prediction.dim() != 4 or prediction.shape[1] != self.channels:
            raise BadInput(
                f"a perceptual loss of {self.channels} channels takes [N, {self.channels}, H, W], not "
                f"{list(prediction.shape)}: say channels= when it is made"
            )
        if not (prediction.is_floating_point() and target.dtype == prediction.dtype == self.offset.dtype):
            raise BadInput(
                f"a perceptual loss in {self.offset.dtype} takes floats of that dtype, not {prediction.dtype} and "
                f"{target.dtype}: convert them, or the loss with .to(dtype)"
            )


def _distance(found: Tensor, wanted: Tensor, distance: Distance) -> Tensor:
    if distance == "gram":
        return (gram(found) - gram(wanted)).square().sum((1, 2)).mean()
    return (l1_loss if distance == "l1" else mse_loss)(found, wanted)


def _weights(weights: Sequence[float] | None, layers: Sequence[str]) -> tuple[float, ...]:
    if weights is None:
        return (1.0,) * len(layers)
    if len(weights) != len(layers) or not all(np.isfinite(weight) and weight >= 0 for weight in weights):
        raise BadInput(
            f"weights {list(weights)} do not fit: give one number from 0 up for each of {', '.join(layers)}"
        )
    return tuple(map(float, weights))


def _by_channel(name: str, values: Sequence[float] | None, usual: float, channels: int) -> Tensor:
    given = [usual] * channels if values is None else list(values)
    if len(given) != channels or not all(map(np.isfinite, given)):
        raise BadInput(f"{name} {given} does not fit: give {channels} numbers, one for each channel")
    return torch.tensor(given, dtype=torch.float32, device="cpu").view(1, -1, 1, 1)


def _mixing(net: nn.Module, seed: int | None, channels: int) -> Tensor | None:
    """Weights [inputs, channels, 1, 1] of what brings the channels to those of the network; None where they are."""
    first = next((layer for layer in net.modules() if isinstance(layer, nn.Conv2d)), None)
    inputs = 3 if first is None else first.in_channels
    if channels == inputs:
        return None
    if channels == 1:
        return torch.ones(inputs, 1, 1, 1, device="cpu")
    if seed is None:
        raise BadInput(f"{channels} channels come to the {inputs} of {title(net)} by random weights: give a seed")
    scale = np.float32(float(bngen.unit_scale("normal")) / np.sqrt(channels))
    stream = bngen.stream_number(bngen.MIXING, 0)
    values = bngen.scaled(seed, stream, inputs * channels, "normal", scale)
    return torch.from_numpy(values).view(inputs, channels, 1, 1)
