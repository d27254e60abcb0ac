"""What the earlier sessions of a run have left in wandb's files.

A `.wandb` file is a log in LevelDB's format (blocks of 32 KiB, records cut into pieces that fit) of wandb's Record
messages. The file of a killed run lacks what wandb-core had not written yet and may end in the middle of a record.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

_BLOCK = 1 << 15
_HEAD = struct.Struct("<IHB")  # checksum, length, kind
_FILE_HEAD = 7
_WHOLE, _FIRST, _LAST = 1, 2, 4  # kinds; 3 is a piece in the middle

Row = dict[str, Any]
"""What one call of wandb's log said: numbers by name, a histogram as {"_type", "values", "bins"}."""


def rows(folder: Path) -> Iterator[tuple[int, Row]]:
    """(epoch, what was logged of it) for every epoch in `folder/wandb/*run-*/*.wandb`."""
    for path in _files(folder):
        proto: Any = import_module("wandb.proto.wandb_internal_pb2")  # made at run time: type checkers see nothing
        for message, _ in _messages(path.read_bytes()):
            row: Row = {}
            for item in proto.Record.FromString(message).history.item:
                *parents, name = item.nested_key or [item.key]
                place = row
                for parent in parents:
                    place = place.setdefault(parent, {})
                place[name] = json.loads(item.value_json)
            if "epoch" in row:
                yield int(row["epoch"]), {name: value for name, value in row.items() if not name.startswith("_")}


def mend(folder: Path) -> None:
    """Cut torn files back to their last whole record: `wandb sync` stops at a torn one, and at those after it."""
    for path in _files(folder):
        data = path.read_bytes()
        whole = max((end for _, end in _messages(data)), default=len(data))
        if whole < len(data):
            os.truncate(path, whole)


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("wandb/*run-*/*.wandb"))


def _messages(data: bytes) -> Iterator[tuple[bytes, int]]:
    """(record, where it ends) for the records of a log, up to the first that is torn."""
    place, message = _FILE_HEAD, b""
    while True:
        left = _BLOCK - place % _BLOCK
        if left < _HEAD.size:
            place += left  # no head fits: the block is filled up
        if place + _HEAD.size > len(data):
            return
        checksum, length, kind = _HEAD.unpack_from(data, place)
        piece = data[place + _HEAD.size : place + _HEAD.size + length]
        if checksum != zlib.crc32(bytes([kind]) + piece):
            return
        place += _HEAD.size + length
        message = piece if kind in (_WHOLE, _FIRST) else message + piece
        if kind in (_WHOLE, _LAST):
            yield message, place
