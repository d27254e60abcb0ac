"""Optimiser, schedule and speed. The defaults are the paper's CIFAR-10 recipe (Frankle et al. 2021, appendix)."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, field_validator, model_validator

from bnonly.config.base import Group, Hint, Section
from bnonly.groups import parse_group

SPEEDS: dict[str, dict[str, str]] = {
    "paper": {"precision": "fp32", "memory_format": "contiguous", "engine": "modules"},
    "fast": {"precision": "bf16", "memory_format": "channels_last", "engine": "fused"},
}
"""What `speed: paper` and `speed: fast` stand for; only these fields are stored."""

_DEVICE = r"auto|cpu|cuda(:[0-9]{1,3})?"
Device = Annotated[
    str,
    Hint(
        form="DEVICE",
        allowed="auto, cpu, cuda or cuda:N",
        pattern=f"^({_DEVICE})$",
        examples=("auto", "cpu", "cuda", "cuda:1"),
    ),
]
Optimizer = Annotated[str, Hint(form="NAME", allowed="a name", examples=("sgd", "adam", "adamw", "nadam", "rmsprop"))]
Options = Annotated[
    dict[str, bool | int | float | list[float]],
    Hint(form="JSON", allowed="names with true, false, a number or a list of numbers"),
]


class TrainingConfig(Section):
    """How the group is trained, on what, and how often gamma is kept."""

    epochs: Annotated[int, Field(ge=1, le=1 << 20), Hint(unit="epochs")] = 160
    """Passes over the training images."""
    batch_size: Annotated[PositiveInt, Hint(unit="images")] = 128
    """Images a step; the last step of an epoch takes what is left."""
    optimizer: Optimizer = "sgd"
    """sgd, or any optimiser of torch.optim by its name (adamw, rmsprop, ...)."""
    lr: PositiveFloat = 0.1
    """Learning rate after warm-up, before any milestone."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Momentum of sgd; other optimisers take theirs from optimizer_options."""
    optimizer_options: Options = Field(default={})
    """Further arguments of the optimiser, as {"nesterov": true} or {"betas": [0.9, 0.99]}."""
    weight_decay: NonNegativeFloat = 1e-4
    """L2 penalty of everything in decay_group that trains; the paper's code decays gamma and beta too."""
    decay_group: Group = "all"
    """Group that weight decay applies to, among the parameters that train."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of each target spread evenly over the classes; reported losses of the test set have none."""
    schedule: Literal["milestones", "cosine", "constant"] = "milestones"
    """How the rate falls: in steps at the milestones, along half a cosine to 0, or not at all."""
    milestones: Annotated[tuple[PositiveFloat, ...], Hint(unit="epochs", form="X,X,...")] | None = None
    """For schedule milestones: epochs after which the rate is multiplied by lr_factor; unset: 1/2 and 3/4 of all."""
    lr_factor: Annotated[float, Field(gt=0, le=1)] = 0.1
    """What the rate is multiplied by at each milestone."""
    warmup: Annotated[NonNegativeFloat, Hint(unit="epochs")] = 0.0
    """Epochs over which the rate rises linearly from 0."""
    average: Annotated[NonNegativeFloat, Hint(unit="epochs")] = 0.0
    """Epochs at the end over whose steps the trained values are averaged: the run ends with their mean, and with
    running statistics estimated for it in one more pass over the training images."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of forward and backward; bf16 is torch's automatic mixed precision, parameters stay float32."""
    memory_format: Literal["contiguous", "channels_last"] = "contiguous"
    """Layout of activations; channels_last is faster on most processors and equal within rounding."""
    engine: Literal["modules", "fused"] = "modules"
    """What computes convolution, BatchNorm and ReLU: torch's modules, or bnonly's fused steps, which keep half the
    memory, are faster on a CPU, and equal within rounding; fused needs channels_last, and sets it."""
    device: Device = "auto"
    """auto (CUDA where there is one), cpu, cuda, or cuda:N, counted from 0."""
    threads: Annotated[PositiveInt, Hint(unit="threads")] | None = None
    """Threads of the CPU for each process; unset: torch's own choice."""
    devices: Annotated[int, Field(ge=1, le=4096), Hint(unit="processes")] = 1
    """Processes that share every batch, each on a device of its own; batch_size counts the images of all."""
    sync_bn: bool = False
    """BatchNorm takes its statistics over the whole batch (true) or, as in the paper's code, over each device's share
    of it, running statistics being the first device's (false)."""
    bn_statistics: Literal["batch", "frozen"] = "batch"
    """What BatchNorm normalises by while training: the batch's own statistics, as in the paper (batch), or running
    statistics that are estimated in one pass over the first epoch's batches, before the first step, and then kept
    (frozen)."""
    save_every: Annotated[PositiveFloat, Hint(unit="minutes")] = 10.0
    """Time between two saves within an epoch; each epoch's end is saved besides."""
    keep_gamma_every: Annotated[PositiveInt, Hint(unit="epochs")] = 10
    """Epochs between two stored copies of gamma and beta; the first and the last are always kept."""

    @field_validator("decay_group")
    @classmethod
    def _is_group(cls, group: str) -> str:
        parse_group(group)
        return group

    @field_validator("device")
    @classmethod
    def _is_device(cls, device: str) -> str:
        if not re.fullmatch(_DEVICE, device):
            raise ValueError(f"device {device!r} is unknown: use auto, cpu, cuda or cuda:N")
        return device

    @model_validator(mode="before")
    @classmethod
    def _scaled_milestones(cls, given: Any) -> Any:
        if not isinstance(given, dict) or given.get("milestones") is not None:
            return given
        if given.get("schedule", "milestones") != "milestones":
            return given
        try:
            epochs = float(given.get("epochs", 160))
        except (TypeError, ValueError, OverflowError):
            return given  # epochs itself will be refused
        return given | {"milestones": [epochs / 2, epochs * 3 / 4]} if epochs > 0 else given

    @model_validator(mode="before")
    @classmethod
    def _fused_layout(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("engine") == "fused" and given.get("memory_format") is None:
            return given | {"memory_format": "channels_last"}
        return given

    @model_validator(mode="after")
    def _consistent(self) -> TrainingConfig:
        if self.milestones is not None and list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError(f"milestones {list(self.milestones)} must rise")
        if self.milestones and self.milestones[-1] >= self.epochs:
            raise ValueError(
                f"milestones {list(self.milestones)} do not lie within {self.epochs} epochs: unset them to have them "
                "scaled"
            )
        if taken := {"lr", "weight_decay"} & set(self.optimizer_options):
            raise ValueError(f"optimizer_options must not hold {taken.pop()}: it has a field of its own")
        if self.optimizer.lower() == "sgd" and "momentum" in self.optimizer_options:
            raise ValueError("optimizer_options must not hold momentum for sgd: it has a field of its own")
        if self.devices > 1 and ":" in self.device:
            raise ValueError(
                f"device {self.device} is one device, and devices asks for {self.devices}: use cuda or cpu"
            )
        if self.devices > self.batch_size:
            raise ValueError(f"a batch_size of {self.batch_size} cannot be shared by {self.devices} devices")
        if self.engine == "fused" and self.memory_format != "channels_last":
            raise ValueError("engine fused computes in memory_format channels_last: leave memory_format unset")
        if self.engine == "fused" and self.sync_bn:
            raise ValueError("engine fused has no synchronised BatchNorm: set sync_bn to false, or engine to modules")
        if self.average > self.epochs:
            raise ValueError(f"an average over {self.average} epochs is longer than the {self.epochs} of training")
        if self.warmup > self.epochs:
            raise ValueError(f"a warm-up of {self.warmup} epochs is longer than the {self.epochs} epochs of training")
        return self
