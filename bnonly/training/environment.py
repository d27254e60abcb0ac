"""What a result was made with, besides its configuration."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import bnonly
from bnonly.config import RunConfig
from bnonly.errors import BadInput
from bnonly.fused.convolution import has_bfloat16
from bnonly.fused.native import kernels
from bnonly.progress import console


def pick_device(wanted: str, rank: int = 0, count: int = 1) -> torch.device:
    """auto: CUDA, else the CPU; of `count` processes on this machine the one of this rank takes a GPU of its own.

    Raises BadInput for a device this machine has not got. Apple's MPS is left out: it has no float64, which losses
    and counts are summed in.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wanted == "cpu" or (wanted == "auto" and not gpus):
        return torch.device("cpu")
    if wanted in ("auto", "cuda") and count > 1:
        if gpus < count:
            raise BadInput(
                f"training.devices {count} are more than the {gpus} GPUs of this machine: lower it, or use cpu"
            )
        return torch.device("cuda", rank)
    device = torch.device("cuda" if wanted == "auto" else wanted)
    if (device.index or 0) >= gpus:
        raise BadInput(f"training.device {wanted} is not on this machine: use auto, or cpu")
    return torch.device("cuda", device.index or 0)


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """A block in which torch computes with so many threads; None: with as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def exact_kernels() -> Any:
    """A context in which, on CUDA, float32 is float32 (no tf32), and kernels are the same every time."""
    return torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)


def environment(device: torch.device) -> dict[str, Any]:
    """Versions, device, threads and git revision, as plain values."""
    named = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    packages = ("torch", "lightning", "numpy")
    return {
        "bnonly": bnonly.__version__,
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
        "device": device.type,
        "device_name": named,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "git": _revision(),
    }


def engine_facts(config: RunConfig, device: torch.device) -> dict[str, Any]:
    """What computes the fused engine's steps, where a run has it."""
    if config.training.engine != "fused":
        return {}
    return {"kernels": "native" if device.type == "cpu" and kernels() is not None else "torch"}


def warn_of_emulation(config: RunConfig, device: torch.device) -> None:
    """Say it where torch has to emulate the run's precision; the fused engine's kernels do not."""
    if device.type != "cpu" or config.training.precision != "bf16" or has_bfloat16():
        return
    if engine_facts(config, device).get("kernels") != "native":
        console().print(
            "this processor has no bfloat16 arithmetic, so bf16 is emulated and many times slower than fp32: "
            "--training.precision fp32 is the faster choice here, or --training.engine fused with a C++ compiler"
        )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration, IndexError):
        return platform.processor() or platform.machine()


@cache  # what this process has loaded does not change when the checkout does
def _revision() -> str | None:
    """Of the checkout this package runs from, with + where it has changes; None from a wheel."""
    root = Path(bnonly.__file__).parent.parent
    if not (root / ".git").exists():
        return None
    try:
        command = ["git", "-C", str(root), "describe", "--always", "--dirty=+", "--abbrev=12"]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
