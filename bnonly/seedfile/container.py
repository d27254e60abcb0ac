"""The outer file: safetensors with one metadata text, in the one spelling that safetensors itself writes.

8 bytes: N, little-endian. N bytes: a JSON header, padded with spaces to a multiple of 8. Then the tensors' bytes.
A reader spells the header anew from what it understood and compares: there is one valid file for one content.
Specified at https://huggingface.co/docs/safetensors; only what this format needs of it is understood here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from bnonly.errors import BadInput
from bnonly.seedfile.errors import CorruptFile, TooLarge

WIDTHS = {"F32": 4, "BF16": 2, "F16": 2, "U16": 2, "U8": 1}
"""Bytes a value by dtype, in the order in which safetensors sorts tensors."""

OTHER_KIND = "it is a safetensors file, but no seed+BN file, which `bnonly export RUN -o FILE` writes"

HEADER_LIMIT = 1 << 20


@dataclass(frozen=True)
class Tensor:
    """A flat tensor as it lies in the file: little-endian."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes


def pack(text: str, tensors: Mapping[str, Tensor]) -> bytes:
    """The file of these tensors with `text` as the metadata's only value, under the key "bnonly".

    Raises BadInput where the text, with its quotes escaped, is longer than a reader takes.
    """
    spelled = _spelled(text, tensors)
    if (size := len(spelled) - 8) > HEADER_LIMIT:
        raise BadInput(f"a header of {size} bytes is longer than the {HEADER_LIMIT} that readers take: shorten info")
    return spelled + b"".join(tensors[name].data for name in _order(tensors))


def payload_sha256(tensors: Mapping[str, Tensor]) -> str:
    """Of the tensors' bytes in their order."""
    total = hashlib.sha256()
    for name in _order(tensors):
        total.update(tensors[name].data)
    return total.hexdigest()


def length(data: bytes) -> int:
    """Bytes of the whole file, as the header says that `data` begins with; its own where that says nothing whole."""
    size = 8 + int.from_bytes(data[:8], "little")
    if len(data) < 8 or size > len(data):
        return len(data)
    try:
        outer = parse_json(data[8:size], "header")
        ends = [entry["data_offsets"][1] for name, entry in outer.items() if name != "__metadata__"]
        return size + max((end for end in ends if type(end) is int), default=0)
    except (CorruptFile, TypeError, LookupError):
        return len(data)  # what is wrong with it will be found out


def unpack(data: bytes) -> tuple[str, dict[str, Tensor], bytes]:
    """The metadata text, the tensors by name, and the buffer they lie in. Raises CorruptFile and TooLarge."""
    if len(data) < 8:
        raise CorruptFile("file", "at least 8 bytes", f"{len(data)}")
    size = int.from_bytes(data[:8], "little")
    if size > HEADER_LIMIT:
        if data[:4] == b"PK\x03\x04" or (data[0] == 0x80 and 2 <= data[1] <= 5):
            raise CorruptFile("file", "safetensors", "a pickle, as torch.save writes it, which is never opened here")
        raise TooLarge("header", f"at most {HEADER_LIMIT} bytes", size, CorruptFile.todo)
    if size > len(data) - 8:
        raise CorruptFile("header", f"{size} bytes", f"{len(data) - 8}: the file ends before")
    outer, buffer = parse_json(data[8 : 8 + size], "header"), data[8 + size :]
    text = _metadata(outer.pop("__metadata__", None))
    tensors = {name: _tensor(name, entry, buffer) for name, entry in outer.items()}
    if (used := sum(len(tensor.data) for tensor in tensors.values())) != len(buffer):
        raise CorruptFile("buffer", f"{used} bytes of tensors", len(buffer))
    if _spelled(text, tensors) != data[: 8 + size]:
        raise CorruptFile("header", "the spelling that safetensors writes", "another one")
    return text, tensors, buffer


def parse_json(data: bytes, field: str) -> dict[str, Any]:
    """An object in JSON: UTF-8, no key twice, no NaN. Raises CorruptFile.

    Whole numbers from 2^53 up are floats, as they are to ECMAScript, whose spelling of numbers RFC 8785 takes.
    """
    try:
        text = data.decode("utf-8")
        value = json.loads(text, object_pairs_hook=_once, parse_constant=_refused, parse_int=_whole)
    except (ValueError, RecursionError) as error:
        raise CorruptFile(field, "an object in JSON", f"{type(error).__name__} ({error})") from error
    if not isinstance(value, dict):
        raise CorruptFile(field, "an object in JSON", type(value).__name__)
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    if len(set(keys)) != len(keys):
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} stands there twice")
    return dict(pairs)


def _whole(digits: str) -> int | float:
    value = float(digits)
    return int(digits) if abs(value) < 1 << 53 else value


def _refused(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def _metadata(metadata: Any) -> str:
    if not isinstance(metadata, dict) or list(metadata) != ["bnonly"] or not isinstance(metadata["bnonly"], str):
        got = list(metadata) if isinstance(metadata, dict) else metadata
        raise CorruptFile("__metadata__", "exactly one text, under the key bnonly", got, OTHER_KIND)
    return metadata["bnonly"]


def _tensor(name: str, entry: Any, buffer: bytes) -> Tensor:
    form = {"dtype": str, "shape": list, "data_offsets": list}
    if not isinstance(entry, dict) or {key: type(value) for key, value in entry.items()} != form:
        raise CorruptFile(f"tensor {name!r}", "dtype, shape and data_offsets", entry)
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if dtype not in WIDTHS:
        raise CorruptFile(f"tensor {name!r}, dtype", " or ".join(WIDTHS), dtype, OTHER_KIND)
    if not all(type(number) is int and 0 <= number < 1 << 40 for number in [*shape, *offsets]) or len(shape) > 8:
        raise CorruptFile(f"tensor {name!r}", "whole numbers from 0 up", entry)
    if len(offsets) != 2 or offsets[1] > len(buffer) or offsets[1] - offsets[0] != WIDTHS[dtype] * prod(shape):
        raise CorruptFile(f"tensor {name!r}, data_offsets", f"{WIDTHS[dtype] * prod(shape)} bytes", offsets)
    return Tensor(dtype, tuple(shape), buffer[offsets[0] : offsets[1]])


def _order(tensors: Mapping[str, Tensor]) -> list[str]:
    """safetensors' own: wide dtypes first, so that every tensor is aligned, then by name."""
    ranks = list(WIDTHS)
    return sorted(tensors, key=lambda name: (ranks.index(tensors[name].dtype), name.encode()))


def _spelled(text: str, tensors: Mapping[str, Tensor]) -> bytes:
    outer: dict[str, Any] = {"__metadata__": {"bnonly": text}}
    end = 0
    for name in _order(tensors):
        tensor = tensors[name]
        begin, end = end, end + len(tensor.data)
        outer[name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [begin, end]}
    try:
        spelled = json.dumps(outer, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError as error:
        raise CorruptFile("header", "text of whole characters", "half a surrogate pair") from error
    spelled += b" " * (-len(spelled) % 8)
    return len(spelled).to_bytes(8, "little") + spelled
