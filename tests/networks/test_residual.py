"""The networks compute what other implementations compute with the same values."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch.nn import functional as F

import bnonly


def settled(net):
    """Running statistics away from their start, as training leaves them."""
    generator = torch.Generator().manual_seed(0)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.copy_(torch.randn(module.num_features, generator=generator) * 0.1)
            module.running_var.copy_(torch.rand(module.num_features, generator=generator) + 0.5)
    return net.double().eval()


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_imagenet_resnets_equal_torchvisions(name):
    net = settled(bnonly.network(name, seed=1, classes=10))
    with torch.device("meta"):
        other = getattr(torchvision.models, name)(num_classes=10)
    other = other.to_empty(device="cpu").double().eval()
    other.load_state_dict(net.state_dict())  # strict: the names are torchvision's too
    images = torch.randn(2, 3, 65, 65, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    assert torch.equal(net(images), other(images)) or torch.allclose(net(images), other(images), rtol=1e-12)


def by_hand(values: dict[str, torch.Tensor], x: torch.Tensor, depth: int) -> torch.Tensor:
    """A CIFAR ResNet in eval mode as plain functions of its values, written from the paper's description."""

    def norm(x, name):
        mean, variance = values[f"{name}.running_mean"], values[f"{name}.running_var"]
        scale = values[f"{name}.weight"] / torch.sqrt(variance + 1e-5)
        return (x - mean[:, None, None]) * scale[:, None, None] + values[f"{name}.bias"][:, None, None]

    x = norm(F.conv2d(x, values["conv1.weight"], padding=1), "bn1").clamp(min=0)
    for stage in (1, 2, 3):
        for block in range((depth - 2) // 6):
            name = f"layer{stage}.{block}"
            stride = 2 if stage > 1 and block == 0 else 1
            y = norm(F.conv2d(x, values[f"{name}.conv1.weight"], stride=stride, padding=1), f"{name}.bn1").clamp(
                min=0
            )
            y = norm(F.conv2d(y, values[f"{name}.conv2.weight"], padding=1), f"{name}.bn2")
            if stride == 2:
                x = norm(F.conv2d(x, values[f"{name}.downsample.0.weight"], stride=2), f"{name}.downsample.1")
            x = (x + y).clamp(min=0)
    return F.avg_pool2d(x, x.shape[-1]).flatten(1) @ values["fc.weight"].T + values["fc.bias"]


@pytest.mark.parametrize(("name", "depth"), [("cifar_resnet14", 14), ("cifar_wrn20_2", 20)])
def test_cifar_resnets_equal_the_description(name, depth):
    net = settled(bnonly.network(name, seed=3))
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    torch.testing.assert_close(net(images), by_hand(net.state_dict(), images, depth), rtol=1e-11, atol=1e-11)
