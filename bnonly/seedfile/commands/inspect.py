"""`bnonly inspect`: what a seed+BN file says, without torch."""

from __future__ import annotations

import json
from typing import Any

from bnonly.config.parser import Parser, user_path
from bnonly.errors import printable
from bnonly.seedfile.contents import Contents, open_file


def parser() -> Parser:
    parser = Parser("bnonly inspect", "Show what a seed+BN file holds; its digests, but the weights', are compared.")
    parser.add_argument("file", type=user_path, metavar="FILE", help="a seed+BN file")
    parser.add_argument("--json", action="store_true", help="the header as it stands, and what the file amounts to")
    return parser


def main(argv: list[str]) -> int:
    options = parser().parse_args(argv)
    contents = open_file(options.file)
    if options.json:
        print(json.dumps({"file": str(options.file), **facts(contents)}, indent=2, ensure_ascii=False))
        return 0
    for name, value in _lines(contents):
        print(f"{name:<15}{printable(value)}")
    return 0


def facts(contents: Contents) -> dict[str, Any]:
    """As plain values: sizes, tensors, the whole header."""
    head, plan = contents.header, contents.plan
    weights = sum(entry.size for entry in plan.entries)
    return {
        "bytes": contents.size,
        "sha256": contents.sha256,
        "weights": weights,
        "times_smaller": round(4 * weights / contents.size, 2),
        "layers": len(plan.sizes()),
        "zeros": zeros(contents),
        "redrawn": redrawn(contents),
        "stored": {name: int(value.size) for name, value in contents.stored.items()},
        "header": head.plain() | {"header_sha256": head.digest()},
    }


def zeros(contents: Contents) -> int:
    """Channels of scale 0."""
    scale = contents.norms["a" if contents.header.bn.form == "folded" else "weight"]
    return int((scale == 0).sum())


def redrawn(contents: Contents) -> int:
    """Filters of a later round than the first."""
    return sum(int((rounds > 0).sum()) for rounds in contents.rounds.values())


def _lines(contents: Contents) -> list[tuple[str, str]]:
    head, known = contents.header, facts(contents)
    init, bn, given = head.init, head.bn, head.input
    step = f", {head.codec_args['R']} steps a deviation" if head.codec_args else ""
    many = len(given.labels) > 10
    labels = ", ".join(given.labels[:10]) + (f", ... ({len(given.labels)} in all)" if many else "")
    beside = ", ".join(f"{count:,} of {name}" for name, count in known["stored"].items())
    return [
        ("network", f"{head.arch.title}, {head.arch.classes} classes, {known['weights']:,} weights"),
        ("seed", f"{init.seed:#x} ({init.dist}, {init.scale}; {init.gen})"),
        ("trained", "+".join(head.trained) or "nothing"),
        ("stored", f"{bn.form}, {bn.dtype}, codec {head.codec}{step}"),
        ("channels", f"{bn.channels:,} in {known['layers']} layers, {known['zeros']:,} of scale 0"),
        *([("beside them", beside)] if beside else []),
        *([("drawn anew", f"{redrawn(contents):,} filters")] if contents.rounds else []),
        ("images", f"{'x'.join(map(str, given.shape))}, mean {list(given.mean)}, std {list(given.std)}"),
        ("labels", labels),
        ("info", json.dumps(head.info, ensure_ascii=False)),
        ("size", f"{contents.size:,} bytes, {known['times_smaller']:,.1f} times smaller than float32 weights"),
        ("drawn weights", head.frozen_sha256),
        ("file", contents.sha256),
    ]
