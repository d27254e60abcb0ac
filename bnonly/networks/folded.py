"""BatchNorm of which only y = a x + b is left: what a folded seed+BN file brings back."""

from __future__ import annotations

from functools import cache

import numpy as np
from torch import Tensor, nn
from torch.nn.functional import batch_norm

from bnonly.networks.parts import BatchNorm2d


class FoldedBatchNorm2d(BatchNorm2d):
    """y = weight x + bias in both modes. Gamma, beta and the running statistics cannot be told apart any more.

    running_mean is 0, running_var 1 - eps: an ordinary BatchNorm with this state is the same function in eval mode.
    """

    def forward(self, input: Tensor) -> Tensor:
        """[N, channels, H, W] -> the same shape."""
        return batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)


def is_folded(net: nn.Module) -> bool:
    """Whether gamma is gone from the network, since it was stored in folded form."""
    return any(isinstance(layer, FoldedBatchNorm2d) for layer in net.modules())


def fold(norm: nn.BatchNorm2d) -> None:
    """Make a layer whose weight and bias are already a and b a folded one, in place."""
    assert norm.running_mean is not None and norm.running_var is not None
    norm.__class__ = FoldedBatchNorm2d
    norm.running_mean.zero_()
    norm.running_var.fill_(unit_variance(norm.eps))


@cache
def unit_variance(eps: float) -> float:
    """The float32 v, next to 1 - eps, for which v + eps is 1 in float32: such a layer divides by exactly 1."""
    near = np.float32(1 - eps)
    for value in (near, np.nextafter(near, np.float32(2)), np.nextafter(near, np.float32(0))):
        if value + np.float32(eps) == 1:
            return float(value)
    raise AssertionError(f"no float32 v with v + {eps} = 1")
