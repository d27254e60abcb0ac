"""`bnonly stylize`: one picture in the style of another, by the features of a random network."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from bnonly.config.parser import Parser, user_path
from bnonly.errors import BadInput

if TYPE_CHECKING:
    from torch import Tensor

_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
_SIZES = (16, 4096)


def parser() -> Parser:
    parser = Parser("bnonly stylize", "Paint a picture with the content of one and the style of another.")
    add = parser.add_argument
    add("content", type=user_path, metavar="CONTENT", help="a picture: what is to be seen")
    add("style", type=user_path, metavar="STYLE", help="a picture: how it is to look")
    add("-o", "--out", type=user_path, metavar="PICTURE", required=True, help="what to write; ends in .png or .jpg")
    add("--network", default="vgg19", metavar="NETWORK", help="vgg11 to vgg19, or any of `bnonly networks`")
    add("--no-residual", action="store_true", help="a ResNet without the additions of its blocks")
    add("--settle", action="store_true", help="BatchNorm normalises by the statistics of both pictures")
    add("--seed", type=int, default=0, metavar="N", help="of the random weights (default: 0)")
    add("--layers", nargs="+", default=[], metavar="LAYER", help="of the style (default: the end of every stage)")
    add("--content-layer", metavar="LAYER", help="of the content (default: the last but one of --layers)")
    add("--smooth", action="store_true", help="softmax over all channels and positions of a layer's features")
    add("--temperature", type=float, default=1.0, metavar="T", help="of that softmax (default: 1)")
    add("--alpha", type=float, metavar="A", help="features of the deeper half of the layers times A")
    add("--weight", type=float, default=10.0, metavar="W", help="of the style beside the content (default: 10)")
    add("--size", type=int, default=256, metavar="N", help="pixels of the longer sides (default: 256)")
    add("--steps", type=int, default=200, metavar="N", help="iterations of L-BFGS (default: 200)")
    add("--device", default="auto", metavar="DEVICE", help="auto, cpu, cuda or cuda:N (default: auto)")
    return parser


def main(argv: list[str]) -> int:
    options = parser().parse_args(argv)
    _check(options)
    from bnonly.files import replacing

    content, style = (_read(path, options.size) for path in (options.content, options.style))
    painted = _painted(options, content, style)
    from PIL import Image

    pixels = (painted[0] * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    with replacing(options.out) as temporary:
        Image.fromarray(pixels).save(temporary, _FORMATS[options.out.suffix.lower()], quality=95)
    print(options.out)
    return 0


def _check(options: argparse.Namespace) -> None:
    """All that can be told before a picture is read."""
    from bnonly.files import check_place

    if options.out.suffix.lower() not in _FORMATS:
        raise BadInput(f"{options.out} is to be a picture: let it end in {', '.join(_FORMATS)}")
    check_place(options.out)
    if not _SIZES[0] <= options.size <= _SIZES[1]:
        raise BadInput(f"--size {options.size} is impossible: give {_SIZES[0]} to {_SIZES[1]} pixels")
    if options.smooth and options.alpha is not None:
        raise BadInput("--smooth and --alpha are two ways for one purpose: give one of them")
    for path in (options.content, options.style):
        if not path.is_file():
            raise BadInput(f"{path} is no file: name a picture (.png, .jpg, ...)")


def _painted(options: argparse.Namespace, content: Tensor, style: Tensor) -> Tensor:
    from bnonly.features.networks import extractor, settle
    from bnonly.features.style import How, normalised, transfer
    from bnonly.progress import console
    from bnonly.training.environment import exact_kernels, pick_device

    smooth = "softmax" if options.smooth else "none" if options.alpha is None else "alpha"
    how = How(
        tuple(options.layers),
        options.content_layer,
        smooth,
        options.temperature,
        0.001 if options.alpha is None else options.alpha,
        options.weight,
    )
    device = pick_device(options.device)
    net = extractor(options.network, options.seed, residual=not options.no_residual).to(device)
    content, style = content.to(device), style.to(device)
    with exact_kernels():
        if options.settle:
            settle(net, [normalised(content), normalised(style)])
        painted, losses = transfer(net, content, style, how, options.steps)
    console().print(f"loss {losses[0]:.4g} at the content, {losses[-1]:.4g} now", markup=False)
    return painted


def _read(path: Path, size: int) -> Tensor:
    """float32 [1, 3, H, W] in [0, 1], its longer side of `size` pixels."""
    import numpy as np
    import torch
    from PIL import Image

    from bnonly.data.folder import opened

    picture = opened(path)
    scale = size / max(picture.size)
    width, height = (max(1, round(side * scale)) for side in picture.size)
    pixels = np.array(picture.resize((width, height), Image.Resampling.LANCZOS), np.float32) / 255
    return torch.from_numpy(pixels).permute(2, 0, 1).unsqueeze(0).contiguous()
