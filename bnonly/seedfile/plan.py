"""Where each parameter's values come from: the seed, the file, or the seed with some scalars of the file put in."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from bnonly.groups import random_scalars
from bnonly.randomness.entry import Entry

Source = Literal["seed", "file", "seed+file"]

FITTING = {"batch": ("folded", "full"), "affine": ("affine",), "mixed": ("full",)}
"""By `Plan.norms`, the forms in which such layers are stored; the first unless another is asked for."""


@dataclass(frozen=True)
class Plan:
    """Entries in plan order, each with its source, as the trained groups decide."""

    entries: tuple[Entry, ...]
    trained: tuple[str, ...]
    redrawn: bool = False  # whether some filters are of a later round of the seed's streams

    @cached_property
    def scalars(self) -> int:
        """K of random:K, 0 without."""
        return random_scalars(self.trained).count

    def source(self, entry: Entry) -> Source:
        """gamma and beta always come from the file, since running statistics are folded into them or stand beside."""
        if entry.role in ("gamma", "beta") or (entry.part and entry.part in self.trained):
            return "file"
        return "seed+file" if self.scalars and entry.role == "weight" and len(entry.shape) > 2 else "seed"

    def sizes(self) -> list[int]:
        """Channels of each normalisation layer that has a gamma, in order."""
        return [entry.size for entry in self.entries if entry.role == "gamma"]

    @cached_property
    def norms(self) -> Literal["batch", "affine", "mixed"]:
        """Whether all normalisation layers keep running statistics, none does, or some do."""
        kinds = {entry.statistics for entry in self.entries if entry.role in ("gamma", "beta")}
        return "mixed" if len(kinds) > 1 else "batch" if True in kinds else "affine"

    def lengths(self) -> dict[str, int]:
        """Values of weight, bias, mean and var over all normalisation layers: some have no bias or no statistics."""
        gammas = [entry for entry in self.entries if entry.role == "gamma"]
        kept = sum(entry.size for entry in gammas if entry.statistics)
        shifts = sum(entry.size for entry in self.entries if entry.role == "beta")
        return {"weight": sum(self.sizes()), "bias": shifts, "mean": kept, "var": kept}

    def stored(self) -> dict[str, list[Entry]]:
        """The tensors beside the BatchNorm values, and the parameters whose values each joins, in order."""
        tensors: dict[str, list[Entry]] = {}
        for entry in self.entries:
            source = self.source(entry)
            if source == "seed+file":
                tensors.setdefault("random.values", []).append(entry)
            elif source == "file" and entry.part == "output":
                tensors.setdefault(f"head.{entry.role}", []).append(entry)
            elif source == "file" and entry.part == "shortcut":
                tensors.setdefault("shortcut.weight", []).append(entry)
        return tensors

    def filtered(self) -> list[Entry]:
        """The convolutions that the seed gives, filter by filter."""
        return [e for e in self.entries if e.role == "weight" and len(e.shape) > 2 and self.source(e) != "file"]

    def count(self, entry: Entry) -> int:
        """How many values of the parameter a file holds."""
        if self.source(entry) == "seed+file":
            return entry.shape[0] * min(self.scalars, entry.size // entry.shape[0])
        return entry.size

    def digest(self) -> str:
        """SHA-256 of one line a parameter: index, name, role, shape and source, with spaces between."""
        lines = (
            f"{entry.index} {entry.name} {entry.role} {'x'.join(map(str, entry.shape))} {self.source(entry)}\n"
            for entry in self.entries
        )
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def requires(self, codec: str, antialias: str = "none") -> tuple[str, ...]:
        """The features that a reader of such a file must know."""
        own = {codec} - {"raw"} | ({"random.values", "shortcut.weight"} & set(self.stored()))
        own |= {"rounds"} if self.redrawn else set()
        own |= {"antialias"} if antialias != "none" else set()  # older readers say that they do not know it
        own |= {self.norms} - {"batch"}
        return tuple(sorted(own))


def bounded(entries: Iterable[Entry], weights: int, channels: int) -> tuple[Sequence[Entry], int, int]:
    """Entries until they have more parameters or more normalised channels than that, and how many they have."""
    taken, parameters, normalised = [], 0, 0
    for entry in entries:
        taken.append(entry)
        parameters += entry.size
        normalised += entry.size if entry.role == "gamma" else 0
        if parameters > weights or normalised > channels:
            break
    return taken, parameters, normalised
