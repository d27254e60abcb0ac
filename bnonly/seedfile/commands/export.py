"""`bnonly export`: a finished run as a seed+BN file."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnonly.config.parser import Parser, user_path
from bnonly.progress import console
from bnonly.runs import RunFolder

if TYPE_CHECKING:
    from bnonly.seedfile.exporting import Exported


def parser() -> Parser:
    parser = Parser(
        "bnonly export", "Store a finished run as its seed and what was trained; score it before and after."
    )
    parser.add_argument("run", type=user_path, metavar="RUN", help="a run's folder, as `bnonly fit` prints it")
    parser.add_argument(
        "-o", "--out", type=user_path, required=True, metavar="FILE", help="for example net.safetensors"
    )
    parser.add_argument(
        "--form",
        choices=("auto", "folded", "full", "affine"),
        default="auto",
        help="folded: two numbers a channel, to evaluate; full: gamma, beta and running statistics, to clamp or to "
        "train on; affine: gamma and beta of layers without running statistics (default: auto, the first that fits)",
    )
    parser.add_argument(
        "--dtype", choices=("fp32", "fp16", "bf16"), default="fp32", help="of every stored number (default: fp32)"
    )
    parser.add_argument(
        "--codec",
        choices=("raw", "mask", "rans"),
        default="raw",
        help="raw: every number; mask: zeros cost a bit; rans: whole steps, range coded (default: raw)",
    )
    parser.add_argument(
        "--clamp", type=_number, default=0.0, metavar="T", help="store every |gamma| < T as 0 (default: 0)"
    )
    parser.add_argument(
        "--step",
        type=_number,
        default=32,
        metavar="R",
        help="for rans: steps a standard deviation, a power of two to 1024 (default: 32)",
    )
    parser.add_argument(
        "--outliers",
        choices=("fallback", "widen"),
        default="fallback",
        help="for rans, where a value is more than 5 standard deviations: fall back to codec mask, or widen that "
        "layer's steps (default: fallback)",
    )
    parser.add_argument(
        "--data", type=user_path, metavar="PATH", help="where the run's images are now, if they have moved"
    )
    parser.add_argument(
        "--calibrate",
        type=_count,
        default=0,
        metavar="N",
        help="put running statistics right, by N training images, for what coding changes: with rans a step or two "
        "less for the same accuracy (default: 0)",
    )
    parser.add_argument("--no-measure", action="store_true", help="do not score; needs no images")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    return parser


def main(argv: list[str]) -> int:
    options = parser().parse_args(argv)
    from bnonly.seedfile.exporting import export
    from bnonly.seedfile.saving import How

    how = How(options.form, options.dtype, options.codec, options.clamp, options.step, options.outliers)
    done = export(
        RunFolder(options.run),
        options.out,
        how,
        measure=not options.no_measure,
        data=options.data,
        calibrate=options.calibrate,
    )
    facts = _facts(options.out, done)
    if options.json:
        print(json.dumps(facts, indent=2))
        return 0
    for note in done.packed.notes:
        console().print(note, markup=False)
    for line in _lines(facts):
        print(line)
    return 0


def _facts(path: Path, done: Exported) -> dict[str, Any]:
    packed, head = done.packed, done.packed.header
    return {
        "file": str(path),
        "bytes": len(packed.data),
        "weights": done.weights,
        "times_smaller": round(done.ratio, 2),
        "form": head.bn.form,
        "dtype": head.bn.dtype,
        "codec": head.codec,
        "channels": head.bn.channels,
        "zeros": packed.zeros,
        "before": None if done.before is None else vars(done.before),
        "after": None if done.after is None else vars(done.after),
        "frozen_sha256": head.frozen_sha256,
        "sha256": packed.sha256,
        "notes": list(packed.notes),
    }


def _lines(facts: dict[str, Any]) -> list[str]:
    lines = [
        f"{facts['bytes']:,} bytes, {facts['times_smaller']:,.1f} times smaller than {facts['weights']:,} weights in "
        f"float32 ({4 * facts['weights']:,} bytes)",
        f"form {facts['form']}, {facts['dtype']}, codec {facts['codec']}; {facts['zeros']:,} of "
        f"{facts['channels']:,} channels have scale 0",
    ]
    before, after = facts["before"], facts["after"]
    if before and after:
        change = 100 * (after["top1"] - before["top1"])
        lines.append(
            f"top-1 on {before['images']:,} images {before['top1']:.2%} before, {after['top1']:.2%} after "
            f"({change:+.2f} points); loss {before['loss']:.4f}, {after['loss']:.4f}"
        )
    return [
        *lines,
        f"drawn weights {facts['frozen_sha256']}",
        f"file          {facts['sha256']}",
        facts["file"],
    ]


def _count(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from None


def _number(text: str) -> Any:
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number") from None
    return int(value) if value.is_integer() and abs(value) < 1 << 53 else value
