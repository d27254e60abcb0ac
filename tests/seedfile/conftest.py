"""Files of several kinds, written once."""

from __future__ import annotations

from pathlib import Path

import pytest

import bnonly
from tests.seedfile.networks import pictures, trained

WRITTEN = {
    "folded": ("bn", {}),
    "mask": ("bn", {"codec": "mask", "clamp": 0.3}),
    "rans": ("bn", {"codec": "rans", "clamp": 1e3}),  # every scale of a is 0
    "full": ("bn", {"form": "full"}),
    "rich": ("random:1+output+shortcut", {"dtype": "fp16"}),
}


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("good")
    files = {}
    for name, (group, how) in WRITTEN.items():
        files[name] = folder / f"{name}.safetensors"
        bnonly.save(trained(group), files[name], input=pictures(4), info={"of": name}, **how)
    return files
