"""What the papers say, number by number, each with how sure it is and where it was read.

Tags: V verified in the source named; D digitised from a paper's figure, about half a point either way. Nothing of a
weaker standing is kept here, so that nothing weaker is drawn beside a measurement.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """One accuracy of a paper: CIFAR-10 test top-1 in percent after 160 epochs, mean over the paper's runs."""

    network: str
    group: str
    percent: float
    tag: str
    source: str
    note: str = ""


_V1 = "arXiv 2003.00152v1, accuracy figure"
_HIDDEN = "point partly hidden behind another line"
_DEPTHS = ("14", "32", "56", "110", "218", "434", "866")
_WIDTHS = ("1", "2", "4", "8", "16", "32")

_BY_DEPTH = {
    "all": (90.4, 92.1, 93.1, 93.4, 93.4, 92.9, 92.8),
    "bn": (48.2, 57.6, 62.9, 69.6, 75.7, 79.9, 82.0),
    "bn+output+shortcut": (63.2, 66.7, 71.2, 74.6, 78.3, 80.5, 82.0),
    "none": (10.6, 10.4, 10.9, 10.4, 10.1, 10.4, 10.1),
}
_BY_WIDTH = {
    "all": (90.4, 93.0, 94.1, 94.8, 95.1, 95.1),
    "bn": (48.2, 53.3, 59.5, 64.4, 68.3, 73.4),
    "bn+output+shortcut": (63.4, 72.6, 79.5, 83.4, 85.6, 86.9),
}
_PARTLY_HIDDEN = {
    *(("cifar_resnet" + depth, "bn") for depth in ("14", "434", "866")),
    *(("cifar_resnet" + depth, "bn+output+shortcut") for depth in ("218", "434")),
    *(("cifar_wrn14_" + factor, "bn") for factor in ("1", "32")),
}

CIFAR10 = [
    Published(prefix + size, group, percent, "D", _V1, _HIDDEN if (prefix + size, group) in _PARTLY_HIDDEN else "")
    for table, prefix, sizes in (
        (_BY_DEPTH, "cifar_resnet", _DEPTHS),
        (_BY_WIDTH, "cifar_wrn14_", _WIDTHS),
    )
    for group, row in table.items()
    for size, percent in zip(sizes, row, strict=True)
]


@dataclass(frozen=True)
class Consistent:
    """ImageNet validation top-1 of the centre crop, and consistency over pairs of shifts, both in percent."""

    network: str
    antialias: str
    top1: float
    consistency: float
    tag: str = "V"
    source: str = "R. Zhang, arXiv 1904.11486, networks trained whole: the tables beside its code"


CONSISTENT = [
    Consistent("resnet18", "none", 69.74, 85.11),
    Consistent("resnet18", "tri3", 71.69, 87.51),
    Consistent("resnet18", "bin5", 71.38, 88.25),
    Consistent("resnet50", "none", 76.16, 89.20),
    Consistent("resnet50", "rect2", 76.81, 89.96),
    Consistent("resnet50", "tri3", 76.83, 90.91),
    Consistent("resnet50", "bin5", 77.04, 91.31),
]


def cifar10(network: str, group: str) -> Published | None:
    """The paper's accuracy of that network and group, or None where no figure shows it."""
    return next((point for point in CIFAR10 if (point.network, point.group) == (network, group)), None)
