"""The files of ResNet-56 and ResNet-866 beside the limits set for them.

A depth that is not among the measured runs stands there untrained: gamma as drawn, running statistics those of one
batch of random pixels; its header says as much as that of a run on CIFAR-10. Its size in fp32 and fp16 is that of a
trained one, but for some digits of the probe; its size with rans belongs to these values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

LIMITS = {56: (18_700, 10_200, 6_600), 866: (261_000, 131_200, 62_000)}
"""By depth, bytes at most: folded in fp32, in fp16, and with rans at the coarsest step that loses at most POINTS."""

POINTS = 0.3
BATCH = 16

LABELS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
INFO = {"data": "cifar10", "epochs": 160, "group": "bn", "run": "0123456789", "top1": 0.123456}
"""As long as what `bnonly export` says of a run on CIFAR-10."""


def measure(rows: list[dict[str, Any]], depths: Sequence[int]) -> list[dict[str, Any]]:
    """A row a limit of these depths, from the rows of sizes.csv; where every step loses too much, none for rans."""
    best = {depth: how for depth in {row["depth"] for row in rows} if (how := coarsest(rows, depth)) is not None}
    found = []
    for depth in depths:
        source = depth if depth in best else max(best, default=None)
        step, calibrated = best[source] if source is not None else (None, "")
        rans = {"codec": "rans", "step": step, "calibrated": calibrated}
        hows = [{"dtype": "fp32", "codec": "raw"}, {"dtype": "fp16", "codec": "raw"}, rans]
        trained = any(row["depth"] == depth for row in rows)
        files = _measured(rows, depth, hows) if trained else _untrained(depth, hows)
        for how, limit, file in zip(hows, LIMITS[depth], files, strict=True):
            if file is None:
                continue
            coded = how["codec"] == "rans"
            found.append(
                {
                    "network": f"cifar_resnet{depth}",
                    "trained": trained,
                    "form": "folded",
                    "dtype": how.get("dtype", ""),
                    "codec": file["codec"],
                    "step": step if coded else "",
                    "calibrated": calibrated if coded and trained else "",
                    "step_from": f"cifar_resnet{source}, at most {POINTS} points lost" if coded else "",
                    "bytes": file["bytes"],
                    "limit": limit,
                    "within": file["bytes"] <= limit,
                    "times_smaller": file["times_smaller"],
                    "points_lost": file["points_lost"],
                    "note": file["note"],
                }
            )
    return found


def coarsest(rows: list[dict[str, Any]], depth: int) -> tuple[int, int | str] | None:
    """The fewest steps a deviation at which rans, nothing clamped, loses at most POINTS; None if all lose more.

    With the images it is calibrated by, blank for none.
    """
    own = [row for row in rows if row["depth"] == depth and row["codec"] == "rans" and row["clamp"] == 0]
    good = [row for row in own if row["verified"] and row["points_lost"] <= POINTS]
    return min(
        ((row["step"], row["calibrated"]) for row in good), default=None, key=lambda how: (how[0], str(how[1]))
    )


def _measured(rows: list[dict[str, Any]], depth: int, hows: list[dict[str, Any]]) -> list[dict[str, Any] | None]:
    def matches(row: dict[str, Any], how: dict[str, Any]) -> bool:
        wanted = {"depth": depth, "form": "folded", "clamp": 0, "calibrated": "", **how}
        return all(row[key] == value for key, value in wanted.items())

    return [next((row for row in rows if matches(row, how)), None) for how in hows]


def _untrained(depth: int, hows: list[dict[str, Any]]) -> list[dict[str, Any] | None]:
    from bnonly.data.colours import IMAGENET_MEAN, IMAGENET_STD
    from bnonly.seedfile.header import Input
    from bnonly.seedfile.saving import How, pack

    images = Input((3, 32, 32), IMAGENET_MEAN, IMAGENET_STD, LABELS)
    net = untrained(f"cifar_resnet{depth}")
    weights, files = sum(p.numel() for p in net.parameters()), []
    for how in hows:
        if how.get("step", 0) is None:
            files.append(None)
            continue
        packed = pack(net, How(**{key: how[key] for key in how if key != "calibrated"}), images, INFO)
        files.append(
            {
                "codec": packed.header.codec.removesuffix("-1"),
                "bytes": len(packed.data),
                "times_smaller": round(4 * weights / len(packed.data), 2),
                "points_lost": "",
                "note": "; ".join(["untrained", *packed.notes]),
            }
        )
    return files


def untrained(name: str, seed: int = 0) -> nn.Module:
    """The network at its start, group bn, with the running statistics of one batch of BATCH images of noise."""
    import torch

    import bnonly
    from bnonly.seedfile import probe

    net: Any = bnonly.network(name, seed)
    bnonly.freeze_all_but(net, "bn")
    norms = [module for module in net.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    usual = norms[0].momentum
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        net.train()(torch.from_numpy(probe.images(seed, (3, 32, 32), BATCH)))
    for norm in norms:
        norm.momentum = usual
    return net.eval()
