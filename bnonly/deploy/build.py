"""The new graph while it is written, operation by operation."""

from __future__ import annotations

import operator

import torch
from torch import Tensor, fx, nn

from bnonly.deploy.operation import Operation
from bnonly.deploy.parts import Constant, Extend, Rows
from bnonly.deploy.window import Windows


class Build:
    """A torch.fx graph and its modules, whose numbers are rounded once, to `dtype`, when they are put in.

    rectified: nodes that come out of a ReLU.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self.device, self.dtype = device, dtype
        self.graph = fx.Graph()
        self.images = self.graph.placeholder("images")
        self.rectified: set[fx.Node] = set()
        self._modules: dict[str, nn.Module] = {}
        self._nodes: dict[Operation, fx.Node] = {}
        self._extended: dict[Operation | Windows, fx.Node] = {}

    def emit(self, operation: Operation) -> None:
        """Write an operation, or nothing where none of its channels is kept."""
        if len(operation.kept):
            self._nodes[operation] = operation.emit(self)

    def call(self, name: str, module: nn.Module, *inputs: fx.Node) -> fx.Node:
        """A node that calls the module, which gets this name or, if that is taken, the like."""
        free, count = name, 1
        while free in self._modules:
            free, count = f"{name}_{count}", count + 1
        self._modules[free] = module.to(self.device, self.dtype).requires_grad_(False).eval()
        return self.graph.call_module(free, inputs)

    def add(self, left: fx.Node, right: fx.Node) -> fx.Node:
        return self.graph.call_function(operator.add, (left, right))

    def rows(self, operation: Operation, channels: Tensor) -> fx.Node:
        """The operation's result of these channels alone, all of which it keeps."""
        node = self._nodes[operation]
        if len(channels) == len(operation.kept):
            return node
        return self.call(f"{operation.name}_rows", Rows(torch.searchsorted(operation.kept, channels)), node)

    def with_ones(self, operation: Operation) -> fx.Node:
        """The operation's kept channels, and behind them one that is 1 everywhere."""
        key = operation if operation in self._nodes else operation.windows
        assert key is not None
        if key not in self._extended:
            ones = torch.ones(1)
            if isinstance(key, Operation):
                node = self.call(f"{operation.name}_ones", Extend(ones), self._nodes[operation])
            else:
                node = self.call("ones", Constant(ones, key), self.images)
            self._extended[key] = node
        return self._extended[key]

    def whole(self, operation: Operation) -> fx.Node:
        """The operation's result with all its channels, constant ones too."""
        if operation not in self._nodes:
            return self.call(f"{operation.name}_whole", Constant(operation.value, operation.windows), self.images)
        node, kept = self._nodes[operation], operation.kept
        if len(kept) == operation.channels:
            return node
        everything = torch.arange(operation.channels)
        return self.call(f"{operation.name}_whole", Extend.between(kept, everything, operation.value), node)

    def finished(self, output: fx.Node, title: str) -> fx.GraphModule:
        self.graph.output(output)
        return fx.GraphModule(self._modules, self.graph, title).eval()
