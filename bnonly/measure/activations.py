"""What ReLUs and normalisation layers put out over a set of images: zeros, constants, variances, by channel.

Everything is counted exactly or summed in float64 on the device, in one pass, and read once at the end; memory does
not grow with the number of images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from bnonly.measure.gamma import NORMS
from bnonly.measure.levels import SHARES

_RELUS = {functional.relu, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_}
_AT_ONCE = 1 << 22  # values: copies in float64 stay small beside the activations themselves


class Activations:
    """Within the block, every forward of `net` is counted; what was found is there at any time.

    Use it around an evaluation: `with Activations(net) as seen: evaluate(net, batches)`.

    A ReLU is a call of relu, also in place, by nn.ReLU or by torch's functions. It is named after the normalisation
    layer that ran last before it (`layer1.0.bn2`), further ones after the same layer `NAME:2`, `NAME:3`; one
    before any such layer after the module that calls it. Not seen are ReLUs inside compiled code.

    Channels: of BatchNorm, InstanceNorm and GroupNorm dimension 1; of LayerNorm and RMSNorm the dimensions they
    normalise, flattened, as their gamma has them, so that [N, T, C] has C channels and T positions (a subclass that
    does so to [N, C, H, W] has dimension 1). A ReLU's are in dimension 1, or in the last one after a LayerNorm or
    RMSNorm. All other dimensions but the first are positions. A layer that runs several times in one forward counts
    all its outputs together.
    """

    def __init__(self, net: nn.Module):
        self._net = net
        self._names = {layer: name for name, layer in net.named_modules()}
        self._relus: dict[str, _Zeros] = {}
        self._norms: dict[str, _Moments] = {name: _Moments() for name, m in net.named_modules() if _is_norm(m)}
        self._inside: list[nn.Module] = []
        self._begin()

    def __enter__(self) -> Activations:
        with ExitStack() as stack:
            for layer in self._names:
                stack.callback(layer.register_forward_pre_hook(self._enters).remove)
                stack.callback(layer.register_forward_hook(self._leaves).remove)
            stack.enter_context(_Relus(self._relu))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *why: Any) -> None:
        self._stack.__exit__(*why)

    def _begin(self) -> None:
        self._inside.clear()  # an earlier forward may have ended in an error
        self._calls: dict[str, int] = {}
        self._norm: nn.Module | None = None

    def _enters(self, layer: nn.Module, _: Any) -> None:
        if layer is self._net:
            self._begin()
        self._inside.append(layer)

    def _leaves(self, layer: nn.Module, _: Any, output: Any) -> None:
        self._inside.pop()
        if _is_norm(layer):
            self._norm = layer
            self._norms[self._names[layer]].add(_of_norm(layer, output.detach()))

    def _relu(self, output: Tensor) -> None:
        if not self._inside or output.dim() < 2:
            return
        name = self._names[self._norm or self._inside[-1]]
        self._calls[name] = call = self._calls.get(name, 0) + 1
        name = name if call == 1 else f"{name}:{call}"
        last = self._norm is not None and _normalises_last(self._norm)
        self._relus.setdefault(name, _Zeros()).add(_last(output) if last else _first(output))

    def relus(self) -> dict[str, dict[str, NDArray[np.float64]]]:
        """By ReLU, in the order they were first called: "zero", the share of outputs that are 0 over images and
        positions; "off", the share of images on which a channel is 0 everywhere; "positions", an image's, their mean
        where images differ; each [channels]."""
        return {name: seen.read() for name, seen in self._relus.items()}

    def norms(self) -> dict[str, dict[str, NDArray[np.float64]]]:
        """By normalisation layer that ran, in the network's order: "min", "max", "mean" and "variance" of its output
        over images and positions; each [channels]."""
        return {name: seen.read() for name, seen in self._norms.items() if seen.count}


def relu_zeros(relus: dict[str, dict[str, NDArray[np.float64]]], shares: Sequence[float] = SHARES) -> dict[str, Any]:
    """`Activations.relus` in numbers: {"all": facts, "layers": {name: facts}}, an empty dictionary without ReLUs.

    facts: channels; zero, the share of outputs that are 0, mean over channels, and zero_outputs, over all outputs, of
    which a channel of a large map has more; off, the share of channels that are 0 everywhere on every image;
    mostly_off {share: f}, of those that are so on at least that share of the images.
    """
    if not relus:
        return {}
    together = {key: np.concatenate([seen[key] for seen in relus.values()]) for key in ("zero", "off", "positions")}
    return {"all": _zeros(together, shares), "layers": {name: _zeros(seen, shares) for name, seen in relus.items()}}


def _zeros(seen: dict[str, NDArray[np.float64]], shares: Sequence[float]) -> dict[str, Any]:
    zero, off = seen["zero"], seen["off"]
    return {
        "channels": len(zero),
        "zero": float(zero.mean()),
        "zero_outputs": float(np.average(zero, weights=seen["positions"])),
        "off": float((off == 1).mean()),
        "mostly_off": {f"{share:g}": float((off >= share).mean()) for share in shares},
    }


def dead_channels(norms: dict[str, dict[str, NDArray[np.float64]]]) -> dict[str, Any]:
    """Channels of a normalisation layer's output that are constant: their least and greatest value are equal.

    {"all": {"channels", "dead"}, "layers": {name: the same}}, counts.
    """
    layers = {
        name: {"channels": len(seen["min"]), "dead": int((seen["min"] == seen["max"]).sum())}
        for name, seen in norms.items()
    }
    return {
        "all": {key: sum(counts[key] for counts in layers.values()) for key in ("channels", "dead")},
        "layers": layers,
    }


def effective_channels(norms: dict[str, dict[str, NDArray[np.float64]]]) -> dict[str, Any]:
    """How many channels carry a layer's variance: (sum v)^2 / sum v^2 of the channels' variances v.

    n for n channels of equal variance, 1 where one has it all, 0 where none has any. {"layers": {name: {"channels",
    "effective"}}}. The participation ratio, here of the diagonal of the covariance alone.
    """
    return {
        "layers": {
            name: {"channels": len(v := seen["variance"]), "effective": _ratio(v)} for name, seen in norms.items()
        }
    }


def _ratio(variance: NDArray[np.float64]) -> float:
    largest = variance.max(initial=0)
    if not largest > 0:
        return 0.0
    share = variance / largest  # whose squares cannot overflow or vanish
    return float(share.sum() ** 2 / (share**2).sum())


class _Zeros:
    """Of one ReLU: zeros by channel, and images on which a channel is 0 everywhere."""

    def __init__(self) -> None:
        self._sums: Tensor | int = 0  # int64 [2, C]
        self._values = self._images = 0

    def add(self, output: Tensor) -> None:
        """output: [n, C, P]."""
        count, channels, positions = output.shape
        for part in output.split(max(1, _AT_ONCE // (channels * positions))):
            zeros = (part == 0).sum(2)
            self._sums = self._sums + torch.stack([zeros.sum(0), (zeros == positions).sum(0)])
        self._values += count * positions
        self._images += count

    def read(self) -> dict[str, NDArray[np.float64]]:
        assert isinstance(self._sums, Tensor), "it was called"
        zero, off = self._sums.cpu().numpy()
        positions = np.full(len(zero), self._values / self._images)
        return {"zero": zero / self._values, "off": off / self._images, "positions": positions}


class _Moments:
    """Of one normalisation layer: extremes by channel, and sums of what lies around its very first value."""

    def __init__(self) -> None:
        self.count = 0
        self._least = self._most = self._first = self._sums = torch.empty(0)

    def add(self, output: Tensor) -> None:
        """output: [n, C, P]."""
        count, channels, positions = output.shape
        if not self.count and count:
            self._first = output[0, :, 0].double()  # sums around it are exactly 0 where a channel is constant
            self._least = self._most = output[0, :, 0]
            self._sums = self._first.new_zeros(2, channels)
        for part in output.split(max(1, _AT_ONCE // (channels * positions))):
            self._least = torch.minimum(self._least, part.amin((0, 2)))
            self._most = torch.maximum(self._most, part.amax((0, 2)))
            around = part.double() - self._first[:, None]
            self._sums = self._sums + torch.stack([around.sum((0, 2)), around.square_().sum((0, 2))])
        self.count += count * positions

    def read(self) -> dict[str, NDArray[np.float64]]:
        sums, squares = (self._sums / self.count).cpu().numpy()
        extremes = {"min": self._least, "max": self._most, "mean": self._first}
        found = {name: value.double().cpu().numpy() for name, value in extremes.items()}
        found["mean"] = found["mean"] + sums
        return found | {"variance": np.maximum(squares - sums**2, 0)}


class _Relus(TorchFunctionMode):
    """Hands every ReLU's output on, right after the call: what is done to it in place comes later."""

    def __init__(self, seen: Callable[[Tensor], None]):
        super().__init__()
        self._seen = seen

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if func in _RELUS:
            self._seen(output.detach())
        return output


def _is_norm(layer: nn.Module) -> bool:
    return isinstance(layer, NORMS)


def _normalises_last(layer: nn.Module) -> bool:
    return isinstance(layer, (nn.LayerNorm, nn.RMSNorm))


def _of_norm(layer: Any, output: Tensor) -> Tensor:
    """A norm layer's output as [n, C, P]."""
    if not _normalises_last(layer):
        return _first(output)
    shape = tuple(layer.normalized_shape)
    own = type(layer).forward not in (nn.LayerNorm.forward, nn.RMSNorm.forward)
    if own and output.dim() == 4 and output.shape[1:2] == shape:
        return _first(output)
    return output.reshape(len(output), -1, prod(shape)).transpose(1, 2)


def _first(output: Tensor) -> Tensor:
    return output.reshape(len(output), output.shape[1], -1)


def _last(output: Tensor) -> Tensor:
    return output.reshape(len(output), -1, output.shape[-1]).transpose(1, 2)
