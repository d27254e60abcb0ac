"""Style transfer: a picture with one picture's features and another one's Gram matrices (Gatys et al., CVPR 2016).

With features smoothed by softmax as Wang, Li and Vasconcelos propose for residual networks (SWAG, CVPR 2021), for
random weights too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from bnonly.data.colours import IMAGENET_MEAN, IMAGENET_STD
from bnonly.errors import BadInput, TrainingFailed
from bnonly.features.layers import checked, features
from bnonly.features.maps import gram, smoothed
from bnonly.features.networks import stage_ends
from bnonly.progress import track

Smoothing = Literal["none", "softmax", "alpha"]
BLOCK = 10  # iterations of L-BFGS between two looks at the loss


@dataclass(frozen=True)
class How:
    """What is compared, and how much it counts.

    layers: whose Gram matrices are the style; empty: the end of every stage. content: the layer whose features are
    the content; None: the last but one of the layers.
    smooth: "softmax", exp(x / temperature) over its sum over all channels and positions (SWAG, with temperature 1);
    "alpha", features of the deeper half of the layers times alpha. The latter is what SWAG's released code does in
    the place of softmax, with alpha 0.001; since a layer's style term goes with the fourth power of its
    features, and 0.001^4 is 1e-12, it says no more than that the deeper layers do not count.
    style, content_weight: weights of the two terms.
    relative: content term divided by the variance of the content's features over positions, each layer's style term
    by its value for a Gram matrix of zeros, so that weights mean the same for every network and smoothing, alpha's
    factors apart; the style term is the mean over layers. Without it as SWAG writes them: 1/2 |F - F_c|^2, and the
    sum over layers of 1/4 |G - G_s|^2 with G divided by channels times positions.
    """

    layers: tuple[str, ...] = ()
    content: str | None = None
    smooth: Smoothing = "none"
    temperature: float = 1.0
    alpha: float = 0.001
    style: float = 10.0
    content_weight: float = 1.0
    relative: bool = True

    def __post_init__(self) -> None:
        if self.smooth not in ("none", "softmax", "alpha"):
            raise BadInput(f"smooth {self.smooth!r} is unknown: use one of none, softmax, alpha")
        for name in ("temperature", "alpha"):
            if not (math.isfinite(value := getattr(self, name)) and value > 0):
                raise BadInput(f"{name} {value} is impossible: give a number greater than 0")
        for name in ("style", "content_weight"):
            if not (math.isfinite(value := getattr(self, name)) and value >= 0):
                raise BadInput(f"{name} {value} is impossible: give a number from 0 up")


class Objective:
    """The loss of a picture: how far it is from one picture's content and another one's style. Made for one net."""

    def __init__(self, net: nn.Module, content: Tensor, style: Tensor, how: How):
        """net: frozen, in eval mode. content, style: [1, 3, H, W] in [0, 1], of any two sizes. Raises BadInput."""
        self.net, self.how = net, how
        self.layers = checked(net, how.layers or stage_ends(net))
        self.content_layer = how.content or self.layers[max(0, len(self.layers) - 2)]
        self._asked = tuple(dict.fromkeys((*self.layers, *checked(net, self.content_layer))))
        with torch.no_grad():
            own, theirs = self._features(content), self._features(style)
            self._content = own[self.content_layer]
            self._grams = {name: gram(theirs[name]) for name in self.layers}
            self._scales = self._of_scales()

    def __call__(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """[1, 3, H, W], as large as the content -> the content term and the style term, without their weights."""
        found = self._features(picture)
        squares = (found[self.content_layer] - self._content).square()
        if not self.how.relative:
            styles = [(gram(found[name]) - self._grams[name]).square().sum() / 4 for name in self.layers]
            return squares.sum() / 2, torch.stack(styles).sum()
        content, *scales = self._scales
        styles = [
            self._share(place) * (gram(found[name]) - self._grams[name]).square().sum() / scale
            for place, (name, scale) in enumerate(zip(self.layers, scales, strict=True))
        ]
        return squares.mean() / content, torch.stack(styles).mean()

    def total(self, picture: Tensor) -> Tensor:
        """The weighted sum of the two."""
        content, style = self(picture)
        return self.how.content_weight * content + self.how.style * style

    def _features(self, picture: Tensor) -> dict[str, Tensor]:
        found = features(self.net, self._asked, normalised(picture))
        if self.how.smooth == "softmax":
            return {name: smoothed(maps, self.how.temperature) for name, maps in found.items()}
        if self.how.smooth == "alpha" and not self.how.relative:
            deep = self.layers[(len(self.layers) + 1) // 2 :]
            return {name: self.how.alpha * maps if name in deep else maps for name, maps in found.items()}
        return found

    def _share(self, place: int) -> float:
        """What alpha leaves of a layer's style term."""
        deep = self.how.smooth == "alpha" and place >= (len(self.layers) + 1) // 2
        return self.how.alpha**4 if deep else 1.0

    def _of_scales(self) -> list[Tensor]:
        """The content's and each layer's. Raises BadInput where features are 0, or the same, everywhere."""
        if not self.how.relative:
            return []
        around = self._content - self._content.mean((2, 3), keepdim=True)
        named = [(self.content_layer, around.square().mean())]
        named += [(name, grams.square().sum()) for name, grams in self._grams.items()]
        for name, scale in named:
            if not (scale.isfinite() and scale > 0):
                raise BadInput(
                    f"layer {name}: features that are {'the same everywhere' if scale == 0 else 'no numbers'} can be "
                    "compared with none: take other layers, larger pictures, or settle the network's BatchNorms"
                )
        return [scale for _, scale in named]


def normalised(pictures: Tensor) -> Tensor:
    """Pictures [N, 3, H, W] in [0, 1] by ImageNet's mean and deviation, as networks for pictures take them."""
    mean, std = (pictures.new_tensor(values).view(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (pictures - mean) / std


def transfer(
    net: nn.Module, content: Tensor, style: Tensor, how: How | None = None, steps: int = 200, *, quiet: bool = False
) -> tuple[Tensor, list[float]]:
    """The picture after so many iterations of L-BFGS from the content on; the loss before each ten, and at the end.

    content, style: [1, 3, H, W] in [0, 1] on the network's device. The picture is the content's size, brought to
    [0, 1] at the end. Raises BadInput for what cannot be compared, TrainingFailed where the loss is no number.
    """
    if steps < 0:
        raise BadInput(f"{steps} steps are impossible: give a number from 0 up")
    for what, picture in (("content", content), ("style", style)):
        if picture.dim() != 4 or picture.shape[:2] != (1, 3):
            raise BadInput(f"the {what} {list(picture.shape)} is no picture: give [1, 3, H, W]")
    objective = Objective(net, content, style, how or How())
    picture = content.clone().requires_grad_()
    blocks = [min(BLOCK, steps - done) for done in range(0, steps, BLOCK)]
    lbfgs = torch.optim.LBFGS(
        [picture], history_size=20, tolerance_grad=0.0, tolerance_change=0.0, line_search_fn="strong_wolfe"
    )
    losses: list[float] = []

    def closure() -> Tensor:
        lbfgs.zero_grad()
        loss = objective.total(picture)
        loss.backward()
        return loss

    for count in track(blocks, len(blocks), f"painting, {steps} steps", quiet=quiet):
        lbfgs.param_groups[0] |= {"max_iter": count, "max_eval": 2 * count + 5}
        losses.append(_number(lbfgs.step(closure)))
    with torch.no_grad():
        painted = picture.detach().clamp(0, 1)
        losses.append(_number(objective.total(painted)))
    return painted, losses


def _number(loss: Tensor) -> float:
    value = float(loss.detach())
    if not math.isfinite(value):
        raise TrainingFailed("the loss is no number: take other layers, or settle the network's BatchNorms")
    return value
