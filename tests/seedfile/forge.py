"""Seed+BN files taken apart and put together again by json, struct and hashlib alone, to damage them in between."""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rfc8785

ORDER = ("F32", "BF16", "F16", "U16", "U8")
WIDTHS = {"F32": 4, "BF16": 2, "F16": 2, "U16": 2, "U8": 1}


@dataclass
class Forged:
    """header: as parsed, or any text. tensors: dtype and bytes by name."""

    header: Any
    tensors: dict[str, tuple[str, bytes]]

    @classmethod
    def of(cls, path: Path) -> Forged:
        return cls.parse(path.read_bytes())

    @classmethod
    def parse(cls, data: bytes) -> Forged:
        size = int.from_bytes(data[:8], "little")
        outer = json.loads(data[8 : 8 + size])
        header = json.loads(outer.pop("__metadata__")["bnonly"])
        tensors = {}
        for name, entry in outer.items():
            begin, end = (8 + size + offset for offset in entry["data_offsets"])
            tensors[name] = entry["dtype"], data[begin:end]
        return cls(header, tensors)

    @property
    def buffer(self) -> bytes:
        return b"".join(self.tensors[name][1] for name in self._names())

    def signed(self) -> Forged:
        """Its payload's and header's digests made right."""
        self.header["payload_sha256"] = hashlib.sha256(self.buffer).hexdigest()
        return self.resealed()

    def resealed(self) -> Forged:
        """Its header's digest made right."""
        self.header.pop("header_sha256", None)
        self.header["header_sha256"] = hashlib.sha256(rfc8785.dumps(self.header)).hexdigest()
        return self

    def data(self) -> bytes:
        """The file: of a header given as text, with that text."""
        text = self.header if isinstance(self.header, str) else rfc8785.dumps(self.header).decode()
        outer: dict[str, Any] = {"__metadata__": {"bnonly": text}}
        end = 0
        for name in self._names():
            dtype, data = self.tensors[name]
            begin, end = end, end + len(data)
            outer[name] = {"dtype": dtype, "shape": [len(data) // WIDTHS[dtype]], "data_offsets": [begin, end]}
        return spelled(json.dumps(outer, ensure_ascii=False, separators=(",", ":")).encode()) + self.buffer

    def _names(self) -> list[str]:
        return sorted(self.tensors, key=lambda name: (ORDER.index(self.tensors[name][0]), name.encode()))


def spelled(outer: bytes) -> bytes:
    """Length, outer header and its padding."""
    outer += b" " * (-len(outer) % 8)
    return struct.pack("<Q", len(outer)) + outer
