"""What numpy and rfc8785 alone make of a file: `test_exactness.py` asks for it on every machine it can reach."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from bnonly.seedfile import codecs, container, floats
from bnonly.seedfile.contents import Contents, open_file, rounds_tensor
from bnonly.seedfile.growing import Digest


def digests(path: Path) -> list[str]:
    """SHA-256 of the drawn weights; of every parameter, then every running statistic; of the buffer written anew."""
    contents = open_file(path)
    whole = hashlib.sha256()
    with Digest() as digest:
        for value in contents.parameters(contents.drawn(digest)):
            whole.update(value.astype("<f4").tobytes())
        contents.check_frozen(digest)
        drawn = digest.hexdigest()
    bn, ends = contents.header.bn, np.cumsum(contents.plan.sizes())[:-1]
    kept = 0 if bn.form == "affine" else bn.channels
    plain = {"mean": np.zeros(kept, np.float32), "var": np.full(kept, 1 - bn.eps, np.float32)}
    statistics = plain | contents.norms  # of a folded layer: mean 0, variance 1 - eps
    for layer in zip(*(np.split(statistics[name], ends) for name in plain), strict=True):
        whole.update(np.concatenate(layer).astype("<f4").tobytes())
    return [drawn, whole.hexdigest(), container.payload_sha256(written(contents))]


def written(contents: Contents) -> codecs.Tensors:
    """The tensors of the values that were read: the file's own, but for rans-1, which takes its scales anew."""
    head, norms = contents.header, contents.norms
    dtype, step = head.bn.dtype, head.codec_args.get("R", 0)
    if head.bn.form in ("full", "affine"):
        coded = codecs.encode_full(dict(norms), head.codec, dtype)
    else:
        a, b = (norms[name].astype(np.float64) for name in "ab")
        coded = codecs.encode_folded(
            a, lambda near: b - 0.5 * (near - a), contents.plan.sizes(), head.codec, dtype, step
        )
    beside = {name: floats.stored(values, dtype) for name, values in contents.stored.items()}
    return coded.tensors | beside | rounds_tensor(contents.plan, contents.rounds)
