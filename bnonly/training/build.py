"""From a run's configuration, or its folder, to the network, the images and the batches it speaks of."""

from __future__ import annotations

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from bnonly.config import RunConfig
from bnonly.data.batches import WHOLE, Batches, Loader, Preparation, Share, check_shares
from bnonly.data.cores import usable_cores
from bnonly.data.images import Dataset, Images, Part
from bnonly.data.kept import loaded
from bnonly.data.streamed import CropPreparation, Streamed
from bnonly.errors import BadInput
from bnonly.fused.network import fuse
from bnonly.networks import network
from bnonly.runs import RunFolder
from bnonly.trainable import freeze_all_but
from bnonly.training import begun
from bnonly.training.checkpoint import restore_trained

_EVALUATION_BATCH = 500


def run_network(config: RunConfig, classes: int, folder: RunFolder | None = None) -> nn.Module:
    """The run's network at its start, the group's parameters trainable, on the CPU.

    folder: of the run; unset: where the configuration says. Raises BadInput where a run that it goes on from is
    missing, or is another network's.
    """
    own = config.network
    net = network(own.name, config.seed, classes=classes, start=own.start, antialias=own.antialias)
    if config.regrow.after is not None:
        begun.begin(net, config, folder or RunFolder.of(config))
    freeze_all_but(net, config.group)
    return net


def run_data(config: RunConfig) -> Dataset:
    """The run's images, fetched if need be, the holdout split off."""
    wanted = config.data
    data = loaded(wanted.source, wanted.path, size=wanted.size, mirrors=wanted.mirrors, download=wanted.download)
    return data.held_out(wanted.holdout, config.seed)


def image_shape(config: RunConfig, data: Dataset) -> list[int]:
    """[3, H, W] of what the network is shown in evaluation."""
    if isinstance(data.test, Images):
        return list(data.test.pixels.shape[1:])
    assert config.data.size, "the configuration sets it"
    return [3, config.data.size, config.data.size]


def placed(net: nn.Module, config: RunConfig, device: torch.device) -> nn.Module:
    """The network on the device, its weights in the run's memory format."""
    last = config.training.memory_format == "channels_last"
    return net.to(device).to(memory_format=torch.channels_last if last else torch.contiguous_format)


def engaged(net: nn.Module, config: RunConfig) -> nn.Module:
    """The network, computing by the run's engine; in bf16 every LayerNorm in float32, as torch does it on GPUs.

    On CPUs torch's LayerNorm adds up the gradients of gamma and beta in its input's dtype: in bfloat16 a sum over
    8,192 tokens came out 0.2 to 0.9 times what it is (torch 2.15), and these are what a group of norms trains.
    """
    if config.training.engine == "fused":
        fuse(net)
    if config.training.precision == "bf16":
        for layer in net.modules():
            if isinstance(layer, nn.LayerNorm):
                layer.register_forward_pre_hook(_in_float32)
    return net


def _in_float32(layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    return tuple(x.float() for x in inputs)


def evaluation_batch(config: RunConfig) -> int:
    """Images at a time in evaluation, over all processes: large ones come as in training, which needs more memory."""
    return config.training.batch_size if config.data.source == "imagenet" else _EVALUATION_BATCH


def run_batches(
    config: RunConfig, data: Dataset, device: torch.device, share: Share = WHOLE
) -> tuple[Loader, Loader]:
    """Training and evaluation batches on the device: this process's share of them."""
    train = _loader(config, data.train, config.training.batch_size, device, share, training=True)
    return train, evaluation_batches(config, data, device, share)


def evaluation_batches(config: RunConfig, data: Dataset, device: torch.device, share: Share = WHOLE) -> Loader:
    """The second of `run_batches`, without the memory that the training images take on the device."""
    return _loader(config, data.test, evaluation_batch(config), device, share, training=False)


def _loader(
    config: RunConfig, part: Part, batch_size: int, device: torch.device, share: Share, training: bool
) -> Loader:
    chosen, last = config.data, config.training.memory_format == "channels_last"
    if training:
        check_shares(len(part), batch_size, share)
    if isinstance(part, Images):
        crop, flip = (chosen.crop or 0, bool(chosen.flip)) if training else (0, False)
        how = Preparation(chosen.mean, chosen.std, crop, flip, last)
        return Batches(part, batch_size, how, device, config.seed, share)
    assert chosen.size and chosen.resize and chosen.crop_scale and chosen.crop_ratio, "the configuration sets them"
    crops = CropPreparation(
        chosen.size,
        chosen.resize,
        chosen.crop_scale,
        chosen.crop_ratio,
        bool(chosen.flip),
        chosen.mean,
        chosen.std,
        last,
    )
    workers = max(1, usable_cores() // share.of) if chosen.workers is None else chosen.workers
    return Streamed(part, batch_size, crops, device, config.seed, workers, share)


def trained_network(folder: RunFolder) -> nn.Module:
    """A finished run's network on the CPU: grown from the seed, the trained values and buffers put in."""
    config, result = folder.finished()
    net = run_network(config, len(result["classes"]), folder)
    try:
        restore_trained(net, load_file(folder.final))
    except (OSError, SafetensorError) as error:
        raise BadInput(f"{folder.final} cannot be read ({error})") from error
    return net
