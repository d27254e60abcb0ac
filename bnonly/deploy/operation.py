"""What every operation of a network says of itself, so that dead channels can be found and left out.

A channel is constant where its value is one number at every place of every image. Constants go forwards (`settle`),
needs go backwards (`demand`), and what is left is written as a new graph (`emit`). All numbers are float64.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, fx, nn

from bnonly.deploy.parts import Extend, Shift
from bnonly.deploy.window import Windows

if TYPE_CHECKING:
    from bnonly.deploy.build import Build


class Operation:
    """One step of a network and its result: [N, channels, H, W], or [N, channels] where `windows` is None.

    constant: bool [channels]. value: float64 [channels], that of the constant ones, else 0. live: bool [channels],
    what later operations need. windows: from the images' size to the result's. users: how many read the result.
    flattened: the result has several features a channel, [N, channels * some].
    """

    def __init__(
        self,
        name: str,
        sources: tuple[Operation, ...],
        channels: int,
        windows: Windows | None,
        flattened: bool = False,
    ) -> None:
        self.name, self.sources, self.channels = name, sources, channels
        self.windows, self.flattened = windows, flattened
        self.constant = torch.zeros(channels, dtype=torch.bool)
        self.value = torch.zeros(channels, dtype=torch.float64)
        self.live = torch.zeros(channels, dtype=torch.bool)
        self.users = 0

    @property
    def kept(self) -> Tensor:
        """Which channels the new graph computes, int64 [K], ascending."""
        return (self.live & ~self.constant).nonzero().flatten()

    def settle(self) -> None:
        """Fill in `constant` and `value` from those of the sources."""
        raise NotImplementedError

    def demand(self) -> None:
        """Mark as live, in the sources, what the kept channels are made of. All users have done so before."""
        for source in self.sources:
            source.live[self.kept] = True

    def emit(self, build: Build) -> fx.Node:
        """Write the operation for its kept channels (there are some): the result has these alone, in their order."""
        raise NotImplementedError

    def absorb(self, shift: Tensor) -> bool:
        """Add `shift`, float64 [channels], to the result if that costs nothing; whether it was done."""
        return False

    def are_constant(self, constant: Tensor, value: Tensor) -> None:
        self.constant, self.value = constant.clone(), torch.where(constant, value, 0.0)


class Images(Operation):
    """The network's input, which keeps its channels whoever needs them."""

    def __init__(self, name: str, channels: int) -> None:
        super().__init__(name, (), channels, ())

    @property
    def kept(self) -> Tensor:
        return torch.arange(self.channels)

    def settle(self) -> None:
        pass

    def emit(self, build: Build) -> fx.Node:
        return build.images


class Channelwise(Operation):
    """What treats every channel alike and by itself: ReLU, pools, means.

    maps: what becomes of a constant, for which the module is asked; None where constants stay as they are.
    """

    def __init__(
        self,
        name: str,
        source: Operation,
        module: nn.Module,
        windows: Windows | None,
        *,
        maps: bool = False,
        flattened: bool = False,
    ) -> None:
        super().__init__(name, (source,), source.channels, windows, flattened)
        self.module, self.maps = module, maps

    def settle(self) -> None:
        (source,) = self.sources
        self.are_constant(source.constant, self.module(source.value) if self.maps else source.value)

    def emit(self, build: Build) -> fx.Node:
        before = build.rows(self.sources[0], self.kept)
        if isinstance(self.module, nn.ReLU) and before in build.rectified:
            return before  # a branch went whole, and with it the addition between two ReLUs
        after = build.call(self.name, self.module, before)
        if isinstance(self.module, nn.ReLU):
            build.rectified.add(after)
        return after


class Addition(Operation):
    """The sum of two results of one shape. Each side computes only the channels in which it is not constant.

    shift: float64 [channels], what one side's constants add to channels that the other computes.
    """

    def __init__(self, name: str, sources: tuple[Operation, Operation]) -> None:
        super().__init__(name, sources, sources[0].channels, sources[0].windows)
        self.shift = torch.zeros(self.channels, dtype=torch.float64)

    def settle(self) -> None:
        left, right = self.sources
        self.are_constant(left.constant & right.constant, left.value + right.value)

    def demand(self) -> None:
        super().demand()
        kept = torch.zeros_like(self.constant)
        kept[self.kept] = True
        left, right = self.sources
        for side, other in ((left, right), (right, left)):
            # One side's constant, where the other is computed: into that one's bias if nobody else reads it.
            shift = torch.where(kept & other.constant, other.value, 0.0)
            if side.users > 1 or not side.absorb(shift):
                self.shift += shift

    def emit(self, build: Build) -> fx.Node:
        kept, nodes = self.kept, []
        for number, side in enumerate(self.sources):
            own = kept[~side.constant[kept]]
            if not len(own):
                continue  # constant as a whole
            node = build.rows(side, own)
            if len(own) < len(kept):
                spread = Extend.between(own, kept, self.shift[kept])
                node = build.call(f"{self.name}_side{number}", spread, node)
            nodes.append(node)
        if len(nodes) == 2:
            return build.add(*nodes)
        return build.call(self.name, Shift(self.shift[kept]), nodes[0]) if self.shift[kept].any() else nodes[0]
