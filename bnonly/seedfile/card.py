"""What stands beside a seed+BN file in a folder of the Hugging Face Hub: config.json and the model card, README.md.

Both say in plain words what the file's header says; the header stays the truth. Equal content gives equal bytes.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import yaml

from bnonly.errors import BadInput
from bnonly.seedfile.contents import architecture
from bnonly.seedfile.errors import ConfigMismatch
from bnonly.seedfile.header import FORMAT, Header, parse

if TYPE_CHECKING:
    from bnonly.seedfile.saving import Packed

LIBRARY = "bnonly"
_MARK = re.compile(rb"<!-- written by bnonly, and kept from the first edit on: sha256 ([0-9a-f]{64}) -->\n\Z")


def config_of(header: Header) -> dict[str, Any]:
    """The fields of config.json."""
    given = header.input
    return {
        "library_name": LIBRARY,
        "format": FORMAT,
        "architecture": header.arch.id,
        **header.arch.args,
        "trained": list(header.trained),
        "seed": f"{header.init.seed:032x}",
        "form": header.bn.form,
        "dtype": header.bn.dtype,
        "codec": header.codec,
        "input": {"shape": list(given.shape), "mean": list(given.mean), "std": list(given.std)},
        "id2label": {str(place): label for place, label in enumerate(given.labels)},
        "header_sha256": header.digest(),
    }


def config_json(packed: Packed) -> bytes:
    """config.json, UTF-8."""
    return (json.dumps(config_of(_plain(packed)), indent=2, ensure_ascii=False) + "\n").encode()


def check_config(got: dict[str, Any], header: Header, file: str) -> None:
    """Raises ConfigMismatch, naming the first field of config.json that the header contradicts.

    Fields that bnonly does not write are left alone.
    """
    for field, wanted, found in _differences(config_of(header), got):
        raise ConfigMismatch(field, f"{wanted}, as in the header of model.safetensors", found, file=file)


def model_card(packed: Packed, repo_id: str = "OWNER/NAME", license: str | None = None) -> bytes:
    """README.md: YAML front matter and Markdown, UTF-8. license: an id of the Hub, left out unless given.

    Its last line is a digest of the rest, by which `is_own_card` knows it again. Raises BadInput for a license that
    is no id.
    """
    if license is not None and not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", license):
        raise BadInput(f"license {license!r} is no id of the Hub: use one such as mit, apache-2.0 or cc-by-4.0")
    header = _plain(packed)
    batch = ["batch-normalization"] if _normalisation(header) == "BatchNorm" else []
    front = {
        "library_name": LIBRARY,
        **({"license": license} if license else {}),
        "pipeline_tag": "image-classification",
        "tags": [LIBRARY, "random-features", *batch, header.arch.id],
    }
    text = f"---\n{yaml.safe_dump(front, sort_keys=False)}---\n\n{_story(header, packed, repo_id)}\n".encode()
    mark = f"<!-- written by bnonly, and kept from the first edit on: sha256 {hashlib.sha256(text).hexdigest()} -->\n"
    return text + mark.encode()


def is_own_card(card: bytes) -> bool:
    """Whether this README.md is, to the byte, one that `model_card` wrote."""
    found = _MARK.search(card)
    return found is not None and hashlib.sha256(card[: found.start()]).hexdigest() == found[1].decode()


def _plain(packed: Packed) -> Header:
    """The header as a reader gets it: 1.0 and 1 are one number there, and `info` has one order."""
    return parse(packed.header.text())


def _differences(wanted: dict[str, Any], got: dict[str, Any], within: str = "") -> Iterator[tuple[str, Any, Any]]:
    for key, value in wanted.items():
        found = got.get(key, "nothing")
        if isinstance(value, dict) and isinstance(found, dict):
            yield from _differences(value, found, f"{within}{key}.")
            if within + key == "id2label" and (more := [name for name in found if name not in value]):
                yield f"id2label.{more[0]}", "nothing", found[more[0]]
        elif value != found:
            yield within + key, value, found


def _story(header: Header, packed: Packed, repo_id: str) -> str:
    arch, init, bn, given = header.arch, header.init, header.bn, header.input
    parameters = sum(entry.size for entry in architecture(arch.id).entries(arch.classes))
    size, whole = len(packed.data), 4 * parameters
    trained = "+".join(header.trained)
    facts = {
        "architecture": f"`{arch.title}`, {parameters:,} parameters",
        "seed": f"`{init.seed:032x}` (generator {init.gen}; {init.dist}, {init.scale})",
        "trained": f"`{trained}`" if trained else "nothing",
        _normalisation(header): f"{bn.channels:,} channels, {packed.zeros:,} of them with scale 0; form {bn.form}, "
        f"{bn.dtype}",
        "codec": " ".join([header.codec, *(f"{name}={value}" for name, value in header.codec_args.items())]),
        "input": f"{list(given.shape)}, pixels in [0, 1], mean {list(given.mean)}, std {list(given.std)}",
        "classes": f"{arch.classes:,}, named in `config.json`",
    }
    digests = {
        "`model.safetensors`": packed.sha256,
        "header": header.digest(),
        "drawn weights": header.frozen_sha256,
        "stored values": header.payload_sha256,
    }
    told = json.dumps(header.info, indent=2, sort_keys=True, ensure_ascii=False)
    # Indented by four, so that nothing in it is Markdown or HTML.
    info = "\n".join(f"    {line}" for line in told.split("\n")) if header.info else "The file does not say."
    did = f"only `{trained}` was trained" if trained else "nothing was trained"
    return f"""\
# {arch.id}: random features, {size:,} bytes

An image classifier whose weights are random: a specified generator draws them again from a seed, to the bit;
{did}. `model.safetensors` holds the seed and what was trained: {size:,} bytes, {whole / size:.1f} times
smaller than the {parameters:,} parameters as float32 ({whole:,} bytes). Nothing in it is pickled.

## Loading it

```python
import bnonly  # pip install 'bnonly[hub]'

net = bnonly.from_pretrained("{repo_id}")  # verified, in eval mode
logits = net(images)  # images [N, {", ".join(map(str, given.shape))}], normalised: (pixels - mean) / std
```

## What it is

{_table(facts)}

## How it was trained

{info}

## Digests (SHA-256)

{_table({name: f"`{value}`" for name, value in digests.items()})}
"""


def _normalisation(header: Header) -> str:
    return "normalisation" if header.bn.form == "affine" else "BatchNorm"


def _table(rows: dict[str, str]) -> str:
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())])
