"""Stage of `shift`: a run's features of objects at every place of a white ground, in similarity.json.

The objects are scikit-learn's digits, dark on white and half as wide as the ground, so nothing is downloaded; each
stands at 9 x 9 places or more. Without torch until there is work.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bnonly.config import RunConfig
from bnonly.files import write_object
from bnonly.runs import RunFolder
from experiments.stagefile import kept

if TYPE_CHECKING:
    from torch import Tensor

NAME, VERSION = "similarity.json", 1
OBJECTS = 10
_PLACES = 16  # steps from one side to the other, or more
_LARGEST = 32  # images of fewer pixels, as digits, get a ground of twice their side


def answered(config: RunConfig, folder: RunFolder, options: Mapping[str, Any]) -> bool:
    """Whether the run's folder has the study."""
    return kept(folder.path / NAME, config, VERSION) is not None


def look(config: RunConfig, folder: RunFolder) -> None:
    """Measure the logits and what goes into the output layer, at every place, and write similarity.json."""
    from bnonly.measure.similarity import Scene, similarity
    from bnonly.training.build import engaged, placed, trained_network
    from bnonly.training.environment import environment, exact_kernels, pick_device

    device = pick_device(config.training.device)
    net: Any = placed(engaged(trained_network(folder), config), config, device)
    shown = folder.finished()[1].get("image_shape", [3, 32, 32])[1]
    side = shown if shown >= _LARGEST else 2 * shown
    mean, std = config.data.mean, config.data.std
    white = tuple((1 - m) / s for m, s in zip(mean, std, strict=True))
    scene = Scene(side, max(1, side // 2 // _PLACES), white)
    (output,) = net.roles["output"]
    layers = {"logits": "", "pooled features": f"{output}:in"}
    patches = [patch.to(device) for patch in objects(side // 2, mean, std)]
    with exact_kernels():
        found = similarity(net, patches, scene, list(layers.values()), precision="fp32", quiet=True)
    facts = {
        "version": VERSION,
        "run": config.id,
        "objects": len(patches),
        "side": side,
        "patch": side // 2,
        "stride": scene.stride,
        "environment": environment(device),
        "layers": {name: found[path].plain() for name, path in layers.items()},
    }
    write_object(folder.path / NAME, facts, allow_nan=False)


def objects(size: int, mean: tuple[float, ...], std: tuple[float, ...]) -> list[Tensor]:
    """The first test image of each digit, ink on white, normalised: float32 [3, size, size] each."""
    import torch
    from torch.nn.functional import interpolate

    from bnonly.data.digits import digits
    from bnonly.data.images import Images

    test = digits().test
    assert isinstance(test, Images), "they are in memory"
    first = [int((test.labels == digit).argmax()) for digit in range(OBJECTS)]
    ink = 1 - torch.from_numpy(test.pixels[first]).float() / 255
    ink = interpolate(ink, (size, size), mode="bilinear", align_corners=False)
    middle, scale = (torch.tensor(values).view(3, 1, 1) for values in (mean, std))
    return list((ink - middle) / scale)
