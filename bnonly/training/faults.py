"""What can happen to training that is nobody's bug, as one sentence each."""

from __future__ import annotations

import traceback
from collections.abc import Callable

import torch

from bnonly.errors import BnonlyError, TrainingFailed

_OUT_OF_MEMORY = ("can't allocate memory", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
_DEVICE = ("CUDA error", "CUDNN_STATUS", "CUBLAS_STATUS", "NCCL error", "device-side assert", "unspecified launch")


def as_sentence(error: BaseException, batch_size: int, advice: Callable[[], str], kept: str) -> BnonlyError | None:
    """The sentence for an error of training, or None for one that should be seen as it is.

    advice: which batch size to take, asked only when memory was short. kept: what is saved.
    """
    said = str(error)
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and any(sign in said for sign in _OUT_OF_MEMORY)
    ):
        traceback.clear_frames(error.__traceback__)  # which hold the activations
        return TrainingFailed(f"training.batch_size {batch_size} needs more memory than there is: {advice()}; {kept}")
    if isinstance(error, RuntimeError) and any(sign in said for sign in _DEVICE):
        return TrainingFailed(
            f"the device failed ({said.splitlines()[0]}); {kept}: give the same command again on a device in order"
        )
    if isinstance(error, ValueError) and "more than 1 value per channel" in said:
        return TrainingFailed(
            "BatchNorm cannot take statistics of one image of one pixel: choose a training.batch_size that leaves no "
            "single image for a device in the last step of an epoch"
        )
    return None
