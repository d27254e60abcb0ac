"""The least that a step must compute and move, counted from shapes, and so the least time it can take.

Operations: multiply-adds of convolutions and linear layers, forward; backward for their inputs, wherever something
trains before them; backward for their weights, only where these train (of random:K, the K scalars of each channel).
Everything else (BatchNorm, ReLU, sums, the optimiser) is taken to cost nothing.

Bytes: as if BatchNorm, ReLU and sums were done while a convolution's output passes by, and nothing stayed in a cache
from one layer to the next. Forward, each output is written once and read once; backward, where its gradient is
needed, it is read once more, and the gradient written once and read once. The images are read once, weights once a
pass; gradients of weights are written once. It is a bound and no promise.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

SIZES = {"fp32": 4, "bf16": 2}


@dataclass(frozen=True)
class Needs:
    """Multiply-adds and values, read or written, of one image; weights: values a step."""

    forward: int
    for_inputs: int
    for_weights: int
    values_forward: int
    values_backward: int
    weights: int

    @property
    def multiply_adds(self) -> int:
        """Of an image."""
        return self.forward + self.for_inputs + self.for_weights

    @property
    def flops(self) -> int:
        """Of an image, a multiply-add being two."""
        return 2 * self.multiply_adds

    def bytes(self, precision: str, batch: int) -> float:
        """Of an image, as one of a batch: activations in the precision, weights float32."""
        values = self.values_forward + self.values_backward
        return values * SIZES[precision] + self.weights * SIZES["fp32"] / batch

    def plain(self) -> dict[str, int]:
        return asdict(self)

    @classmethod
    def of(cls, plain: dict[str, Any]) -> Needs:
        return cls(**{each.name: plain[each.name] for each in fields(cls)})
