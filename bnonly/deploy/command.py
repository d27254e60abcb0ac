"""`bnonly deploy`: a seed+BN file as ONNX or as a program of torch.export."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bnonly.config.parser import Parser, user_path
from bnonly.progress import console

if TYPE_CHECKING:
    from bnonly.deploy.cost import Cost, Latency


def parser() -> Parser:
    parser = Parser(prog="bnonly deploy", description="Write a seed+BN file's network for another runtime.")
    parser.add_argument("file", type=user_path, metavar="FILE", help="a seed+BN file, as `bnonly export` writes it")
    parser.add_argument(
        "-o", "--out", type=user_path, metavar="NET", required=True, help="what to write; ends in .onnx or .pt2"
    )
    parser.add_argument(
        "--compact", action="store_true", help="leave dead channels out, exactly; otherwise BatchNorm is folded in"
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
    net: Any = load(options.file)
    shape = tuple(net.stored.input.shape)
    smaller = compact(net) if options.compact else folded(net)
    say = console().print
    say(f"writing {out}", markup=False)
    size = export(smaller, out, shape, _facts(net), like=net)
    say("timing both networks in turns", markup=False)
    times = latency(net, smaller, torch.zeros(1, *shape))
    print(f"{net.stored.arch.title}, seed {net.origin.seed}, for images of {' x '.join(map(str, shape))}")
    print(_table(cost(net, shape), cost(smaller, shape), times, torch.get_num_threads()))
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
