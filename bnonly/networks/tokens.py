"""Images as rows of tokens, and where on the image each token lies."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from bnonly.networks.parts import Conv2d

EPS = 1e-6
"""Of LayerNorm, in the authors' code of Mixer and ViT."""


def tokens(stem: Conv2d, x: Tensor) -> Tensor:
    """Images [N, 3, H, W] -> one token a patch, row by row: [N, H W / patch^2, width]."""
    return stem(x).flatten(2).transpose(1, 2).contiguous()  # or every LayerNorm would copy its input


def positions(rows: int, columns: int, width: int) -> Tensor:
    """Fixed position embedding, float32 [rows * columns, width]: sines and cosines of columns and rows.

    As in Beyer, Zhai and Kolesnikov (2022), "Better plain ViT baselines": 1/10000^(i / (width/4 - 1)), i = 0 ..;
    sines of the column, its cosines, sines of the row, its cosines. Computed in float64. width: a multiple of 4, 8
    at least.
    """
    quarter = width // 4
    rates = 10000.0 ** -(np.arange(quarter) / (quarter - 1))
    row, column = (axis.reshape(-1, 1) * rates for axis in np.indices((rows, columns)))
    whole = np.concatenate([np.sin(column), np.cos(column), np.sin(row), np.cos(row)], axis=1)
    return torch.from_numpy(whole.astype(np.float32))
