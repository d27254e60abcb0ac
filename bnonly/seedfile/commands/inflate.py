"""`bnonly inflate`: the plain state_dict that a seed+BN file stands for."""

from __future__ import annotations

from typing import Any

from bnonly.config.parser import Parser, user_path
from bnonly.errors import BadInput


def parser() -> Parser:
    parser = Parser("bnonly inflate", "Write the plain state_dict of a seed+BN file, for tools that know no seeds.")
    parser.add_argument("file", type=user_path, metavar="FILE", help="a seed+BN file")
    parser.add_argument(
        "-o", "--out", type=user_path, required=True, metavar="STATE", help="for example state.safetensors"
    )
    return parser


def main(argv: list[str]) -> int:
    options = parser().parse_args(argv)
    if options.out.resolve() == options.file.resolve():
        raise BadInput(f"{options.out} is the file itself: name another place for the state_dict")
    from bnonly.files import check_place, write_safetensors
    from bnonly.seedfile.loading import load

    check_place(options.out)
    net: Any = load(options.file)
    head = net.stored
    state = {name: value.numpy() for name, value in net.state_dict().items()}
    write_safetensors(options.out, state, {"arch": head.arch.id, **head.arch.args, "form": head.bn.form})
    print(f"{options.out.stat().st_size:,} bytes, {len(state)} tensors of {head.arch.title}")
    print(options.out)
    return 0
