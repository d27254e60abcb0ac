"""The learning rate as a pure function of the position in training."""

from __future__ import annotations

import math

from bnonly.config.training import TrainingConfig


def rate(training: TrainingConfig, epoch: float) -> float:
    """The learning rate at a fractional epoch, 0 <= epoch < epochs: linear warm-up times the schedule's fall."""
    value = training.lr
    if epoch < training.warmup:
        value *= epoch / training.warmup
    if training.schedule == "milestones":
        value *= training.lr_factor ** sum(epoch >= milestone for milestone in training.milestones or ())
    elif training.schedule == "cosine":
        span = training.epochs - training.warmup
        done = max(0.0, epoch - training.warmup) / span if span else 0.0
        value *= (1 + math.cos(math.pi * done)) / 2
    return value
