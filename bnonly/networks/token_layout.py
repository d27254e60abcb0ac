"""What parameters Mixer and ViT have, without torch; see `layout`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

from bnonly.randomness.entry import Entry, Part


class _Places:
    """Entries in order, layer by layer."""

    def __init__(self):
        self.next = count()

    def layer(self, path: str, outputs: int, inputs: int, kernel: int = 0, part: Part = "") -> Iterator[Entry]:
        """Linear or, of a kernel, convolution; with its bias."""
        area = kernel**2 or 1
        fans = inputs * area, outputs * area
        shape = (outputs, inputs, kernel, kernel) if kernel else (outputs, inputs)
        yield Entry(next(self.next), f"{path}.weight", "weight", shape, *fans, part)
        yield Entry(next(self.next), f"{path}.bias", "bias", (outputs,), *fans, part)

    def norm(self, path: str, channels: int) -> Iterator[Entry]:
        yield Entry(next(self.next), f"{path}.weight", "gamma", (channels,), statistics=False)
        yield Entry(next(self.next), f"{path}.bias", "beta", (channels,), statistics=False)

    def mlp(self, path: str, width: int, hidden: int) -> Iterator[Entry]:
        yield from self.layer(f"{path}.fc1", hidden, width)
        yield from self.layer(f"{path}.fc2", width, hidden)


def mixer(width: int, depth: int, patch: int, resolution: int = 32, *, classes: int = 10) -> Iterator[Entry]:
    """Of `networks.mixer`, lazily."""
    places = _Places()
    yield from places.layer("stem", width, 3, patch)
    for block in range(depth):
        path = f"blocks.{block}"
        yield from places.norm(f"{path}.norm1", width)
        yield from places.mlp(f"{path}.token_mlp", (resolution // patch) ** 2, width // 2)
        yield from places.norm(f"{path}.norm2", width)
        yield from places.mlp(f"{path}.channel_mlp", width, 4 * width)
    yield from places.norm("norm", width)
    yield from places.layer("head", classes, width, part="output")


def vit(width: int, depth: int, patch: int, *, classes: int = 10) -> Iterator[Entry]:
    """Of `networks.vit`, lazily."""
    places = _Places()
    yield from places.layer("stem", width, 3, patch)
    for block in range(depth):
        path = f"blocks.{block}"
        yield from places.norm(f"{path}.norm1", width)
        yield from places.layer(f"{path}.attention.qkv", 3 * width, width)
        yield from places.layer(f"{path}.attention.proj", width, width)
        yield from places.norm(f"{path}.norm2", width)
        yield from places.mlp(f"{path}.mlp", width, 4 * width)
    yield from places.norm("norm", width)
    yield from places.layer("head", classes, width, part="output")
