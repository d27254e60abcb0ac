"""Similarity over places: composed images, cosines by hand, and features whose place is known or not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import bnonly
from bnonly.errors import BadInput
from bnonly.measure.similarity import ANCHORS, Scene, features, position_probe, similarity

PATCHES = [torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]


def test_scenes():
    scene = Scene(9, 2, white=(1.0, 2.0, 3.0))
    images = scene.images(PATCHES[0])
    assert scene.places(4) == 3 and images.shape == (9, 3, 9, 9)
    for place, image in enumerate(images):
        top, left = 2 * (place // 3), 2 * (place % 3)
        assert torch.equal(image[:, top : top + 4, left : left + 4], PATCHES[0])
        rest = torch.ones(9, 9, dtype=torch.bool)
        rest[top : top + 4, left : left + 4] = False
        assert all((image[channel][rest] == channel + 1).all() for channel in range(3))


def test_cosines_by_hand():
    net, scene, layers = bnonly.network("cifar_resnet8", 3).train(), Scene(8), ["layer2", "fc:in", ""]
    found = similarity(net, PATCHES, scene, layers, probe=False, batch=7, quiet=True)
    assert net.training and list(found) == layers
    net.eval()
    corner = {
        "top left": (0, 0),
        "top right": (0, 4),
        "centre": (2, 2),
        "bottom left": (4, 0),
        "bottom right": (4, 4),
    }
    for layer, own in found.items():
        sums = []
        for patch in PATCHES:
            with torch.no_grad():
                x = scene.images(patch)
                if layer:
                    for name in ("begin", "layer1", "layer2"):
                        x = getattr(net, name)(x)
                    x = x if layer == "layer2" else net.layer3(x).mean((2, 3))
                else:
                    x = net(x)
            grid = x.flatten(1).double().numpy().reshape(5, 5, -1)
            cosine = [
                [[f @ grid[at] / np.linalg.norm(f) / np.linalg.norm(grid[at]) for f in row] for row in grid]
                for at in corner.values()
            ]
            sums.append(cosine)
        np.testing.assert_allclose(own.maps, np.mean(sums, 0), atol=1e-5)
        np.testing.assert_allclose(own.mean, np.mean(sums, (0, 2, 3)), atol=1e-5)
        np.testing.assert_allclose(own.sd, np.mean(sums, (2, 3)).std(0, ddof=1), atol=1e-5)
        assert own.anchors == ANCHORS and own.rows is None and own.plain()["maps"][0][0][0] == 1
        for place, at in enumerate(corner.values()):
            assert own.maps[place][at] == pytest.approx(1)


def test_features_that_know_no_place():
    """Of a sum over space the place cannot be told; of the pixels it can."""
    net = nn.Sequential(nn.Identity(), nn.AdaptiveAvgPool2d(1)).double()
    found = similarity(net, [patch.double() for patch in PATCHES[:2]], Scene(10), ["0", "1"], quiet=True)
    assert np.all(found["1"].maps > 1 - 1e-9) and found["0"].maps.min() < 0.9
    assert found["0"].rows > 0.95 and found["0"].columns > 0.95
    assert found["1"].rows < 0.8 and found["1"].columns < 0.8


def test_the_probe():
    rows, columns = np.divmod(np.arange(81), 9)
    noise = np.random.default_rng(0).normal(size=(81, 3))
    up, left, unconverged = position_probe(np.column_stack([rows - 4.0, noise]), 9)
    assert (up, unconverged) == (1.0, 0) and 0.2 < left < 0.8
    up, left, _ = position_probe(np.column_stack([columns - 4.0, noise]), 9)
    assert left == 1.0 and 0.2 < up < 0.8


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"patches": []}, "several sizes or none"),
        ({"patches": [PATCHES[0], torch.zeros(3, 5, 5)]}, "several sizes or none"),
        ({"scene": Scene(3)}, "an object of 4 pixels has no place on 3"),
        ({"scene": Scene(5), "probe": True}, "2 x 2 places are too few for a probe"),
        ({"layers": ["layer9"]}, "no layer 'layer9'"),
        ({"layers": ["fc:out"]}, "no layer 'fc:out'"),
        ({"anchors": ["middle"]}, "anchor 'middle' is unknown"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_cannot_be_studied(change, says):
    asked = {"patches": PATCHES, "scene": Scene(8), "layers": ["fc"], "probe": False} | change
    with pytest.raises(BadInput, match=says):
        similarity(bnonly.network("cifar_resnet8", 3), **asked, quiet=True)


def test_a_layer_that_does_not_run():
    net = nn.Sequential(nn.Flatten())
    net.other = nn.Linear(3, 2)
    net.forward = lambda x: x
    with pytest.raises(BadInput, match="'other' puts out no tensor"):
        features(net, torch.zeros(1, 3, 2, 2), ["other"])
