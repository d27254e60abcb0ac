"""Why a seed+BN file is refused: one family, each error naming file, field, expected, got and what to do next."""

from __future__ import annotations

from typing import Any

from bnonly.errors import BadInput, GeneratorBroken, printable

__all__ = [
    "ConfigMismatch",
    "CorruptFile",
    "FrozenDigestMismatch",
    "GeneratorBroken",
    "HeaderDigestMismatch",
    "NotStorable",
    "PayloadDigestMismatch",
    "PlanMismatch",
    "ProbeMismatch",
    "SeedFileError",
    "TooLarge",
    "UnsupportedFeature",
    "UnsupportedVersion",
]

UPGRADE = "install a newer bnonly (pip install -U bnonly)"
FETCH_AGAIN = "the file is damaged or was not written by bnonly: fetch it again"


class SeedFileError(BadInput):
    """file: its path, "" for bytes in hand. field: what in it. expected, got: as text. todo: what to do next."""

    todo = FETCH_AGAIN

    def __init__(self, field: str, expected: Any, got: Any, todo: str | None = None, file: str = ""):
        super().__init__(field, expected, got)
        self.field, self.expected, self.got, self.file = _short(field), str(expected), _short(got), file
        self.todo = todo or type(self).todo

    def __str__(self) -> str:
        where = f"{self.file}: " if self.file else ""
        return printable(f"{where}{self.field}: expected {self.expected}, got {self.got}; {self.todo}")


class CorruptFile(SeedFileError):
    """The bytes are no whole, well-formed file of this format."""


class TooLarge(SeedFileError):
    """It asks for more than the limits allow; nothing of it was allocated."""

    todo = "raise the limit (bnonly.seedfile.Limits) if you trust the file"


class UnsupportedVersion(SeedFileError):
    """A format, or a revision of an architecture, that this version does not know."""

    todo = UPGRADE


class UnsupportedFeature(SeedFileError):
    """A feature, codec, form, generator or architecture that this version does not know."""

    todo = UPGRADE


class HeaderDigestMismatch(SeedFileError):
    """The header is not the one that was written."""


class PayloadDigestMismatch(SeedFileError):
    """The values are not the ones that were written."""


class PlanMismatch(SeedFileError):
    """The architecture of that name has other parameters here than where the file was written."""

    todo = UPGRADE


class FrozenDigestMismatch(SeedFileError):
    """The seed does not give the weights that the network was trained with."""

    todo = "report this with the machine's type and numpy's version: its weights cannot be trusted"


class ProbeMismatch(SeedFileError):
    """The network does not answer the probe images as it did where it was written."""

    todo = "its weights are right, its arithmetic is not: try another device, or another version of torch"


class ConfigMismatch(SeedFileError):
    """The config.json beside a file says something else than the file's header."""

    todo = "the header is the truth: save the network again, or fetch both files again"


class NotStorable(SeedFileError):
    """A network that a seed and its stored values would not bring back."""

    todo = "store it whole instead (torch.save or safetensors)"


def _short(got: Any) -> str:
    text = str(got)
    return text if len(text) <= 200 else f"{text[:197]}..."
