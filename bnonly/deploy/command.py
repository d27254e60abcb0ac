"""`bnonly deploy`: a seed+BN file as ONNX or as a program of torch.export."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from bnonly.config.parser import Parser, user_path
from bnonly.errors import BadInput
from bnonly.progress import console

if TYPE_CHECKING:
    from bnonly.deploy.cost import Cost, Latency
    from bnonly.deploy.inflating import Inflating


def parser() -> Parser:
    parser = Parser(prog="bnonly deploy", description="Write a seed+BN file's network for another runtime.")
    parser.add_argument("file", type=user_path, metavar="FILE", help="a seed+BN file, as `bnonly export` writes it")
    parser.add_argument(
        "-o", "--out", type=user_path, metavar="NET", required=True, help="what to write; ends in .onnx or .pt2"
    )
    parser.add_argument(
        "--compact", action="store_true", help="leave dead channels out, exactly; otherwise BatchNorm is folded in"
    )
    parser.add_argument(
        "--self-inflating",
        action="store_true",
        help="ONNX with the seed in the weights' place: onnxruntime grows them when it opens the file",
    )
    return parser


def main(argv: list[str]) -> int:
    options = parser().parse_args(argv)
    import torch

    from bnonly.deploy.compact import compact, folded
    from bnonly.deploy.cost import cost, latency
    from bnonly.deploy.export import check_path, export
    from bnonly.files import check_place
    from bnonly.seedfile import load

    out = options.out
    check_path(out)
    check_place(out)
    if options.self_inflating and (options.compact or out.suffix != ".onnx"):
        todo = "grows all channels: leave --compact out" if options.compact else f"writes ONNX: {out} is no .onnx"
        raise BadInput(f"--self-inflating {todo}")
    net: Any = load(options.file)
    shape = tuple(net.stored.input.shape)
    smaller = compact(net) if options.compact else folded(net)
    inflating = None
    if options.self_inflating:
        from bnonly.deploy.inflating import Inflating

        inflating = Inflating(net)
    say = console().print
    say(f"writing {out}", markup=False)
    rewrite = inflating.rewrite if inflating else None
    size = export(smaller, out, shape, _facts(net), like=net, rewrite=rewrite)
    say("timing both networks in turns", markup=False)
    times = latency(net, smaller, torch.zeros(1, *shape))
    print(f"{net.stored.arch.title}, seed {net.origin.seed}, for images of {' x '.join(map(str, shape))}")
    print(_table(cost(net, shape), cost(smaller, shape), times, torch.get_num_threads()))
    if inflating:
        say("opening it and the ordinary file", markup=False)
        print(_openings(out, inflating))
    print(f"{size:,} bytes\n{out}")
    return 0


def _facts(net: Any) -> dict[str, Any]:
    """What the file says of its network, as far as that is known."""
    known = net.stored.input
    facts = {"name": net.origin.name, "seed": f"{net.origin.seed:032x}"}
    facts |= {"antialias": net.origin.antialias} if net.origin.antialias != "none" else {}
    facts |= {key: getattr(known, key) for key in ("labels", "mean", "std")}
    return {
        key: list(value) if isinstance(value, tuple) else value for key, value in facts.items() if value is not None
    }


def _openings(out: Path, inflating: Inflating) -> str:
    """The file beside the ordinary one of the same network: size, and what it takes to open and run them."""
    import onnxruntime

    from bnonly.deploy.opening import opening

    with TemporaryDirectory() as folder:
        ordinary = Path(folder) / "net.onnx"
        ordinary.write_bytes(inflating.ordinary)
        files = {"self-inflating": out, "ordinary": ordinary}
        lines = [f"{'':<14}{'bytes':>16}{'start':>12}{'peak memory':>16}{'an image':>12}"]
        for name, path in files.items():
            found = opening(path)
            peak = "not known" if found.peak is None else f"{found.peak / 1e6:,.0f} MB"
            times = f"{found.seconds:>10.3f} s{peak:>16}{found.image * 1e3:>9.2f} ms"
            lines.append(f"{name:<14}{path.stat().st_size:>16,}{times}")
    how = f"onnxruntime {onnxruntime.__version__} on the CPU, default options, a process each"
    return "\n".join([*lines, f"{inflating.grown:,} weights grow from the seed; {how}"])


def _table(before: Cost, after: Cost, times: Latency, threads: int) -> str:
    rows = [("", "before", "after", "")]
    for name in ("multiply_adds", "parameters", "channels"):
        one, other = getattr(before, name), getattr(after, name)
        share = f"{other / one:.1%}" if one else ""
        rows.append((name.replace("_", "-"), f"{one:,}", f"{other:,}", share))
    machine = f"{times.ratio:.2f} times as fast: median of {times.rounds} rounds in turns, torch, 1 image"
    machine += f", {threads} thread{'s' if threads > 1 else ''}"
    rows.append(("latency", f"{times.before * 1e3:.2f} ms", f"{times.after * 1e3:.2f} ms", machine))
    return "\n".join(f"{name:<14}{one:>16}{other:>16}  {last}".rstrip() for name, one, other, last in rows)
