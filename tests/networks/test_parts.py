"""Layers of our own, where they take another way than torch's."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import group_norm

from bnonly.networks.parts import GroupNorm


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_group_norm_in_bfloat16_is_float64s_to_rounding_and_keeps_the_layout(layout):
    generator = torch.Generator().manual_seed(0)
    x, gamma, beta, back = (
        torch.randn(shape, generator=generator) for shape in ((4, 32, 8, 8), 32, 32, (4, 32, 8, 8))
    )
    layer = GroupNorm(8, 32, device="cpu")
    layer.load_state_dict({"weight": gamma, "bias": beta})
    low = x.bfloat16().to(memory_format=layout).requires_grad_()
    exact = low.detach().double().contiguous().requires_grad_()
    found, wanted = layer(low), group_norm(exact, 8, gamma.double(), beta.double(), 1e-5)
    assert found.is_contiguous(memory_format=layout) and found.dtype == torch.bfloat16
    torch.testing.assert_close(found.double(), wanted, rtol=2**-8, atol=2**-8)
    found.backward(back.bfloat16())
    wanted.backward(back.bfloat16().double())
    torch.testing.assert_close(low.grad.double(), exact.grad, rtol=2**-7, atol=2**-7)
