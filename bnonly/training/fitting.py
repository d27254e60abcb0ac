"""Which batch size fits into memory, tried in a process of its own, since one that ran short is no place to ask."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from collections.abc import Callable, Iterator

import torch

from bnonly.config import RunConfig
from bnonly.measure.accuracy import autocast
from bnonly.training.allocator import give_back_freed_memory, keep_freed_memory
from bnonly.training.build import engaged, evaluation_batch, placed, run_network
from bnonly.training.optimizers import optimizer

_SECONDS = 300  # for all tries


def fitting_batch(config: RunConfig, classes: int, shape: list[int], device: torch.device) -> str:
    """Advice for the sentence of a run whose batches of this shape [B, 3, H, W] were too large."""
    gc.collect()
    give_back_freed_memory()
    torch.cuda.empty_cache()
    order = {"config": config.plain(), "classes": classes, "shape": shape, "device": str(device)}
    command = [sys.executable, "-m", "bnonly.training.fitting"]
    try:
        said = subprocess.run(
            command, input=json.dumps(order), capture_output=True, text=True, timeout=_SECONDS
        ).stdout
    except subprocess.TimeoutExpired as error:
        said = (error.stdout or b"").decode()
    if not (sizes := said.split()):
        return "no smaller one fits either, so take a smaller network or another device"
    return f"{sizes[-1]} fits, as was tried (another batch size is another run)"


def fitting(step: Callable[[int], None], size: int) -> Iterator[int]:
    """Sizes below `size`, each the half of the next, as long as a step of them fits: the small ones first, since
    memory that a failed step had used may stay with the process."""
    for halvings in range(size.bit_length() - 2, 0, -1):
        try:
            step(size >> halvings)
        except (RuntimeError, MemoryError):
            return
        yield size >> halvings


def main() -> None:
    import bnonly.training.fit  # noqa: F401  as heavy as the run itself

    order = json.loads(sys.stdin.read())
    config, device, shape = RunConfig.model_validate(order["config"]), torch.device(order["device"]), order["shape"]
    keep_freed_memory()
    torch.set_num_threads(config.training.threads or torch.get_num_threads())
    net = engaged(placed(run_network(config, order["classes"]), config, device), config)
    layout = torch.channels_last if config.training.memory_format == "channels_last" else torch.contiguous_format
    stepper = optimizer(net, config.training)

    def images(size: int) -> torch.Tensor:
        return torch.zeros(size, *shape[1:], device=device).contiguous(memory_format=layout)

    def step(size: int) -> None:
        for _ in range(2):  # the second with momentum, and with what the first left behind
            with autocast(device, config.training.precision):
                loss = net(images(size)).float().square().mean()
            if stepper is not None:
                stepper.zero_grad()
                loss.backward()
                stepper.step()

    if config.data.source != "imagenet":  # whose evaluation takes as many as training
        with torch.inference_mode():
            net(images(evaluation_batch(config)))
    for size in fitting(step, shape[0]):
        print(size, flush=True)  # at once: the system may end this process at the next


if __name__ == "__main__":
    main()
