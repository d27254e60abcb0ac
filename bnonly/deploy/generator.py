"""bngen-1 in ONNX's standard operators: model-local functions that grow weights from a seed.

All streams grow in one pass over blocks of four u64, eight 32-bit words: `Blocks` numbers them, `Philox` turns them
into bits, `Normal`, `Uniform` or `Sign` turn bits into the integers z as float32, and `Grow` takes one weight out and
scales it. Integers are uint64 and wrap; a 64x64-bit product's high half is put together from halves that do not. The
numbers equal those of `bnonly.randomness.bngen` to the bit: z is exact, and its scaling rounds once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bnonly.randomness import bngen
from bnonly.randomness.start import Weights

if TYPE_CHECKING:
    from onnx import FunctionProto

DOMAIN = "bnonly"
OPSET = 18
"""The first with bitwise operators."""

BLOCK = 8
"""32-bit words of a block."""

_FUNCTIONS = {
    # Block number in its stream, from 1, and stream, both [2, n], a row of 0 below: counter words c0, c2 and c3, c1.
    "Blocks": """Blocks (blocks, streams) => (e, p) {
        zero = Constant <value_int = 0> ()
        one = Constant <value_int = 1> ()
        column = Constant <value = int64[2, 1] {1, 0}> ()
        flat = Constant <value_ints = [-1]> ()
        ends = CumSum (blocks, zero)
        starts = Sub (ends, blocks)
        count = ReduceSum <keepdims = 0> (blocks)
        size = Reshape (count, flat)
        none = ConstantOfShape <value = int64[1] {0}> (size)
        ones = Sign (blocks)
        begun = ScatterElements (none, starts, ones)
        owners = CumSum (begun, zero)
        owner = Sub (owners, one)
        start = Gather (starts, owner)
        stream = Gather (streams, owner)
        number = Range (zero, count, one)
        before = Sub (number, start)
        place = Add (before, one)
        places = Mul (place, column)
        numbers = Mul (stream, column)
        e = Cast <to = 13> (places)
        p = Cast <to = 13> (numbers)
    }""",
    # e: c0, c2. p: c3, c1. keys: [2, 10], k1 above k0. m: the multipliers of c0 and c2, with their halves m0 and m1.
    "Round": """Round <turn> (e, p, keys, m, m0, m1) => (next, low) {
        mask = Constant <value = uint64 {4294967295}> ()
        half = Constant <value = uint64 {32}> ()
        e0 = BitwiseAnd (e, mask)
        e1 = BitShift <direction = "RIGHT"> (e, half)
        p00 = Mul (e0, m0)
        p10 = Mul (e1, m0)
        p01 = Mul (e0, m1)
        p11 = Mul (e1, m1)
        c = BitShift <direction = "RIGHT"> (p00, half)
        t = Add (p10, c)
        t0 = BitwiseAnd (t, mask)
        t1 = BitShift <direction = "RIGHT"> (t, half)
        u = Add (p01, t0)
        u1 = BitShift <direction = "RIGHT"> (u, half)
        v = Add (p11, t1)
        high = Add (v, u1)
        which = Constant <value_ints: ints = @turn> ()
        key = Gather <axis = 1> (keys, which)
        x = BitwiseXor (high, p)
        y = BitwiseXor (x, key)
        swap = Constant <value_ints = [1, 0]> ()
        next = Gather (y, swap)
        low = Mul (e, m)
    }""",
    # seed: uint64 [2, 1], its high half above its low one. bits: uint64 [4 n], in the order of the stream.
    "Philox": """Philox (seed, blocks, streams) => (bits) {
        m = Constant <value = uint64[2, 1] {15197193596820024467, 14581110107779764567}> ()
        weyl = Constant <value = uint64[2, 1] {13503953896175478587, 11400714819323198485}> ()
        turns = Constant <value = uint64[1, 10] {0, 1, 2, 3, 4, 5, 6, 7, 8, 9}> ()
        mask = Constant <value = uint64 {4294967295}> ()
        half = Constant <value = uint64 {32}> ()
        m0 = BitwiseAnd (m, mask)
        m1 = BitShift <direction = "RIGHT"> (m, half)
        steps = Mul (weyl, turns)
        keys = Add (seed, steps)
        e0, p0 = bnonly.Blocks (blocks, streams)
        ROUNDS
        four = Concat <axis = 0> (e10, p10)
        order = Constant <value_ints = [0, 3, 1, 2]> ()
        words = Gather (four, order)
        across = Transpose (words)
        flat = Constant <value_ints = [-1]> ()
        bits = Reshape (across, flat)
    }""".replace(
        "ROUNDS",
        "\n".join(
            f"e{n + 1}, p{n + 1} = bnonly.Round <turn = [{n}]> (e{n}, p{n}, keys, m, m0, m1)" for n in range(10)
        ),
    ),
    # The table of pairs, as in bngen: 13 T[low] + 14 T[high], then 15 T[low] + 17 T[high], for any 16 bits.
    "Normal": """Normal (bits) => (z) {
        half = Constant <value = int32[128] {TABLE}> ()
        last = Constant <value_ints = [-1]> ()
        first = Constant <value_ints = [-129]> ()
        zero = Constant <value_ints = [0]> ()
        mirrored = Slice (half, last, first, zero, last)
        negative = Neg (mirrored)
        table = Concat <axis = 0> (negative, half)
        low = Constant <value = int32[2, 1, 1] {13, 15}> ()
        high = Constant <value = int32[2, 1, 1] {14, 17}> ()
        lows = Mul (table, low)
        column = Constant <value_ints = [256, 1]> ()
        standing = Reshape (table, column)
        highs = Mul (standing, high)
        sums = Add (lows, highs)
        pairs = Reshape (sums, last)
        shifts = Constant <value = uint64[4] {0, 16, 32, 48}> ()
        places = Constant <value = int32[4] {0, 65536, 0, 65536}> ()
        each = Unsqueeze (bits, last)
        moved = BitShift <direction = "RIGHT"> (each, shifts)
        cut = Cast <to = 4> (moved)
        index = Cast <to = 6> (cut)
        place = Add (index, places)
        found = Gather (pairs, place)
        shape = Constant <value_ints = [-1, 2]> ()
        two = Reshape (found, shape)
        one = Constant <value_ints = [1]> ()
        whole = ReduceSum <keepdims = 0> (two, one)
        z = Cast <to = 1> (whole)
    }""",
    "Uniform": """Uniform (bits) => (z) {
        shifts = Constant <value = uint64[2] {8, 40}> ()
        mask = Constant <value = uint64 {16777215}> ()
        two = Constant <value = int32 {2}> ()
        middle = Constant <value = int32 {16777215}> ()
        last = Constant <value_ints = [-1]> ()
        each = Unsqueeze (bits, last)
        moved = BitShift <direction = "RIGHT"> (each, shifts)
        cut = BitwiseAnd (moved, mask)
        index = Cast <to = 6> (cut)
        double = Mul (index, two)
        odd = Sub (double, middle)
        flat = Reshape (odd, last)
        z = Cast <to = 1> (flat)
    }""",
    "Sign": """Sign (bits) => (z) {
        shifts = Constant <value = uint64[2] {31, 63}> ()
        mask = Constant <value = uint64 {1}> ()
        one = Constant <value = int32 {1}> ()
        two = Constant <value = int32 {2}> ()
        last = Constant <value_ints = [-1]> ()
        each = Unsqueeze (bits, last)
        moved = BitShift <direction = "RIGHT"> (each, shifts)
        cut = BitwiseAnd (moved, mask)
        bit = Cast <to = 6> (cut)
        double = Mul (bit, two)
        side = Sub (one, double)
        flat = Reshape (side, last)
        z = Cast <to = 1> (flat)
    }""",
    "Grow": """Grow <begin, end, shape, scale> (z) => (weight) {
        from = Constant <value_ints: ints = @begin> ()
        to = Constant <value_ints: ints = @end> ()
        own = Slice (z, from, to)
        shape = Constant <value_ints: ints = @shape> ()
        shaped = Reshape (own, shape)
        scale = Constant <value_float: float = @scale> ()
        weight = Mul (shaped, scale)
    }""",
}


def function(text: str) -> FunctionProto:
    """A model-local function of this domain: "Name <attributes> (inputs) => (outputs) { nodes }"."""
    from onnx import parser

    return parser.parse_function(f'<domain: "{DOMAIN}", opset_import: ["": {OPSET}, "{DOMAIN}": 1]>\n{text}')


def functions(dist: Weights) -> list[FunctionProto]:
    """`Philox (seed, blocks, streams) => (bits)`, one of `Normal`, `Uniform` and `Sign (bits) => (z)`, `Grow (z)`.

    blocks: int64 [streams], how many of each stream. z: float32 [8 blocks], of one stream after another.
    """
    others = {name.title() for name in bngen.DISTRIBUTIONS if name != dist}
    table = ", ".join(map(str, bngen.HALF_TABLE))
    return [function(text.replace("TABLE", table)) for name, text in _FUNCTIONS.items() if name not in others]
