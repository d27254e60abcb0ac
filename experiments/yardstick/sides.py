"""The ways to do one step that are held against each other, by name. Without torch.

Ours go through the same code as a real run. Theirs are a loop as one writes it without the laboratory (plain.py):
`plain` in the style of the paper's time, the others with what torch offers off the shelf. NAME@GROUP is the side with
another group, for runs of random:K alone: what its scalars cost beside that group.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnonly.config import RunConfig
from bnonly.config.names import did_you_mean, nearest
from bnonly.config.training import SPEEDS
from bnonly.errors import BadInput
from bnonly.fused.native import kernels
from bnonly.groups import parse_group, random_scalars

PLAIN = "plain"
"""The side that all others are held against first."""
MACHINE = "machine"
"""Not among `SIDES`: it does no step, but is asked for blocks with them."""


@dataclass(frozen=True)
class Side:
    """training: fields of the run's training. ours: through the laboratory's code, else plain.py's loop, for which
    compile is torch.compile's mode; workers: whether, with a GPU, other processes prepare the images.
    """

    training: Mapping[str, Any]
    ours: bool = True
    compile: str | None = None
    workers: bool = False


_FIRST = {"precision": "fp32", "memory_format": "contiguous", "engine": "modules"}
_LAST = _FIRST | {"memory_format": "channels_last"}
_BF16 = _LAST | {"precision": "bf16"}

SIDES = {
    PLAIN: Side(_FIRST, ours=False),
    "shelf": Side(_LAST, ours=False, workers=True),
    "shelf-bf16": Side(_BF16, ours=False, workers=True),
    "compiled": Side(_LAST, ours=False, compile="default", workers=True),
    "compiled-bf16": Side(_BF16, ours=False, compile="default", workers=True),
    "graphs": Side(_BF16, ours=False, compile="reduce-overhead", workers=True),  # CUDA graphs
    "paper": Side(SPEEDS["paper"]),
    "channels_last": Side(_LAST),
    "fused": Side(_LAST | {"engine": "fused"}),
    "fast": Side(SPEEDS["fast"]),
}


def side(name: str) -> Side:
    """The side of that name, @GROUP or not. Raises BadInput for an unknown one."""
    plain = name.partition("@")[0]
    if plain not in SIDES:
        near = did_you_mean(nearest(plain, SIDES))
        raise BadInput(f"side {name!r} is unknown{near}: there are {', '.join(SIDES)}, each also as NAME@GROUP")
    return SIDES[plain]


def wanted(names: Sequence[str], group: str) -> list[str]:
    """Those of these sides that a run of this group has."""
    return [name for name in names if "@" not in name or random_scalars(parse_group(group))]


def config_of(name: str, config: RunConfig) -> RunConfig:
    """The run as a side does it. Its rate is small, so that no loss leaves the finite numbers: that costs no time."""
    quiet = {"lr": 1e-3, "warmup": 0.0, "devices": 1, "save_every": 1e9}
    plain, group = config.plain(), name.partition("@")[2]
    plain |= {"training": plain["training"] | quiet | side(name).training, "tracking": "off"}
    return RunConfig.model_validate(plain | ({"group": group} if group else {}))


def unavailable(name: str, device: str) -> str | None:
    """Why a side cannot be had on this device, "cpu" or "cuda"; None where it can."""
    chosen = side(name)
    if chosen.compile == "reduce-overhead" and device != "cuda":
        return "CUDA graphs need a GPU"
    own = chosen.ours and chosen.training["engine"] == "fused" and kernels() is not None
    if chosen.training["precision"] == "bf16" and device == "cpu" and not own and not _bf16_units():
        return "this processor has no units for bfloat16, and torch emulates it many times slower"
    return None


def _bf16_units() -> bool:
    """Whether bfloat16 is no loss: told by the processor on Linux, taken for granted elsewhere."""
    try:
        told = Path("/proc/cpuinfo").read_text()
    except OSError:
        return True
    return "bf16" in told  # avx512_bf16, amx_bf16, bf16
