"""How a layer's features of an object change with its place: cosine similarity, and a probe that guesses the place.

After Lee, Yang and Wang, "What Does CNN Shift Invariance Look Like? A Visualization Study" (ECCV 2020 workshops): an
object's patch stands at every place of a white background; the features there are compared with those at an anchor.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import normalize

from bnonly.errors import BadInput
from bnonly.measure.accuracy import autocast
from bnonly.progress import track

Anchor = Literal["top left", "top right", "centre", "bottom left", "bottom right"]
ANCHORS: tuple[Anchor, ...] = ("top left", "top right", "centre", "bottom left", "bottom right")
"""The paper's reference places, in its order."""


@dataclass(frozen=True)
class Scene:
    """Where objects stand. side: pixels a side of the background. stride: pixels from place to place.

    white: what a pixel of the background is after normalisation, by channel.
    """

    side: int
    stride: int = 1
    white: tuple[float, ...] = (1.0, 1.0, 1.0)

    def places(self, patch: int) -> int:
        """In one direction, for a patch of so many pixels. Raises BadInput where it does not fit."""
        if not 1 <= patch <= self.side or self.stride < 1:
            raise BadInput(
                f"an object of {patch} pixels has no place on {self.side}, {self.stride} apart: make it smaller"
            )
        return (self.side - patch) // self.stride + 1

    def images(self, patch: Tensor) -> Tensor:
        """The patch [C, h, h] at every place: [rows * columns, C, side, side], row after row."""
        size = patch.shape[-1]
        count = self.places(size)
        white = torch.tensor(self.white, dtype=patch.dtype, device=patch.device)
        images = white.view(1, -1, 1, 1).expand(count**2, -1, self.side, self.side).clone()
        for place, image in enumerate(images):
            top, left = (self.stride * at for at in divmod(place, count))
            image[:, top : top + size, left : left + size] = patch
        return images


@dataclass(frozen=True)
class Similarity:
    """Of one layer. anchors: [A] names. maps: cosine similarity, mean over objects, [A, places, places].

    mean: of the cosine over all places, mean over objects, [A]; sd: its sample standard deviation over objects, [A].
    The paper's summary is the sum over places: these times places^2. rows, columns: how often a linear probe tells
    the upper half of the places from the lower, and the left from the right, mean over objects (chance is 1/2);
    None where none was asked for. unconverged: how many of the probe's fits stopped before they converged.
    """

    anchors: tuple[str, ...]
    maps: NDArray[np.float64]
    mean: NDArray[np.float64]
    sd: NDArray[np.float64]
    rows: float | None
    columns: float | None
    unconverged: int

    def plain(self) -> dict[str, Any]:
        """For JSON, similarities to five digits."""
        numbers = {name: np.round(getattr(self, name), 5).tolist() for name in ("maps", "mean")}
        # Of a single object there is no deviation.
        numbers["sd"] = [None if np.isnan(value) else round(float(value), 5) for value in self.sd]
        probe = {"rows": self.rows, "columns": self.columns, "unconverged": self.unconverged}
        return {"anchors": list(self.anchors), **numbers, **probe}


def features(net: nn.Module, images: Tensor, layers: Sequence[str], precision: str = "fp32") -> dict[str, Tensor]:
    """What layers put out for images [B, C, H, W], flattened: float32 [B, features] by layer.

    A layer is a submodule's path ("layer3.0.bn1"; "" is the network itself, so its logits), or with ":in" behind it
    the submodule's input ("fc:in"). Run it in eval mode. Raises BadInput for a path that leads nowhere, and for a
    layer that puts out no tensor.
    """
    known, found, hooks = dict(net.named_modules()), dict[str, Any](), []
    try:
        for layer in layers:
            path, _, end = layer.partition(":")
            if path not in known or end not in ("", "in"):
                raise BadInput(
                    f"there is no layer {layer!r}: give a submodule's path, and :in behind it for its input"
                )

            def keep(module: nn.Module, given: Any, output: Any, layer: str = layer, end: str = end) -> None:
                found[layer] = given[0] if end else output

            hooks.append(known[path].register_forward_hook(keep))
        with torch.inference_mode(), autocast(images.device, precision):
            net(images)
    finally:
        for hook in hooks:
            hook.remove()
    if odd := [layer for layer in layers if not isinstance(found.get(layer), Tensor)]:
        raise BadInput(f"layer {odd[0]!r} puts out no tensor, or did not run")
    return {layer: found[layer].float().flatten(1) for layer in layers}


def similarity(
    net: nn.Module,
    patches: Sequence[Tensor],
    scene: Scene,
    layers: Sequence[str],
    *,
    anchors: Sequence[Anchor] = ANCHORS,
    probe: bool = True,
    batch: int = 256,
    precision: str = "fp32",
    quiet: bool = False,
) -> dict[str, Similarity]:
    """The study, layer by layer. patches: objects, each [C, h, h], normalised, on the network's device, of one size.

    probe: fit the position probe, too (see `position_probe`). batch: images at a time. The network is evaluated with
    running statistics, and its mode put back. Raises BadInput for no objects, objects of several sizes, one that does
    not fit, and layers that are none.
    """
    if len({tuple(patch.shape) for patch in patches}) != 1:
        raise BadInput(f"{len(patches)} objects of several sizes or none at all: give some of one size")
    count = scene.places(patches[0].shape[-1])
    at = [_place(anchor, count) for anchor in anchors]
    cosines: dict[str, list[NDArray[np.float64]]] = {layer: [] for layer in layers}  # [A, places^2] an object
    guesses: dict[str, list[tuple[float, float, int]]] = {layer: [] for layer in layers}
    training = net.training
    net.eval()
    try:
        for patch in track(patches, len(patches), f"{len(patches)} objects at {count**2} places", quiet=quiet):
            parts = [features(net, images, layers, precision) for images in scene.images(patch).split(batch)]
            for layer in layers:
                whole = torch.cat([part[layer] for part in parts])
                unit = normalize(whole.double(), dim=1, eps=1e-300)  # a feature of zeros is like nothing: cosine 0
                cosines[layer].append((unit[at] @ unit.T).cpu().numpy())
                if probe:
                    guesses[layer].append(position_probe(whole.cpu().numpy(), count))
    finally:
        net.train(training)
    return {layer: _result(anchors, np.stack(cosines[layer]), guesses[layer], count) for layer in layers}


def _result(
    anchors: Sequence[str], cosine: NDArray[np.float64], guesses: list[tuple[float, float, int]], count: int
) -> Similarity:
    """cosine: [objects, A, places^2]."""
    each = cosine.mean(2)
    sd = each.std(0, ddof=1) if len(each) > 1 else np.full(len(anchors), np.nan)
    rows, columns, unconverged = np.array(guesses).T if guesses else (None, None, [0])
    return Similarity(
        tuple(anchors),
        cosine.mean(0).reshape(-1, count, count),
        each.mean(0),
        sd,
        None if rows is None else float(np.mean(rows)),
        None if columns is None else float(np.mean(columns)),
        int(np.sum(unconverged)),
    )


def _place(anchor: str, count: int) -> int:
    """Among the places, row after row; of an even number the centre is the one above and left of the middle."""
    if anchor not in ANCHORS:
        raise BadInput(f"anchor {anchor!r} is unknown: there are {', '.join(ANCHORS)}")
    middle = (count - 1) // 2
    row = 0 if anchor.startswith("top") else count - 1 if anchor.startswith("bottom") else middle
    column = 0 if anchor.endswith("left") else count - 1 if anchor.endswith("right") else middle
    return row * count + column


def position_probe(
    values: NDArray[np.floating], count: int, folds: int = 5, seed: int = 0
) -> tuple[float, float, int]:
    """How well a linear support vector machine (C = 1) tells where the object stands, in cross-validation.

    values: features at every place, [count^2, features], row after row. Returns the share of held-out places put
    into the right half, upper or lower, then left or right, and how many fits did not converge. Places in the middle
    row or column belong to neither half. Folds are drawn by the seed, as many places of each half in each. Features
    are taken as they are. Raises BadInput where a half has fewer places than there are folds.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.svm import LinearSVC

    rows, columns = np.divmod(np.arange(count**2), count)
    if count * (count // 2) < folds:
        raise BadInput(f"{count} x {count} places are too few for a probe in {folds} folds: let it stand at more")
    scores, unconverged = [], 0
    for where in (rows, columns):
        kept = 2 * where != count - 1
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always", ConvergenceWarning)
            cut = StratifiedKFold(folds, shuffle=True, random_state=seed)
            machine = LinearSVC(C=1.0, dual="auto", random_state=seed)
            half = (2 * where > count - 1)[kept]
            scores.append(float(cross_val_score(machine, values[kept], half, cv=cut).mean()))
        unconverged += sum(issubclass(warning.category, ConvergenceWarning) for warning in said)
    return scores[0], scores[1], unconverged
