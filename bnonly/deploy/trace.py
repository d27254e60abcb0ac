"""A network read as a list of operations that are known here, through torch.fx."""

from __future__ import annotations

import operator
from copy import deepcopy
from typing import Any, NoReturn

import torch
from torch import fx, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from bnonly.deploy.operation import Addition, Channelwise, Images, Operation
from bnonly.deploy.parts import Mean
from bnonly.deploy.weighted import Convolution, Grouped, Linear, Norm, Weighted, folded_norm
from bnonly.deploy.window import Fixed, pair, sliding, subsampling
from bnonly.errors import BadInput
from bnonly.networks import title
from bnonly.networks.blur import BlurPool, EveryMaximum

# One number in, one number out, wherever it stands.
_POINTWISE = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.SiLU, nn.GELU, nn.Hardswish, nn.Tanh, nn.Sigmoid)
_SILENT = (nn.Identity, nn.Dropout, nn.Dropout2d)
_RELU = (torch.relu, functional.relu, "relu", "relu_", torch.relu_)
_ADD = (operator.add, operator.iadd, torch.add, "add", "add_")
_MEAN = (torch.mean, "mean")
_OVER_SPACE = ((2, 3), (3, 2), (-2, -1), (-1, -2))
_FLATTEN = (torch.flatten, "flatten")
_IN_PLACE = (operator.iadd, torch.relu_, "relu_", "add_")


class _Tracer(fx.Tracer):
    """Stops at layers that are known, and at our GroupNorm, which asks its input what it is."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        whole = _is(m, nn.Conv2d, nn.Linear, _BatchNorm, nn.GroupNorm, BlurPool, EveryMaximum)
        return whole or super().is_leaf_module(m, module_qualified_name)


def _is(layer: nn.Module, *kinds: type[nn.Module]) -> bool:
    """Whether a layer is torch's or ours of such a kind; somebody else's subclass may compute anything."""
    return isinstance(layer, kinds) and type(layer).__module__.startswith(("torch.nn.", "bnonly."))


def traced(net: nn.Module) -> list[Operation]:
    """The operations in an order in which each stands behind its sources; the last one's result is the network's.

    Raises BadInput, in a sentence, for a network in train mode and for what is not known here.
    """
    training = [name for name, module in net.named_modules() if module.training]
    if training:
        raise BadInput(f"{title(net)} is in train mode ({training[0] or 'as a whole'}): call net.eval() first")
    try:
        graph = _Tracer().trace(net)
    except Exception as error:  # whatever a forward does with a value that is not there yet
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadInput(f"{title(net)} cannot be read as a graph of operations ({reason})") from error
    return _Reader(net, graph).operations()


class _Reader:
    """From the graph's nodes to operations."""

    def __init__(self, net: nn.Module, graph: fx.Graph) -> None:
        self.net, self.graph = net, graph
        self.found: dict[fx.Node, Operation] = {}

    def operations(self) -> list[Operation]:
        nodes = list(self.graph.nodes)
        inputs = [node for node in nodes if node.op == "placeholder"]
        if len(inputs) != 1:
            raise BadInput(f"{title(self.net)} takes {len(inputs)} inputs: it must take images alone")
        for node in nodes[:-1]:
            self.found[node] = self._images(node) if node.op == "placeholder" else self._operation(node)
        (result,) = nodes[-1].args
        if not isinstance(result, fx.Node) or self.found[result].flattened:
            self._refuse(nodes[-1], "returns something other than one tensor of logits")
        needed = {self.found[result]}
        for operation in (order := list(dict.fromkeys(self.found.values())))[::-1]:
            if operation in needed:
                needed.update(operation.sources)
                for source in operation.sources:
                    source.users += 1
        return [operation for operation in order if operation in needed]

    def _images(self, node: fx.Node) -> Images:
        for user in node.users:
            layer = self._layer(user)
            if isinstance(layer, nn.Conv2d):
                return Images(node.name, layer.in_channels)
        self._refuse(node, "does not go into a convolution first")

    def _layer(self, node: fx.Node) -> nn.Module | None:
        return self.net.get_submodule(str(node.target)) if node.op == "call_module" else None

    def _operation(self, node: fx.Node) -> Operation:
        if node.op not in ("call_module", "call_function", "call_method"):
            self._refuse(node)
        sources = [self._source(node, argument) for argument in node.args if isinstance(argument, fx.Node)]
        if node.target in _IN_PLACE:
            self._alone(node)
        if node.target in _ADD:
            return self._addition(node, sources)
        if len(sources) != 1:
            self._refuse(node)
        (source,) = sources
        if (layer := self._layer(node)) is not None:
            return self._of_layer(node, source, layer)
        if node.target in _RELU:
            return Channelwise(node.name, source, nn.ReLU(), source.windows, maps=True, flattened=source.flattened)
        if node.target in _MEAN:
            return self._mean(node, source)
        if node.target in _FLATTEN:
            start = node.args[1] if len(node.args) > 1 else node.kwargs.get("start_dim", 0)
            if start != 1 or len(node.args) > 2 or "end_dim" in node.kwargs:
                self._refuse(node, "flattens other dimensions than those behind the batch")
            return self._flatten(node.name, source)
        self._refuse(node)

    def _source(self, node: fx.Node, argument: fx.Node) -> Operation:
        if argument not in self.found:
            self._refuse(node)
        return self.found[argument]

    def _of_layer(self, node: fx.Node, source: Operation, layer: nn.Module) -> Operation:
        name = str(node.target)
        spatial = source.windows is not None
        if isinstance(layer, nn.Conv2d) and _is(layer, nn.Conv2d) and spatial:
            self._fits(node, source, layer.in_channels)
            return (Convolution if layer.groups == 1 else Grouped)(name, source, layer)
        if isinstance(layer, nn.Linear) and _is(layer, nn.Linear) and not spatial:
            if layer.in_features % source.channels or (layer.in_features != source.channels and not source.flattened):
                self._refuse(node, f"takes {layer.in_features} features of {source.channels} channels")
            return Linear(name, source, layer)
        if isinstance(layer, _BatchNorm) and _is(layer, _BatchNorm) and not source.flattened:
            return self._norm(node, source, layer)
        if type(layer) in _SILENT:
            return source
        if type(layer) in _POINTWISE:
            module = deepcopy(layer)
            if getattr(layer, "inplace", False):
                self._alone(node)
                vars(module)["inplace"] = False
            return self._alike(name, source, module, maps=True)
        if spatial:
            if isinstance(layer, nn.Flatten) and (layer.start_dim, layer.end_dim) == (1, -1):
                return self._flatten(name, source)
            if pooled := self._pool(name, source, layer):
                return pooled
        self._refuse(node)

    def _alike(self, name: str, source: Operation, module: nn.Module, maps: bool = False) -> Channelwise:
        return Channelwise(name, source, module, source.windows, maps=maps, flattened=source.flattened)

    def _flatten(self, name: str, source: Operation) -> Operation:
        if source.windows is None:
            return source
        single = source.windows[-1:] == (Fixed((1, 1)),)
        return Channelwise(name, source, nn.Flatten(), None, flattened=not single)

    def _mean(self, node: fx.Node, source: Operation) -> Operation:
        named: dict[str, Any] = dict(zip(("input", "dim", "keepdim"), node.args, strict=False)) | node.kwargs
        dims, keepdim = tuple(named.get("dim") or ()), bool(named.get("keepdim", False))
        if source.windows is None or dims not in _OVER_SPACE:
            self._refuse(node, "takes a mean over other dimensions than rows and columns")
        return Channelwise(node.name, source, Mean(keepdim), (Fixed((1, 1)),) if keepdim else None)

    def _pool(self, name: str, source: Operation, layer: nn.Module) -> Operation | None:
        before = source.windows or ()
        if isinstance(layer, nn.AdaptiveAvgPool2d):
            size = layer.output_size
            given = isinstance(size, int) or (isinstance(size, tuple) and None not in size)
            windows = (Fixed(pair(size)),) if given else None
        elif isinstance(layer, nn.MaxPool2d):
            # Dilated, a window may hold nothing but padding, and then its maximum is no constant's.
            windows = None if pair(layer.dilation) != (1, 1) or layer.return_indices else sliding(layer)
        elif isinstance(layer, nn.AvgPool2d):
            windows = None if layer.ceil_mode or pair(layer.padding) != (0, 0) else sliding(layer)
        elif isinstance(layer, BlurPool):
            windows = subsampling(layer.stride)  # borders are reflected, so a constant stays one
        else:
            return None
        return None if windows is None else Channelwise(name, source, deepcopy(layer), (*before, *windows))

    def _norm(self, node: fx.Node, source: Operation, layer: _BatchNorm) -> Operation:
        if layer.running_var is None:
            self._refuse(node, "keeps no running statistics, so that its channels depend on the batch")
        self._fits(node, source, layer.num_features)
        scale, shift = folded_norm(layer)
        if isinstance(source, Weighted) and self._readers(source) == 1:
            source.fold(scale, shift)
            return source
        return Norm(str(node.target), source, scale, shift)

    def _readers(self, operation: Operation) -> int:
        """How many nodes read an operation's result; nodes that it stands for itself do not count."""
        own = {node for node, found in self.found.items() if found is operation}
        return sum(user not in own for node in own for user in node.users)

    def _alone(self, node: fx.Node) -> None:
        if self._readers(self.found[node.all_input_nodes[0]]) > 1:
            self._refuse(node, "changes in place what others read")

    def _addition(self, node: fx.Node, sources: list[Operation]) -> Operation:
        if len(sources) != 2 or node.kwargs or len(node.args) != 2:
            self._refuse(node, "adds something other than two results")
        left, right = sources
        # Of one pixel and many, which torch would add too, it is not known whose size the sum has.
        kinds = {side.windows is not None and [type(w) for w in side.windows].count(Fixed) for side in sources}
        if len(kinds) > 1 or left.flattened or right.flattened:
            self._refuse(node, "adds results of two shapes")
        self._fits(node, left, right.channels)
        return Addition(node.name, (left, right))

    def _fits(self, node: fx.Node, source: Operation, channels: int) -> None:
        if source.channels != channels:
            self._refuse(node, f"meets {source.channels} channels where it needs {channels}")

    def _refuse(self, node: fx.Node, what: str = "") -> NoReturn:
        layer = self._layer(node)
        kind = type(layer).__name__ if layer is not None else getattr(node.target, "__name__", str(node.target))
        name = f" ({node.target})" if layer is not None else ""
        raise BadInput(
            f"{kind}{name} of {title(self.net)} {what or 'is an operation that compaction does not know'}: "
            "known are dense and grouped convolutions, linear layers, BatchNorm in eval mode, pointwise functions, "
            "max-pools, average pools without ceil_mode, means over space, flattening and additions"
        )
