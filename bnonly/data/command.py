"""`bnonly images`: whether every file of an image folder is an image, before a long run finds out."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bnonly.config.parser import Parser, user_path
from bnonly.data.cores import usable_cores
from bnonly.data.folder import opened
from bnonly.data.listing import ImageFiles, listed
from bnonly.errors import BadInput
from bnonly.progress import track

_AT_ONCE = 1024


def parser() -> argparse.ArgumentParser:
    parser = Parser(prog="bnonly images", description="Decode every image of a folder once and name those that fail.")
    parser.add_argument(
        "path", type=user_path, metavar="PATH", help="holds train/<class>/* and test/<class>/* or val/"
    )
    return parser


def main(argv: list[str]) -> int:
    path = parser().parse_args(argv).path
    classes, *parts = listed(path)
    count = sum(map(len, parts))
    broken = 0
    for fault in track(_faults(parts), count, f"decoding {count:,} images of {path}"):
        if fault is not None:
            broken += 1
            print(fault)
    if broken:
        raise BadInput(f"{broken:,} of {count:,} files of {path} are no images: mend or remove them")
    print(f"{count:,} images of {len(classes):,} classes, all in order")
    return 0


def _faults(parts: list[ImageFiles]) -> Iterator[str | None]:
    """For each file in its order, what is wrong with it."""
    with ThreadPoolExecutor(usable_cores()) as pool:
        for files in parts:
            for start in range(0, len(files), _AT_ONCE):  # a million tasks at once would fill the memory
                places = range(start, min(start + _AT_ONCE, len(files)))
                yield from pool.map(lambda place, files=files: _fault(files.path(place)), places)


def _fault(file: Path) -> str | None:
    try:
        opened(file)
    except BadInput as error:
        return str(error)
    return None
