"""Functions of feature maps: the Gram matrix, and smoothing by softmax."""

from __future__ import annotations

import torch
from torch import Tensor

from bnonly.errors import BadInput


def gram(maps: Tensor) -> Tensor:
    """[N, C, ...] -> [N, C, C]: products of channels, summed over positions and divided by C times positions.

    As Johnson et al. (ECCV 2016), equation 3. Raises BadInput for features without positions.
    """
    if maps.dim() < 3:
        raise BadInput(f"features of {list(maps.shape)} have no positions, so no Gram matrix: name another layer")
    flat = maps.flatten(2)
    return flat @ flat.transpose(1, 2) / (flat.shape[1] * flat.shape[2])


def smoothed(maps: Tensor, temperature: float = 1.0) -> Tensor:
    """[N, C, ...] -> the same shape: exp(x / temperature), divided by its sum over all channels and positions.

    Wang, Li and Vasconcelos (CVPR 2021). One softmax for all of an image's features: they sum to 1.
    """
    return torch.softmax(maps.flatten(1) / temperature, 1).view_as(maps)
