"""Dead channels removed exactly, and BatchNorm folded into the convolutions.

A channel whose gamma is 0 is the constant beta. Constants are carried through ReLUs, convolutions, pools, additions
and means as far as they stay constants; what depends on no image is left out, and so is what only that had needed.
Behind zero padding a constant is none at the borders; there all constants of a convolution's input become one channel
of ones, which is exact at any resolution and stride.
"""

from __future__ import annotations

import torch
from torch import fx, nn

from bnonly.deploy.build import Build
from bnonly.deploy.trace import traced


def compact(net: nn.Module, dtype: torch.dtype | None = None) -> fx.GraphModule:
    """The same function of normalised images [N, 3, H, W] without its dead channels, at any H and W.

    net: in eval mode, its BatchNorms behind convolutions or alone; it stays as it is. dtype: of the result, the
    network's own unless given. All sums are taken in float64 and rounded once.
    Raises BadInput, in a sentence, for a network that trains or does what is not known here.
    """
    return _rewritten(net, dtype, remove=True)


def folded(net: nn.Module, dtype: torch.dtype | None = None) -> fx.GraphModule:
    """The network with all its channels and BatchNorm folded in; otherwise as `compact`."""
    return _rewritten(net, dtype, remove=False)


def _rewritten(net: nn.Module, dtype: torch.dtype | None, *, remove: bool) -> fx.GraphModule:
    with torch.no_grad():
        operations = traced(net)
        first = next(net.parameters())
        output = operations[-1]
        output.live[:] = True
        if remove:
            for operation in operations:
                operation.settle()
            for operation in reversed(operations):
                operation.demand()
        else:
            for operation in operations:
                operation.live[:] = True
        build = Build(first.device, dtype or first.dtype)
        for operation in operations:
            build.emit(operation)
        return build.finished(build.whole(output), "Compact" if remove else "Folded")
