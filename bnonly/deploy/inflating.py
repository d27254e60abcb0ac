"""An ordinary ONNX model made self-inflating: its seeded weights leave the file and are grown from the seed again.

What stays is the seed, what was trained (BatchNorm folded to a scale and a shift a channel, an output layer,
shortcuts, the scalars of random:K with their places), biases, and the graph, in ONNX's standard operators and
functions of them. No weight depends on the images: a runtime that folds constants grows them once, on opening.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bnonly.deploy.growth import DOMAIN, Growth
from bnonly.deploy.shorten import shorten
from bnonly.deploy.trace import traced
from bnonly.deploy.weighted import Weighted
from bnonly.errors import BadInput, ExportFailed
from bnonly.networks import title
from bnonly.randomness import bngen
from bnonly.randomness.entry import Entry
from bnonly.randomness.plan import plan
from bnonly.seedfile.growing import places
from bnonly.seedfile.plan import Plan

if TYPE_CHECKING:
    from onnx import ModelProto

LARGEST = 1 << 22
"""Weights that a file may grow: a runtime keeps all steps of their making at once, about 500 bytes a weight."""


class Inflating:
    """What of a seed+BN file's network grows from its seed, and the rewriting of its ONNX model.

    net: as `seedfile.load` gives it. grown: how many parameters grow. ordinary: the model as it was, in bytes.
    Raises BadInput for a network that `deploy.compact` does not know, and where more than LARGEST weights would grow.
    """

    def __init__(self, net: Any) -> None:
        self._seed, self._start = net.origin.seed, net.origin.start
        self._rounds: dict[str, NDArray[np.uint8]] = getattr(net, "rounds", {})
        self._plan = Plan(tuple(plan(net)), net.trained, bool(self._rounds))
        self._parameters = {name: values.detach().numpy() for name, values in net.named_parameters()}
        # A layer that is called twice has its name in the rewritten graph the first time.
        layers = {f"{op.name}.weight": op for op in reversed(traced(net)) if isinstance(op, Weighted)}
        self._layers = {entry: layers[entry.name] for entry in self._plan.entries if entry.name in layers}
        self.ordinary = b""
        self.grown = sum(entry.size for entry in self._layers if self._turns(entry))
        drawn = sum(entry.size * len(self._turns(entry)) for entry in self._layers)
        if drawn > LARGEST:
            raise BadInput(
                f"{title(net)} would have to grow {drawn:,} weights, and a self-inflating file grows {LARGEST:,} at "
                "most (a runtime needs about 500 bytes of memory for each): leave --self-inflating out"
            )

    def rewrite(self, model: ModelProto) -> None:
        """Make the ONNX model of `compact.folded(net)` self-inflating, in place.

        Raises ExportFailed where onnxruntime does not grow the very weights of the network, to the bit.
        """
        from onnx import TensorProto, helper, numpy_helper

        self.ordinary = model.SerializeToString()
        graph = model.graph
        growth = Growth(self._seed, self._start.weights)
        found = {each.name: each for each in graph.initializer}
        grown = {}
        for entry in self._layers:
            if entry.name in found and tuple(found[entry.name].dims) == entry.shape:
                del found[entry.name]
                grown[entry] = self._weight(growth, entry)
        floats = [each for each in found.values() if each.data_type == TensorProto.FLOAT]
        for each in floats:
            growth.store(each.name, numpy_helper.to_array(each))
        others = [each for each in found.values() if each not in floats]
        first = growth.nodes()
        parts = {"node": [*first, *graph.node], "initializer": [*growth.constants(), *others]}
        for field, values in parts.items():
            graph.ClearField(field)
            getattr(graph, field).extend(values)
        model.functions.extend(growth.functions())
        model.opset_import.append(helper.make_opsetid(DOMAIN, 1))
        names = shorten(model)
        self._check(model, {entry: names[value] for entry, value in grown.items()}, len(first))

    def _weight(self, growth: Growth, entry: Entry) -> str:
        """Make a layer's weight, with BatchNorm's scale, under its own name; the name it has without the scale."""
        gain = self._layers[entry].scale.float().numpy()
        scaled = bool((gain != 1).any())
        own = f"{entry.name}, unscaled" if scaled else entry.name
        turns = self._turns(entry)
        if turns:
            steps = [f"{entry.name}, {number}" for number in range(len(turns))]
            mixed = bool(self._plan.source(entry) == "seed+file")
            steps[-1] = f"{entry.name}, drawn" if mixed else own
            fan = entry.fan_in if self._start.scale == "fan_in" else entry.fan_out
            scale = bngen.he_scale(fan, self._start.weights)
            before = ""
            for turn, name in zip(turns, steps, strict=True):
                stream = bngen.stream_number(bngen.INITIAL, entry.index, turn)
                if not turn:
                    growth.weight(name, stream, entry.shape, scale)
                else:
                    growth.weight(f"{name}, again", stream, entry.shape, scale)
                    growth.redrawn(name, before, f"{name}, again", self._rounds[entry.name], turn)
                before = name
            if mixed:
                where = places(entry, self._seed, self._plan.scalars)
                growth.placed(own, before, where, self._parameters[entry.name])
        else:
            growth.store(own, self._parameters[entry.name])
        if scaled:
            growth.scaled(entry.name, own, gain, len(entry.shape))
        return own

    def _turns(self, entry: Entry) -> list[int]:
        """The rounds from which an entry's filters are drawn; none for what the file stores."""
        if self._plan.source(entry) == "file":
            return []
        own = self._rounds.get(entry.name, np.zeros(0, np.uint8))
        return [0, *np.unique(own[own > 0]).tolist()]

    def _check(self, model: ModelProto, grown: dict[Entry, str], nodes: int) -> None:
        """Run the nodes that grow weights, the first ones, and compare."""
        import onnx
        import onnxruntime

        alone = onnx.ModelProto()
        alone.CopyFrom(model)
        del alone.graph.input[:], alone.graph.output[:], alone.graph.node[nodes:]
        for entry, name in grown.items():
            value = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, entry.shape)
            alone.graph.output.append(value)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        # Run, not folded: the same kernels in a tenth of the memory.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = onnxruntime.InferenceSession(alone.SerializeToString(), options, providers=["CPUExecutionProvider"])
        for entry, got in zip(grown, session.run(None, {}), strict=True):
            if np.asarray(got).tobytes() != self._parameters[entry.name].tobytes():
                raise ExportFailed(
                    f"onnxruntime {onnxruntime.__version__} does not grow the weights of {entry.name} that seed "
                    f"{self._seed} gives, so no file was written; please report this with the machine's type"
                )
