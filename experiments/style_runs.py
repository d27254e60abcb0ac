"""The tasks of `style`: statistics of a random network's features, and a picture painted by them. Without torch until
then. Each leaves NAME-DIGEST.json in the trial's folder, DIGEST being that of the stage's options; a painting also
NAME-DIGEST.png, and the two photographs at its size.
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnonly.config import RunConfig
from bnonly.files import write_atomically, write_together
from bnonly.runs import RunFolder
from experiments.scenes import photographs
from experiments.stagefile import kept, named

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

VERSION = 1  # of the files
PHOTOGRAPHS = {"content": "temple", "style": "flower"}


def place(folder: RunFolder, options: Mapping[str, Any]) -> Path:
    """Of the facts; a painting lies beside them, ending in .png."""
    return named(folder, "style", options)


def found(config: RunConfig, folder: RunFolder, options: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a stage left; None where it is not done."""
    path = place(folder, options)
    facts = kept(path, config, VERSION)
    return facts if not options["steps"] or path.with_suffix(".png").is_file() else None


def answered(config: RunConfig, folder: RunFolder, options: Mapping[str, Any]) -> bool:
    return found(config, folder, options) is not None


def look(
    config: RunConfig,
    folder: RunFolder,
    *,
    network: str,
    residual: bool,
    settled: bool,
    smooth: bool,
    size: int,
    steps: int,
) -> None:
    """Statistics of the features at the end of every stage for both pictures, and, of steps above 0, a painting.

    The content is scikit-learn's photograph of a temple, the style that of a flower, the centre of each.
    """
    import torch

    from bnonly.features import extractor
    from bnonly.features.networks import settle, stage_ends
    from bnonly.features.statistics import statistics
    from bnonly.features.style import normalised
    from bnonly.training.environment import environment, exact_kernels, pick_device, threads

    options = {"network": network, "residual": residual, "settled": settled, "smooth": smooth}
    options |= {"size": size, "steps": steps}
    device = pick_device(config.training.device)
    with threads(config.training.threads), exact_kernels():
        pictures = photographs()
        given = content, style = [_picture(pictures[name], size).to(device) for name in PHOTOGRAPHS.values()]
        net, began = extractor(network, config.seed, residual=residual).to(device), time.perf_counter()
        if settled:
            settle(net, [normalised(content), normalised(style)])
        inputs = torch.cat([normalised(content), normalised(style)])
        rows = statistics(net, stage_ends(net), inputs, 1.0 if smooth else None)
        png, losses = _painted(net, content, style, smooth, steps)
        made = environment(device)
    result = {"version": VERSION, "run": config.id, "asked": options, "config": config.plain(), "statistics": rows}
    result |= {"losses": losses, "train_seconds": time.perf_counter() - began, "environment": made}
    path, text = place(folder, options), (json.dumps(result, indent=1) + "\n").encode()
    if png is None:
        write_atomically(path, text)
    else:
        own = {folder.path / f"{name}-{size}.png": _png(each) for name, each in zip(PHOTOGRAPHS, given, strict=True)}
        write_together({**own, path.with_suffix(".png"): png, path: text})


def _painted(
    net: nn.Module, content: Tensor, style: Tensor, smooth: bool, steps: int
) -> tuple[bytes | None, list[float] | None]:
    """The picture's file and the losses; nothing where it is not asked for, no picture where no loss can be had."""
    from bnonly.features.style import How, transfer

    if not steps:
        return None, None
    painted, losses = transfer(net, content, style, How(smooth="softmax" if smooth else "none"), steps, quiet=True)
    return _png(painted), losses


def _png(picture: Tensor) -> bytes:
    """[1, 3, H, W] in [0, 1] as a file."""
    from PIL import Image

    file = io.BytesIO()
    pixels = (picture[0] * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def _picture(pixels: Any, size: int) -> torch.Tensor:
    """float32 [1, 3, size, size] in [0, 1]: the centre, scaled."""
    import numpy as np
    import torch
    from PIL import Image

    height, width, _ = pixels.shape
    left = (width - height) // 2
    square = Image.fromarray(pixels).crop((left, 0, left + height, height)).resize((size, size))
    return torch.from_numpy(np.array(square, np.float32) / 255).permute(2, 0, 1).unsqueeze(0).contiguous()
