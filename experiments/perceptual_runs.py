"""The task of `perceptual`: one small network trained with one loss, and its scores. Without torch until then.

Leaves perceptual-DIGEST.json in the trial's folder, DIGEST being that of the stage's options.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnonly.config import RunConfig
from bnonly.errors import BadInput
from bnonly.files import write_object
from bnonly.runs import RunFolder
from experiments.scenes import FAR, KINDS, patches, scenes
from experiments.stagefile import kept, named

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from bnonly.features.perceptual import PerceptualLoss

VERSION = 2  # of the files
_RATES = {"super-resolution": 2e-3, "segmentation": 1e-2, "depth": 1e-2}  # Adam's, half a cosine to 0
_TESTED = 64  # scenes
_FILES = {"vgg16": "vgg16-397923af.pth", "vgg19": "vgg19-dcbb9e9d.pth"}  # torchvision's names


def place(folder: RunFolder, options: Mapping[str, Any]) -> Path:
    return named(folder, "perceptual", options)


def found(config: RunConfig, folder: RunFolder, options: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a stage left; None where it is not done."""
    return kept(place(folder, options), config, VERSION)


def answered(config: RunConfig, folder: RunFolder, options: Mapping[str, Any]) -> bool:
    """Whether it was trained, or cannot be for want of pretrained weights, which are still not there."""
    facts = found(config, folder, options)
    return facts is not None and (facts["unavailable"] is None or _missing(options["loss"]) is not None)


def weights_file(name: str) -> Path:
    """Where torch keeps torchvision's pretrained weights of a VGG, whether or not they are there."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("TORCH_HOME") or cache / "torch") / "hub" / "checkpoints" / _FILES[name]


def _missing(loss: Mapping[str, Any]) -> str | None:
    if "pretrained" not in loss or weights_file(loss["pretrained"]).is_file():
        return None
    return f"torchvision's {weights_file(loss['pretrained']).name} is not in torch's cache"


def train(config: RunConfig, folder: RunFolder, **options: Any) -> None:
    """options: task; loss ({}: by pixel alone); steps; size, pixels a side; images, to train on (of photographs, all
    patches); batch; amount, what the perceptual loss counts beside the pixels'.
    """

    from bnonly.training.environment import environment, pick_device, threads

    device, missing = pick_device(config.training.device), _missing(options["loss"])
    facts: dict[str, Any] = {"scores": None, "diverged": None, "train_seconds": None}
    if missing is None:
        with threads(config.training.threads):
            facts = _trained(config.seed, device, **options)
            made = environment(device)
    else:
        made = environment(device)
    result = {"version": VERSION, "run": config.id, "asked": options, "config": config.plain(), **facts}
    result |= {"unavailable": missing, "environment": made}
    write_object(place(folder, options), result)


def _trained(
    seed: int,
    device: torch.device,
    *,
    task: str,
    loss: Mapping[str, Any],
    steps: int,
    size: int,
    images: int,
    batch: int,
    amount: float,
) -> dict[str, Any]:
    import torch

    from bnonly.training.environment import exact_kernels
    from experiments.perceptual_nets import Dense, SRResNet, begun

    given = _patches(size) if task == "super-resolution" else _scenes(task, size, images, seed)
    with torch.device("meta"):
        net = SRResNet() if task == "super-resolution" else Dense(len(KINDS) if task == "segmentation" else 1)
    net = begun(net, seed).to(device)
    inputs, targets, tested, answers = (part.to(device) for part in given)
    beside = None if not loss else _perceptual(task, loss, seed).to(device)
    adam = torch.optim.Adam(net.parameters(), _RATES[task])
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    began, diverged = time.perf_counter(), None
    with exact_kernels():
        for step, chosen in enumerate(_batches(len(inputs), batch, steps, seed)):
            total = _loss(task, net(inputs[chosen]), targets[chosen], beside, amount)
            if not total.isfinite():
                diverged = step
                break
            adam.zero_grad()
            total.backward()
            adam.step()
            cosine.step()
        seconds = time.perf_counter() - began
        scores = None if diverged is not None else _scores(task, net.eval(), tested, answers)
    if scores is not None and not all(map(_is_finite, scores.values())):
        scores, diverged = None, steps
    return {"scores": scores, "diverged": diverged, "train_seconds": seconds}


def _is_finite(value: float) -> bool:
    return abs(value) < float("inf")


def _batches(images: int, batch: int, steps: int, seed: int) -> Iterator[Any]:
    """Places of images, each epoch in an order of its own; of a batch as large as all images, all."""
    import torch

    from bnonly.randomness import bngen

    a_round = max(1, images // batch)
    for epoch in range(math.ceil(steps / a_round)):
        order = bngen.permutation(seed, bngen.stream_number(bngen.ORDER, 0, epoch), images)
        for within in range(min(a_round, steps - epoch * a_round)):
            yield torch.from_numpy(order[within * batch : (within + 1) * batch])


def _patches(size: int) -> tuple[Tensor, ...]:
    import torch

    from experiments.perceptual_nets import reduced

    train, test = map(torch.from_numpy, patches(size))
    return reduced(train), train, reduced(test), test


def _scenes(task: str, size: int, images: int, seed: int) -> tuple[Tensor, ...]:
    """The trial's own scenes to train on; the same ones for all to be tested on."""
    import torch

    parts = []
    for count, own in ((images, 1 + seed), (_TESTED, 0)):
        made = scenes(count, size, own)
        wanted = made.labels if task == "segmentation" else made.depth[:, None] / FAR
        parts += [torch.from_numpy(made.images), torch.from_numpy(wanted)]
    return tuple(parts)


def _perceptual(task: str, loss: Mapping[str, Any], seed: int) -> PerceptualLoss:
    """Squared, in the features at the end of every stage, mean over stages; of pictures normalised as usual."""
    from bnonly.data.colours import IMAGENET_MEAN, IMAGENET_STD
    from bnonly.features import Structure, extractor, perceptual_loss
    from bnonly.features.networks import stage_ends

    pictures = task == "super-resolution"
    channels = 3 if pictures else len(KINDS) if task == "segmentation" else 1
    usual: dict[str, Any] = {"mean": IMAGENET_MEAN, "std": IMAGENET_STD} if pictures else {}
    if "pretrained" in loss:
        network, layers = _pretrained(loss["pretrained"])
    else:
        network = loss["network"] if "network" in loss else Structure(**loss)
        layers = stage_ends(extractor(network, seed))
    return perceptual_loss(
        network, layers, seed, "l2", weights=[1 / len(layers)] * len(layers), channels=channels, **usual
    )


def _pretrained(name: str) -> tuple[nn.Module, tuple[str, ...]]:
    """torchvision's VGG up to its last ReLU, and the layers before its pools and that ReLU."""
    import pickle

    import torch
    import torchvision

    path = weights_file(name)
    with torch.device("meta"):
        whole = getattr(torchvision.models, name)()
    try:
        whole.load_state_dict(torch.load(path, map_location="cpu", weights_only=True), assign=True)
    except (OSError, RuntimeError, pickle.UnpicklingError) as error:
        raise BadInput(f"{path} cannot be read: remove it, or fetch it again") from error
    pools = [place for place, layer in enumerate(whole.features) if type(layer).__name__ == "MaxPool2d"]
    return whole.features, tuple(str(place - 1) for place in pools)


def _loss(task: str, found: Tensor, wanted: Tensor, beside: PerceptualLoss | None, amount: float) -> Tensor:
    """By pixel: mean squared error of pictures, cross-entropy of labels, mean error of depth; then the other's."""
    from torch.nn.functional import cross_entropy, l1_loss, mse_loss, one_hot

    if task == "segmentation":
        total = cross_entropy(found, wanted)
        maps = found.softmax(1), one_hot(wanted, len(KINDS)).movedim(-1, 1).to(found.dtype)
    else:
        total, maps = (mse_loss if task == "super-resolution" else l1_loss)(found, wanted), (found, wanted)
    return total if beside is None else total + amount * beside(*maps)


def _scores(task: str, net: nn.Module, tested: Tensor, answers: Tensor) -> dict[str, float]:
    import torch

    with torch.inference_mode():
        outputs = torch.cat([net(part) for part in tested.split(8)])
    return SCORES[task](outputs, answers, tested)


def _of_pictures(found: Tensor, wanted: Tensor, reduced: Tensor) -> dict[str, float]:
    """PSNR in dB of the mean squared error over all patches, and mean SSIM, beside those of bicubic enlargement."""
    from torchmetrics.functional.image import structural_similarity_index_measure as ssim

    from experiments.perceptual_nets import enlarged

    scores = {}
    for name, pictures in (("", found), ("bicubic_", enlarged(reduced))):
        pictures = pictures.clamp(0, 1)
        scores[f"{name}psnr"] = float(-10 * (pictures - wanted).double().square().mean().log10())
        scores[f"{name}ssim"] = float(ssim(pictures, wanted, data_range=1.0))  # type: ignore[arg-type]
    return scores


def _of_labels(found: Tensor, wanted: Tensor, images: Tensor) -> dict[str, float]:
    """Intersection over union over all pixels, mean over the kinds that occur; and the share that is right."""
    import torch

    kinds = len(KINDS)
    pairs = torch.bincount((wanted * kinds + found.argmax(1)).flatten(), minlength=kinds**2)
    counts = pairs.view(kinds, kinds).double()
    both, either = counts.diag(), counts.sum(0) + counts.sum(1) - counts.diag()
    return {
        "miou": float((both / either)[counts.sum(1) > 0].mean()),
        "right": float(both.sum() / counts.sum()),
    }


def _of_depth(found: Tensor, wanted: Tensor, images: Tensor) -> dict[str, float]:
    """Mean |error| / depth, and the root of the mean squared error in units of depth."""
    error = (found - wanted).double()
    return {
        "relative": float((error.abs() / wanted).mean()),
        "rmse": float(FAR * error.square().mean().sqrt()),
    }


SCORES: dict[str, Callable[[Any, Any, Any], dict[str, float]]] = {
    "super-resolution": _of_pictures,
    "segmentation": _of_labels,
    "depth": _of_depth,
}
"""By task: outputs, what they should be, and the inputs -> scores."""
