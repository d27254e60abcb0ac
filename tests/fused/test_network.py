"""Whole networks by the fused engine: the same training, half the memory."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import bnonly
from bnonly.fused import functions, native
from bnonly.fused.network import FusedBasicBlock, fuse, unfuse
from bnonly.networks.residual import BasicBlock, ResNet
from experiments.yardstick.pace import Saved

BATCH, STEPS = 16, 20


def images(step: int, dtype: torch.dtype, size: int, batch: int = BATCH) -> tuple[Tensor, Tensor]:
    torch.manual_seed(step)
    pixels = torch.randn(batch, 3, size, size, dtype=dtype).contiguous(memory_format=torch.channels_last)
    return pixels, torch.randint(0, 10, (batch,))


def trained(
    name: str,
    group: str,
    dtype: torch.dtype,
    fused: bool,
    steps: int,
    size: int = 16,
    batch: int = BATCH,
    last: bool = True,
) -> tuple[nn.Module, list[float]]:
    layout = torch.channels_last if last else torch.contiguous_format
    net = bnonly.network(name, seed=3, classes=10).to(dtype).to(memory_format=layout)  # type: ignore[call-overload]
    trains = bnonly.freeze_all_but(net, group)
    if fused:
        assert fuse(net) > 3
    sgd = torch.optim.SGD(trains, lr=0.1, momentum=0.9, weight_decay=1e-4)
    losses = []
    for step in range(steps):
        pixels, labels = images(step, dtype, size, batch)
        pixels = pixels.contiguous(memory_format=layout)
        loss = cross_entropy(net(pixels), labels)
        sgd.zero_grad()
        loss.backward()
        sgd.step()
        losses.append(loss.item())
    return net, losses


@pytest.mark.parametrize("ways", ["native", "torch"])
@pytest.mark.parametrize(
    ("name", "group"),
    [("cifar_resnet8", group) for group in ("bn", "bn+output", "all", "random:2", "shortcut")] + [("resnet50", "bn")],
)
def test_twenty_steps_in_float64(name, group, ways, monkeypatch):
    if ways == "torch":
        monkeypatch.setattr(functions, "kernels", lambda: None)
    steps, size = (2, 32) if name == "resnet50" else (STEPS, 16)  # the deep one enlarges rounding fast
    stock, ours = (trained(name, group, torch.float64, fused, steps, size) for fused in (False, True))
    assert ours[1] == pytest.approx(stock[1], abs=1e-10)
    for (key, mine), theirs in zip(ours[0].state_dict().items(), stock[0].state_dict().values(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-10, msg=key)
    with torch.inference_mode():
        pixels, _ = images(99, torch.float64, size)
        torch.testing.assert_close(ours[0].eval()(pixels), stock[0].eval()(pixels), rtol=1e-10, atol=1e-10)


@pytest.mark.slow
def test_fifty_steps_in_float32_beside_a_control():
    """Ten steps are nearly the same; then every rounding grows, that of another memory format as much as ours.

    With the batches of a real run: in small ones everything grows faster.
    """
    sides = {
        "modules": trained("cifar_resnet14", "bn", torch.float32, False, 50, 32, batch=128)[1],
        "contiguous": trained("cifar_resnet14", "bn", torch.float32, False, 50, 32, batch=128, last=False)[1],
        "fused": trained("cifar_resnet14", "bn", torch.float32, True, 50, 32, batch=128)[1],
    }
    assert sides["fused"][:10] == pytest.approx(sides["modules"][:10], abs=5e-4)
    off = {name: max(abs(a - b) for a, b in zip(sides[name], sides["modules"], strict=True)) for name in sides}
    assert off["fused"] <= 4 * off["contiguous"] + 5e-4


@pytest.mark.parametrize("group", ["bn", "bn+random:2", "all"])
def test_steps_in_float32(group):
    _, stock = trained("cifar_resnet14", group, torch.float32, False, 5, 32, batch=64)
    _, ours = trained("cifar_resnet14", group, torch.float32, True, 5, 32, batch=64)
    assert ours == pytest.approx(stock, abs=5e-4)


@pytest.mark.parametrize("size", [1, 3, 8, 9, 12])
def test_pictures_of_any_size(size):
    """Below some size the kernels for convolutions give way to torch's."""
    _, stock = trained("cifar_resnet8", "bn", torch.float32, False, 2, size)
    _, ours = trained("cifar_resnet8", "bn", torch.float32, True, 2, size)
    assert ours == pytest.approx(stock, abs=1e-3)


def kept(net: nn.Module, size: int) -> int:
    """Bytes that autograd keeps for backward."""
    pixels, labels = images(0, torch.float32, size)
    with Saved(net) as saved:
        cross_entropy(net(pixels), labels)
    return saved.bytes


@pytest.mark.parametrize("name", ["cifar_resnet14", "cifar_resnet56"])
def test_memory_kept_for_backward_is_little_more_than_half(name):
    net = bnonly.network(name, seed=0).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    bnonly.freeze_all_but(net, "bn")
    stock = kept(net, 32)
    fuse(net)
    assert kept(net, 32) <= 0.56 * stock


def test_a_part_with_another_norm_stays_as_it_is():
    net = bnonly.network("cifar_resnet8", seed=0)
    net.layer1[0].bn2 = nn.GroupNorm(4, 16)
    assert fuse(net) == 5
    assert type(net.layer1[0]) is BasicBlock and type(net.layer2[0]) is FusedBasicBlock
    unfuse(net)
    assert type(net) is ResNet and type(net.layer2[0]) is BasicBlock


def test_names_and_hooks_of_parameters_stay():
    net = bnonly.network("cifar_resnet8", seed=0)
    names = list(net.state_dict())
    fuse(net)
    assert list(net.state_dict()) == names and bnonly.freeze_all_but(net, "bn")


@pytest.mark.skipif(native.kernels() is None, reason="no compiler here")
def test_threads_change_nothing_but_rounding():
    _, one = trained("cifar_resnet8", "bn", torch.float64, True, 3)
    torch.set_num_threads(3)
    try:
        _, three = trained("cifar_resnet8", "bn", torch.float64, True, 3)
    finally:
        torch.set_num_threads(1)
    assert three == pytest.approx(one, abs=1e-10)
