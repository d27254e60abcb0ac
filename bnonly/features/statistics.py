"""What features look like, layer by layer: their maximum and entropy, and their Gram matrices'.

Wang, Li and Vasconcelos (CVPR 2021) tell networks that suit style transfer from those that do not by these four: in
residual networks maxima rise and entropies fall with depth [2nd].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bnonly.features.layers import features
from bnonly.features.maps import gram, smoothed


def statistics(
    net: nn.Module, layers: Sequence[str], inputs: Tensor, temperature: float | None = None
) -> list[dict[str, Any]]:
    """A row a layer, means over the inputs [N, C, H, W]: layer, channels, positions, max, entropy, gram_max and
    gram_entropy. temperature: of a softmax that smooths the features first; None for features as they are.
    """
    rows = []
    with torch.no_grad():
        for name, maps in features(net, layers, inputs).items():
            maps = maps.double()
            maps = maps if temperature is None else smoothed(maps, temperature)
            grams = gram(maps)
            rows.append(
                {
                    "layer": name,
                    "channels": maps.shape[1],
                    "positions": maps[0, 0].numel(),
                    "max": float(maps.flatten(1).amax(1).mean()),
                    "entropy": float(entropy(maps).mean()),
                    "gram_max": float(grams.flatten(1).amax(1).mean()),
                    "gram_entropy": float(entropy(grams).mean()),
                }
            )
    return rows


def entropy(values: Tensor) -> Tensor:
    """[N, ...] -> [N]: the entropy of each one's magnitudes as shares of their sum, over its greatest, log n.

    1 where all are equal, 0 where one has all (or there is none or a single one).
    """
    flat = values.flatten(1).abs().double()
    largest = flat.amax(1, keepdim=True)
    shares = flat / largest.where(largest > 0, 1.0)  # whose sum cannot overflow
    shares = shares / shares.sum(1, keepdim=True).clamp(min=1)
    if flat.shape[1] == 1:
        return flat.new_zeros(len(flat))
    return -torch.xlogy(shares, shares).sum(1) / torch.log(torch.tensor(float(flat.shape[1]), dtype=torch.float64))
