"""The part of a self-inflating ONNX model that makes its parameters: some grown, some stored, some mixed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bnonly.deploy.generator import BLOCK, DOMAIN, function, functions
from bnonly.randomness.start import Weights

if TYPE_CHECKING:
    from onnx import FunctionProto, NodeProto, TensorProto

__all__ = ["DOMAIN", "Growth"]

Floats = NDArray[np.float32]

_MIXING = {
    # BatchNorm's scale, one a channel, into the weight of the layer before it.
    "Scaled": """Scaled <shape> (weight, gain) => (scaled) {
        shape = Constant <value_ints: ints = @shape> ()
        standing = Reshape (gain, shape)
        scaled = Mul (weight, standing)
    }""",
    # The filters that were drawn for the turn-th time.
    "Redrawn": """Redrawn <turn> (weight, again, rounds) => (mixed) {
        turn = Constant <value_int: int = @turn> ()
        count = Cast <to = 7> (rounds)
        own = Equal (count, turn)
        mixed = Where (own, again, weight)
    }""",
    # Trained scalars, some a channel, at their places in the channel.
    "Placed": """Placed <rows, shape> (weight, places, values) => (mixed) {
        rows = Constant <value_ints: ints = @rows> ()
        shape = Constant <value_ints: ints = @shape> ()
        flat = Reshape (weight, rows)
        new = Reshape (values, rows)
        where = Cast <to = 7> (places)
        put = ScatterElements <axis = 1> (flat, where, new)
        mixed = Reshape (put, shape)
    }""",
}


class Growth:
    """Parameters by name, one after another; then the nodes, constants and functions that make them.

    seed: 0 <= seed < 2^128. dist: of everything that grows. Stored numbers lie in two tensors: `half` takes what
    float16 holds without loss, `single` the rest.
    """

    def __init__(self, seed: int, dist: Weights) -> None:
        self._seed = seed
        self._dist: Weights = dist
        self._blocks: list[int] = []
        self._streams: list[int] = []
        self._stored: dict[str, list[tuple[str, Floats]]] = {"half": [], "single": []}
        self._whole: list[TensorProto] = []
        self._nodes: list[NodeProto] = []

    def weight(self, name: str, stream: int, shape: tuple[int, ...], scale: np.float32) -> None:
        """A stream's first numbers times scale, float32."""
        size, begin = int(np.prod(shape)), BLOCK * sum(self._blocks)
        self._blocks.append(-(-size // BLOCK))
        self._streams.append(stream)
        self._call("Grow", ["z"], name, begin=[begin], end=[begin + size], shape=shape, scale=float(scale))

    def store(self, name: str, values: Floats) -> None:
        """Numbers of any shape as they are."""
        flat = name if values.ndim == 1 else f"{name}, flat"
        with np.errstate(over="ignore"):
            exact = np.array_equal(values.astype(np.float16).astype(np.float32), values)
        self._stored["half" if exact else "single"].append((flat, values.reshape(-1)))
        if flat != name:
            shape = self._constant(f"{name}, shape", np.array(values.shape, np.int64))
            self._node("Reshape", [flat, shape], [name])

    def scaled(self, name: str, weight: str, gain: Floats, dimensions: int) -> None:
        """A weight times gain, float32 [channels]."""
        self.store(f"{name}, gain", gain)
        self._call("Scaled", [weight, f"{name}, gain"], name, shape=[-1] + [1] * (dimensions - 1))

    def redrawn(self, name: str, weight: str, again: str, rounds: NDArray[np.uint8], turn: int) -> None:
        """A weight [filters, ...], in `again` where rounds [filters] say so."""
        held = self._constant(f"{name}, rounds", rounds.reshape(-1, 1, 1, 1))
        self._call("Redrawn", [weight, again, held], name, turn=turn)

    def placed(self, name: str, weight: str, places: NDArray[np.int64], values: Floats) -> None:
        """A weight in which those of the values [channels, ...] are put that stand at the flat `places`, in order."""
        rows = len(values)
        inside = places.reshape(rows, -1) % (values.size // rows)
        small = np.uint16 if values.size // rows <= 1 << 16 else np.int32
        held = self._constant(f"{name}, places", inside.astype(small))
        self.store(f"{name}, placed", values.reshape(-1)[places])
        self._call("Placed", [weight, held, f"{name}, placed"], name, rows=[rows, -1], shape=values.shape)

    def nodes(self) -> list[NodeProto]:
        """In an order in which each comes after what it needs."""
        asked, self._nodes = self._nodes, []
        if self._blocks:
            self._call("Philox", ["seed", "blocks", "streams"], "bits")
            self._call(self._dist.title(), ["bits"], "z")
        for kind, parts in self._stored.items():
            if parts:
                if kind == "half":
                    self._node("Cast", ["half"], ["half, wide"], to=1)
                source = "half, wide" if kind == "half" else kind
                self._node("Split", [source, f"{kind}, sizes"], [name for name, _ in parts], axis=0)
        made, self._nodes = [*self._nodes, *asked], asked
        return made

    def constants(self) -> list[TensorProto]:
        known = dict[str, NDArray[Any]]()
        if self._blocks:
            known["seed"] = np.array([[self._seed >> 64], [self._seed & ((1 << 64) - 1)]], np.uint64)
            known["blocks"] = np.array(self._blocks, np.int64)
            known["streams"] = np.array(self._streams, np.int64)
        for kind, parts in self._stored.items():
            if parts:
                whole = np.concatenate([values for _, values in parts])
                known[kind] = whole.astype(np.float16) if kind == "half" else whole
                known[f"{kind}, sizes"] = np.array([len(values) for _, values in parts], np.int64)
        return [*(_tensor(name, values) for name, values in known.items()), *self._whole]

    def functions(self) -> list[FunctionProto]:
        called = {node.op_type for node in self._nodes}
        mixing = [function(text) for name, text in _MIXING.items() if name in called]
        return [*(functions(self._dist) if self._blocks else []), *mixing]

    def _constant(self, name: str, values: NDArray[Any]) -> str:
        self._whole.append(_tensor(name, values))
        return name

    def _call(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> None:
        self._node(kind, inputs, [output], domain=DOMAIN, **attributes)

    def _node(self, kind: str, inputs: list[str], outputs: list[str], **attributes: Any) -> None:
        from onnx import helper

        self._nodes.append(helper.make_node(kind, inputs, outputs, **attributes))


def _tensor(name: str, values: NDArray[Any]) -> TensorProto:
    from onnx import numpy_helper

    return numpy_helper.from_array(values, name)
