"""One fused step against torch's modules, float64, finite differences and numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from bnonly.fused import convolution, functions, native
from bnonly.fused.functions import conv_norm, two_steps
from bnonly.groups import Scalars
from bnonly.trainable import ScalarTrained, _train_scalars, freeze_all_but


@pytest.fixture(params=["native", "torch"])
def kernels(request, monkeypatch):
    """Both ways of computing a step."""
    if request.param == "torch":
        monkeypatch.setattr(functions, "kernels", lambda: None)
    elif native.kernels() is None:
        pytest.skip("no compiler here")


def layers(
    channels: int, filters: int, dtype: torch.dtype, seed: int = 0, **conv: int
) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    torch.manual_seed(seed)
    convolution = nn.Conv2d(channels, filters, 3, padding=1, bias=False, **conv)
    norm = nn.BatchNorm2d(filters)
    nn.init.uniform_(norm.weight, -1, 1)
    nn.init.uniform_(norm.bias, -0.5, 0.5)
    return convolution.to(dtype), norm.to(dtype)


def plain(conv: nn.Conv2d, norm: nn.BatchNorm2d, x: Tensor, residual: Tensor | None, on: bool) -> Tensor:
    z = norm(conv(x))
    z = z if residual is None else z + residual
    return relu(z) if on else z


SHAPES = [(3, 16, 8), (16, 16, 7), (8, 24, 5), (4, 10, 6), (5, 1, 4)]


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("on", [True, False], ids=["relu", "linear"])
@pytest.mark.parametrize("added", [True, False], ids=["residual", "alone"])
@pytest.mark.parametrize(("channels", "filters", "size"), SHAPES)
def test_equals_modules_in_float64(kernels, channels, filters, size, added, on, training):
    torch.manual_seed(1)
    image = torch.randn(3, channels, size, size + 1, dtype=torch.float64)
    skip = torch.randn(3, filters, size, size + 1, dtype=torch.float64) if added else None
    seen = []
    for way in (plain, conv_norm):
        conv, norm = layers(channels, filters, torch.float64)
        norm.train(training)
        norm.running_mean += 0.1
        x, residual = (t if t is None else t.clone().requires_grad_() for t in (image, skip))
        out = way(conv, norm, x, residual, on)
        torch.manual_seed(2)
        (out * torch.randn(out.shape, dtype=torch.float64)).sum().backward()
        tensors = [out, x.grad, conv.weight.grad, norm.weight.grad, norm.bias.grad, *norm.buffers()]
        seen.append(tensors + ([residual.grad] if residual is not None else []))
    for ours, theirs in zip(*seen, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("added", [True, False], ids=["residual", "alone"])
def test_gradients_are_finite_differences(kernels, added):
    conv, norm = layers(2, 3, torch.float64)
    x = torch.randn(2, 2, 4, 3, dtype=torch.float64, requires_grad=True)
    skip = torch.randn(2, 3, 4, 3, dtype=torch.float64, requires_grad=True) if added else None
    inputs = [x, conv.weight, norm.weight, norm.bias] + ([skip] if added else [])

    def step(*_: Tensor) -> Tensor:
        return conv_norm(conv, norm, x, skip)

    assert torch.autograd.gradcheck(step, inputs)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("count", [1, 2, 27])
def test_gradients_of_random_scalars(kernels, count, stride):
    seen = []
    for way in (plain, conv_norm):
        conv, norm = layers(3, 12, torch.float64, stride=stride)
        _train_scalars(conv, Scalars(count), 7, 0)
        assert isinstance(conv, ScalarTrained)
        torch.manual_seed(3)
        x = torch.randn(3, 3, 9, 8, dtype=torch.float64, requires_grad=True)
        out = way(conv, norm, x, None, True)
        (out * torch.randn(out.shape, dtype=torch.float64)).sum().backward()
        seen.append((out, x.grad, conv.random_values.grad))
    for ours, theirs in zip(*seen, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-11)


def test_float32_is_as_near_to_float64_as_the_modules_are(kernels):
    """Also where the mean is a thousand deviations from zero."""
    torch.manual_seed(0)
    y = torch.randn(16, 32, 12, 12) + 1000 * torch.arange(32).view(1, -1, 1, 1)
    y = y.contiguous(memory_format=torch.channels_last)
    weight = torch.eye(32).view(32, 32, 1, 1)
    outs = {}
    for name, dtype, way in (
        ("true", torch.float64, plain),
        ("torch", torch.float32, plain),
        ("ours", torch.float32, conv_norm),
    ):
        conv = nn.Conv2d(32, 32, 1, bias=False).to(dtype)
        conv.weight.data = weight.to(dtype)
        outs[name] = way(conv, nn.BatchNorm2d(32).to(dtype), y.to(dtype), None, True).double()
    ours, theirs = ((outs[name] - outs["true"]).abs().max() for name in ("ours", "torch"))
    assert ours <= 4 * theirs + 1e-6


def test_bfloat16_is_stored_to_nearest(kernels):
    conv, norm = layers(8, 16, torch.float32)
    x = torch.randn(4, 8, 6, 6)
    with torch.autocast("cpu", torch.bfloat16):
        outs = [way(conv, norm, x, None, True) for way in (plain, conv_norm)]
    assert outs[1].dtype == torch.bfloat16
    for out in outs:
        out.float().sum().backward()
    torch.testing.assert_close(outs[1].float(), outs[0].float(), rtol=2**-7, atol=2**-7)


class _Block(nn.Module):
    """Convolutions of every kind that the engine meets, the last two as a block has them."""

    def __init__(self, trained: str):
        super().__init__()
        torch.manual_seed(0)
        sizes = ((3, 16, 3, 1), (16, 16, 3, 2), (16, 32, 1, 1), (32, 32, 3, 1), (32, 32, 3, 1))
        self.convs = nn.ModuleList(nn.Conv2d(i, o, k, s, k // 2, bias=False) for i, o, k, s in sizes)
        self.norms = nn.ModuleList(nn.BatchNorm2d(o) for _, o, _, _ in sizes)
        freeze_all_but(self, trained, seed=4)

    def forward(self, x: Tensor, ours: bool) -> Tensor:
        c: list[Any] = list(self.convs)
        n: list[Any] = list(self.norms)
        for i in range(3):
            x = conv_norm(c[i], n[i], x) if ours else plain(c[i], n[i], x, None, True)
        if ours:
            return two_steps(c[3], n[3], c[4], n[4], x, x)
        return plain(c[4], n[4], plain(c[3], n[3], x, None, True), x, True)


@pytest.mark.parametrize("units", [True, False], ids=["torch's bfloat16 for the rest", "ours"])
@pytest.mark.parametrize("trained", ["bn", "bn+random:2", "bn+random:40%", "all"])
def test_a_step_in_bfloat16_is_as_near_to_float64_as_the_modules(trained, units, monkeypatch):
    monkeypatch.setattr(convolution, "has_bfloat16", lambda: units)
    x = torch.randn(8, 3, 12, 10, generator=torch.Generator().manual_seed(1))

    def gradients(dtype: torch.dtype, ours: bool, half: bool) -> list[Tensor]:
        net = _Block(trained).to(dtype)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            out = net(x.to(dtype), ours)
        assert out.dtype == (torch.bfloat16 if half else dtype)
        torch.manual_seed(2)
        (out.double() * torch.randn(out.shape, dtype=torch.float64)).sum().backward()
        return [out.detach().double(), *(p.grad.double() for p in net.parameters() if p.grad is not None)]

    true, theirs, ours = (
        gradients(*how)
        for how in ((torch.float64, False, False), (torch.float32, False, True), (torch.float32, True, True))
    )
    assert len(true) == len(theirs) == len(ours)
    for exact, modules, own in zip(true, theirs, ours, strict=True):
        assert (own - exact).norm() <= 1.5 * (modules - exact).norm() + 1e-3 * exact.norm()


def test_running_statistics_without_momentum_are_means_of_all_batches(kernels):
    seen = []
    for way in (plain, conv_norm):
        conv, norm = layers(3, 8, torch.float64)
        norm.momentum = None
        for step in range(3):
            torch.manual_seed(step)
            way(conv, norm, torch.randn(4, 3, 6, 6, dtype=torch.float64), None, True)
        seen.append(list(norm.buffers()))
    for ours, theirs in zip(*seen, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-11)


def test_a_value_that_is_no_number_is_not_hidden(kernels):
    conv, norm = layers(3, 8, torch.float32)
    x = torch.randn(2, 3, 4, 4)
    x[1, 2, 3, 3] = np.nan
    assert conv_norm(conv, norm, x).isnan().any()


def test_of_one_value_there_is_no_variance(kernels):
    conv, norm, image = nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), torch.randn(1, 3, 3, 3)
    for step in (lambda: norm(conv(image)), lambda: conv_norm(conv, norm, image)):
        with pytest.raises(ValueError, match="Expected more than 1 value per channel when training"):
            step()
    assert norm.running_var.eq(1).all()
    norm.eval()
    torch.testing.assert_close(conv_norm(conv, norm, image), relu(norm(conv(image))))


def test_signs_are_bits():
    positive = torch.rand(5, 3, 13) > 0.5
    packed = functions._packed(positive)
    assert (packed.numpy() == np.packbits(positive.numpy(), axis=-1, bitorder="little")).all()
    assert (functions._unpacked(packed, 13) == positive).all()
