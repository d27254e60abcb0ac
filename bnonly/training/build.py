"""From a run's configuration, or its folder, to the network, the images and the batches it speaks of."""

from __future__ import annotations

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from bnonly.config import RunConfig
from bnonly.data.batches import Batches, Preparation
from bnonly.data.images import Dataset
from bnonly.data.sources import load
from bnonly.errors import BadInput
from bnonly.networks import network
from bnonly.runs import RunFolder
from bnonly.trainable import freeze_all_but
from bnonly.training.checkpoint import restore_trained

_EVALUATION_BATCH = 500


def run_network(config: RunConfig, classes: int) -> nn.Module:
    """The run's network at its start, the group's parameters trainable, on the CPU."""
    net = network(config.network.name, config.seed, classes=classes, start=config.network.start)
    freeze_all_but(net, config.group)
    return net


def run_data(config: RunConfig) -> Dataset:
    """The run's images, the holdout split off."""
    data = load(config.data.source, config.data.path, size=config.data.size)
    return data.held_out(config.data.holdout, config.seed)


def run_batches(config: RunConfig, data: Dataset, device: torch.device) -> tuple[Batches, Batches]:
    """Training and evaluation batches on the device."""
    last = config.training.memory_format == "channels_last"
    plain = Preparation(config.data.mean, config.data.std, channels_last=last)
    augmented = Preparation(config.data.mean, config.data.std, config.data.crop or 0, bool(config.data.flip), last)
    return (
        Batches(data.train, config.training.batch_size, augmented, device, config.seed),
        Batches(data.test, _EVALUATION_BATCH, plain, device),
    )


def trained_network(folder: RunFolder) -> nn.Module:
    """A finished run's network on the CPU: grown from the seed, the trained values and buffers put in."""
    config, result = folder.config(), folder.result()
    if config is None or result is None:
        raise BadInput(f"{folder.path} is no finished run: finish it with `bnonly fit -c {folder.path}/config.yaml`")
    net = run_network(config, len(result["classes"]))
    try:
        restore_trained(net, load_file(folder.final))
    except (OSError, SafetensorError) as error:
        raise BadInput(f"{folder.final} cannot be read ({error})") from error
    return net
