"""`bnonly verify`: every digest of a seed+BN file, the weights its seed gives, and what the network answers."""

from __future__ import annotations

import json
from typing import Any

from bnonly.config.parser import Parser, user_path


def parser() -> Parser:
    parser = Parser(
        "bnonly verify", "Compare every digest of a seed+BN file, and the network's answers to two images."
    )
    parser.add_argument("file", type=user_path, metavar="FILE", help="a seed+BN file")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    return parser


def main(argv: list[str]) -> int:
    options = parser().parse_args(argv)
    from bnonly.seedfile.contents import open_file
    from bnonly.seedfile.errors import SeedFileError
    from bnonly.seedfile.loading import network_of

    contents = open_file(options.file)
    try:
        ratio: Any = network_of(contents).probe
    except SeedFileError as error:
        error.file = str(options.file)
        raise
    head = contents.header
    facts = {
        "file": str(options.file),
        "bytes": contents.size,
        "sha256": contents.sha256,
        "header_sha256": head.digest(),
        "plan_sha256": head.plan_sha256,
        "payload_sha256": head.payload_sha256,
        "frozen_sha256": head.frozen_sha256,
        "probe": ratio,
        "rtol": head.check.rtol,
        "verified": True,
    }
    if options.json:
        print(json.dumps(facts, indent=2))
        return 0
    for name in ("header", "plan", "payload", "frozen"):
        print(f"{name:<9}{facts[f'{name}_sha256']}  as written")
    print(f"probe    {head.check.n} images, logits off by {ratio:.1e} of the largest, at most {head.check.rtol:g}")
    print(f"{options.file}: {head.arch.title}, all as it was written")
    return 0
