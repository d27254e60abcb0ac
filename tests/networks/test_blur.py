"""Anti-aliased networks: the filter against scipy's, the places where it stands, and everything that stays."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate1d

import bnonly
from bnonly.errors import BadInput
from bnonly.fused.network import fuse
from bnonly.networks.blur import BlurPool, EveryMaximum
from bnonly.networks.registry import parse
from bnonly.networks.residual import BasicBlock, Bottleneck, ResNet, Shortcut
from bnonly.randomness.initialise import frozen_digest
from bnonly.randomness.plan import plan

FILTERS = {"rect2": [1, 1], "tri3": [1, 2, 1], "bin5": [1, 4, 6, 4, 1]}
SIZES = [(8, 8), (9, 7), (32, 31), (5, 16), (4, 4), (3, 3), (2, 2), (2, 5), (1, 4), (1, 1)]


def slow(x: np.ndarray, filter: str, stride: int) -> np.ndarray:
    """By scipy, which calls it `mirror` that borders are reflected; its even filters look one pixel back."""
    taps = np.array(FILTERS[filter]) / sum(FILTERS[filter])
    for axis in (2, 3):
        x = correlate1d(x, taps, axis, mode="mirror", origin=-1 if len(taps) == 2 else 0)
    return x[:, :, ::stride, ::stride]


@pytest.mark.parametrize("filter", FILTERS)
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_the_filter(filter, size, stride, memory):
    x = torch.randn(2, 3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    x = x.contiguous(memory_format=memory)
    found = BlurPool(filter, stride).double()(x)
    np.testing.assert_allclose(found.numpy(), slow(x.numpy(), filter, stride), atol=1e-12)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_every_maximum(size):
    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))
    rows, columns = (slice(None, max(1, length - 1)) for length in size)
    beside = x.roll(-1, 2) if size[0] > 1 else x
    expected = torch.maximum(x, beside)
    beside = expected.roll(-1, 3) if size[1] > 1 else expected
    assert torch.equal(EveryMaximum()(x), torch.maximum(expected, beside)[:, :, rows, columns])


def test_the_filter_at_an_impulse():
    x = torch.zeros(1, 1, 9, 9)
    x[0, 0, 4, 4] = 256
    found = BlurPool("bin5", 1)(x)[0, 0]
    np.testing.assert_array_equal(found[2:7, 2:7].numpy(), np.outer(FILTERS["bin5"], FILTERS["bin5"]))
    assert found.sum() == 256
    for dtype in (torch.float16, torch.bfloat16):  # its taps are exact in these
        np.testing.assert_array_equal(BlurPool("bin5", 1).to(dtype)(x.to(dtype))[0, 0].float().numpy(), found.numpy())


@pytest.mark.parametrize("filter", FILTERS)
def test_it_moves_with_the_image_and_keeps_a_constant(filter):
    x = torch.randn(1, 2, 20, 20, generator=torch.Generator().manual_seed(1))
    blur = BlurPool(filter)
    torch.testing.assert_close(blur(x)[:, :, 2:-3, 2:-3], blur(x.roll((2, 2), (2, 3)))[:, :, 3:-2, 3:-2])
    assert (blur(torch.full((1, 2, 7, 6), 0.3)) == torch.tensor(0.3)).all()


@pytest.mark.parametrize("filter", FILTERS)
@pytest.mark.parametrize(("name", "size"), [("cifar_resnet14", 32), ("cifar_wrn8_2", 9), ("resnet18", 64)])
def test_values_and_names_are_those_of_the_plain_network(name, size, filter):
    plain, blurred = (bnonly.network(name, 7, antialias=antialias) for antialias in ("none", filter))
    assert plan(plain) == plan(blurred) == list(parse(name).entries())
    one, other = plain.state_dict(), blurred.state_dict()
    assert list(one) == list(other) and all(torch.equal(one[key], other[key]) for key in one)
    for group in ("bn", "bn+output+shortcut", "none"):
        counts = [sum(p.numel() for p in bnonly.freeze_all_but(net, group)) for net in (plain, blurred)]
        assert counts[0] == counts[1] and frozen_digest(plain) == frozen_digest(blurred)
    x = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        logits = [net.eval()(x) for net in (plain, blurred)]
    assert logits[0].shape == logits[1].shape and not torch.allclose(*logits)


def strided(layer):
    return isinstance(layer, (torch.nn.Conv2d, torch.nn.MaxPool2d)) and layer.stride not in (1, (1, 1))


@pytest.mark.parametrize(
    ("name", "blurs"),
    [
        ("cifar_resnet14", ["layer2.0", "layer3.0"]),
        ("resnet18", ["pool", "layer2.0", "layer3.0", "layer4.0"]),
        ("resnet50", ["pool", "layer2.0", "layer3.0", "layer4.0"]),
    ],
)
def test_where_the_filter_stands(name, blurs):
    net = parse(name).build(antialias="tri3")
    assert {path for path, layer in net.named_modules() if strided(layer)} == (
        {"conv1"} if "pool" in blurs else set()
    )
    found = {path for path, layer in net.named_modules() if isinstance(layer, BlurPool)}
    expected = {f"{path}.{end}" for path in blurs if path != "pool" for end in ("blur", "downsample.blur")}
    assert found == expected | ({"pool.1"} if "pool" in blurs else set())
    if "pool" in blurs:
        assert (net.pool[0].kernel_size, net.pool[0].stride) == (2, 1)


@pytest.mark.parametrize(("kind", "last"), [(BasicBlock, 2), (Bottleneck, 3)])
def test_a_block_by_hand(kind, last):
    """The blur is behind the ReLU of the convolution before the last, and first in the shortcut."""
    net = bnonly.network("cifar_resnet8" if kind is BasicBlock else "resnet50", 3, antialias="bin5").eval().double()
    block = net.layer2[0]
    assert isinstance(block, kind) and isinstance(block.downsample, Shortcut)
    x = torch.randn(1, block.conv1.in_channels, 8, 8, dtype=torch.float64)
    with torch.no_grad():
        inner = x
        for place in range(1, last):
            inner = torch.relu(getattr(block, f"bn{place}")(getattr(block, f"conv{place}")(inner)))
        inner = torch.from_numpy(slow(inner.numpy(), "bin5", 2))
        skip = block.downsample[1](block.downsample[0](torch.from_numpy(slow(x.numpy(), "bin5", 2))))
        end = getattr(block, f"bn{last}")(getattr(block, f"conv{last}")(inner))
        torch.testing.assert_close(block(x), torch.relu(end + skip))


@pytest.mark.parametrize(
    "build",
    [
        lambda: bnonly.network("cifar_resnet14", 3, antialias="bin5"),
        lambda: bnonly.network("resnet50", 3, antialias="tri3").layer2[0],
    ],
    ids=["network", "bottleneck"],
)
def test_blurred_blocks_are_fused_too(build):
    plain, fused = build().double(), build().double()
    fused.load_state_dict(plain.state_dict())
    assert fuse(fused) == len(
        [m for m in plain.modules() if isinstance(m, BasicBlock | Bottleneck | Shortcut | ResNet)]
    )
    x = torch.randn(4, plain.conv1.in_channels, 16, 16, dtype=torch.float64)
    gradients = []
    for net in (plain, fused):
        parameters = bnonly.freeze_all_but(net, "bn")
        out = net(x)
        out.square().mean().backward()
        gradients.append([out.detach(), *(parameter.grad for parameter in parameters)])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_another_filter_is_unknown():
    with pytest.raises(BadInput, match="antialias='blur' is unknown: use one of none, rect2, tri3, bin5"):
        bnonly.network("cifar_resnet14", 3, antialias="blur")


def test_a_vgg_blurs_behind_its_pools_and_tokens_have_nothing_to_blur():
    plain, blurred = (bnonly.network("vgg11_bn", seed=1, antialias=name) for name in ("none", "tri3"))
    assert [p.shape for p in plain.parameters()] == [p.shape for p in blurred.parameters()]
    shapes = []
    for net in (plain, blurred):
        net.eval()
        with torch.no_grad():
            shapes.append(
                [
                    tuple(
                        net.get_submodule(f"pool{stage}")(torch.zeros(1, 2, 32 >> stage - 1, 32 >> stage - 1)).shape
                    )
                    for stage in range(1, 5)
                ]
            )
            assert net(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
    assert shapes[0] == shapes[1]
    for name, why in (
        ("mixer_w128_d4_p4", "nothing"),
        ("vit_w128_d4_p4", "nothing"),
        ("torchvision/resnet18", "as its"),
    ):
        with pytest.raises(BadInput, match=f"subsamples {why}.*antialias='tri3' is not for it"):
            bnonly.network(name, seed=1, antialias="tri3")
