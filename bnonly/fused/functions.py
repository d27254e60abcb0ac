"""Convolution, BatchNorm, residual sum and ReLU as one step of autograd that keeps one tensor.

Plain autograd keeps the convolution's input and its output for every layer. A frozen convolution needs neither for
its input's gradient, and BatchNorm and ReLU are recomputed from the convolution's output; of a residual ReLU the
signs are kept, a bit each. So a frozen layer keeps 1 (+ 1/32) tensor in float32 where plain autograd keeps 2 or more.

With the native kernels, BatchNorm and all that follows it take two passes over memory, and backward two; without
them, or on a GPU, torch's own operators do the same. Gradients are once differentiable.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from bnonly.fused import convolution
from bnonly.fused.arena import empty, empty_like
from bnonly.fused.native import Kernel, address, kernels
from bnonly.trainable import ScalarTrained

_LAST = torch.channels_last
_FEW = 12  # scalars a channel, up to which sums of their own are faster than the gradient of whole filters


def conv_norm(
    conv: nn.Conv2d, norm: nn.BatchNorm2d, x: Tensor, residual: Tensor | None = None, relu: bool = True
) -> Tensor:
    """relu(norm(conv(x)) + residual), as the modules compute it, running statistics included.

    x [N, C, H, W], residual of the result's shape or none. The result lies in channels_last memory.
    """
    return _step(conv, norm, x, residual, relu)


def two_steps(
    conv1: nn.Conv2d, norm1: nn.BatchNorm2d, conv2: nn.Conv2d, norm2: nn.BatchNorm2d, x: Tensor,
    residual: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """relu(norm2(conv2(relu(norm1(conv1(x))))) + residual); what lies between is not written, where that can be."""
    dense = conv2.weight.requires_grad or (isinstance(conv2, ScalarTrained) and not _are_few(conv2))
    needed = torch.is_grad_enabled() and dense  # what lies between, for whole filters' gradients
    if needed or isinstance(conv1.padding, str) or not convolution.prepared_for(conv2, x, _output_size(conv1, x)):
        return _step(conv2, norm2, _step(conv1, norm1, x, None, True), residual, True)
    between, statistics = _step(conv1, norm1, x, None, True, unapplied=True)
    return _step(conv2, norm2, between, residual, True, statistics)


def _output_size(conv: nn.Conv2d, x: Tensor) -> list[int]:
    sides = zip(x.shape[2:], conv.kernel_size, conv.stride, conv.padding, conv.dilation, strict=True)
    return [(side + 2 * int(pad) - gap * (kernel - 1) - 1) // stride + 1 for side, kernel, stride, pad, gap in sides]


def _step(
    conv: nn.Conv2d,
    norm: nn.BatchNorm2d,
    x: Tensor,
    residual: Tensor | None,
    relu: bool,
    pending: Tensor | None = None,
    unapplied: bool = False,
) -> Any:
    """unapplied: returns the convolution's output, which stands for relu(norm(output)), with its statistics.

    Gradients that come back are those of what it stands for. The next step takes it as x and these as `pending`.
    """
    if norm.training and norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
    values = None
    if isinstance(conv, ScalarTrained):
        conv.write_back()
        values = conv.random_values
    recorded = torch.is_grad_enabled()
    return _ConvNorm.apply(
        x, conv.weight, values, norm.weight, norm.bias, residual, pending, conv, norm, relu, unapplied, recorded
    )


class _ConvNorm(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        values: Tensor | None,
        gamma: Tensor,
        beta: Tensor,
        residual: Tensor | None,
        pending: Tensor | None,
        conv: nn.Conv2d,
        norm: nn.BatchNorm2d,
        relu: bool,
        unapplied: bool,
        recorded: bool,
    ) -> Any:
        prepared, sums, given = convolution.prepared_for(conv, x), None, x.dtype
        half = convolution.stored_for(x) == torch.bfloat16 and convolution.available()
        emulated = half and not convolution.has_bfloat16()
        if half:
            x = x.bfloat16()
        if prepared is not None:
            if norm.training:
                sums = torch.empty(2, conv.out_channels, dtype=torch.float64)
            scale, shift = (None, None) if pending is None else pending[2:]
            y = convolution.forward(prepared, x, scale=scale, shift=shift, relu=pending is not None, sums=sums)
        else:
            assert pending is None, "two_steps has asked for a prepared convolution"
            y = _convolution(x, weight, conv, emulated)
        if norm.training and y.numel() == y.shape[1]:  # torch's error: of one value there is no variance
            raise ValueError(f"Expected more than 1 value per channel when training, got input size {y.shape}")
        y = y.contiguous(memory_format=_LAST)
        if residual is not None:
            residual = residual.to(y.dtype).contiguous(memory_format=_LAST)
        keeps = recorded and any(ctx.needs_input_grad)
        signs = None
        if keeps and relu and residual is not None:
            signs = torch.empty(len(y), *y.shape[2:], (y.shape[1] + 7) // 8, dtype=torch.uint8, device=y.device)
        out = None if unapplied else empty_like(y) if keeps else y
        statistics = _forward(y, gamma, beta, residual, out, signs, norm, relu, sums)
        if keeps:
            dense = ctx.needs_input_grad[1] or ctx.needs_input_grad[2]
            ctx.save_for_backward(y, statistics, gamma, weight, signs, *((x, pending) if dense else (None, None)))
            ctx.shape, ctx.input_dtype, ctx.conv, ctx.norm, ctx.relu = x.shape, given, conv, norm, relu
            ctx.training, ctx.prepared, ctx.emulated = norm.training, prepared, emulated
        if out is not None:
            return out
        ctx.mark_non_differentiable(statistics)
        return y, statistics

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Any) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        y, statistics, gamma, weight, signs, x, pending = ctx.saved_tensors
        wants_x, wants_weight, wants_values, *wants_norm, wants_residual = ctx.needs_input_grad[:6]
        through = wants_x or wants_weight or wants_values
        gradient = gradient.contiguous(memory_format=_LAST)
        back, for_residual, for_gamma, for_beta = _backward(
            gradient, y, statistics, gamma, signs, ctx, through, wants_residual
        )
        for_x = for_weight = for_values = None
        conv: nn.Conv2d = ctx.conv
        if back is not None and wants_values:
            for_values = _scalars(x, back, conv, pending)
            assert pending is None or for_values is not None, "where convolutions have kernels, scalars have"
        dense = wants_weight or (wants_values and for_values is None)
        if back is not None and ctx.prepared is not None and wants_x:
            for_x, wants_x = convolution.input_gradient(ctx.prepared, back).to(ctx.input_dtype), False
        if back is not None and (wants_x or dense):
            dtype = torch.float32 if ctx.emulated else y.dtype
            own = torch.empty(ctx.shape, dtype=dtype, device=y.device, memory_format=_LAST) if x is None else x
            used = convolution.rounded(weight, torch.bfloat16) if ctx.emulated else weight
            left, for_weight, _ = torch.ops.aten.convolution_backward(
                back.to(dtype), own.to(dtype), used.to(dtype), None, conv.stride, conv.padding, conv.dilation, False,
                (0, 0), conv.groups, (wants_x, dense, False),
            )  # fmt: skip
            if wants_values and for_values is None:
                assert for_weight is not None and isinstance(conv, ScalarTrained)
                for_values = for_weight.flatten(1).gather(1, conv.random_positions)
            for_x = for_x if left is None else left.to(ctx.input_dtype)
            for_weight = for_weight.to(weight.dtype) if wants_weight else None
        for_gamma, for_beta = (
            g if wanted else None for g, wanted in zip((for_gamma, for_beta), wants_norm, strict=True)
        )
        return for_x, for_weight, for_values, for_gamma, for_beta, for_residual, *(None,) * 6


def _convolution(x: Tensor, weight: Tensor, conv: nn.Conv2d, emulated: bool) -> Tensor:
    """torch's. emulated: of bfloat16 values, in float32 and rounded, where torch itself takes many times longer."""
    if emulated:
        x, weight = x.float(), convolution.rounded(weight, torch.bfloat16)
    with torch.autocast("cpu", enabled=False) if emulated else nullcontext():
        y = torch.conv2d(x, weight, None, conv.stride, conv.padding, conv.dilation, conv.groups)
    return empty(y.shape, torch.bfloat16, y.device).copy_(y) if emulated else y


def _kernel(name: str, y: Tensor, *same: Tensor | None) -> Kernel | None:
    """The native kernel for y's type, where y lies on a CPU and the others are of the type it computes in."""
    if y.device.type != "cpu" or y.numel() == 0:
        return None
    computed = torch.float64 if y.dtype == torch.float64 else torch.float32
    if any(other is not None and (other.dtype != computed or not other.is_contiguous()) for other in same):
        return None
    found = kernels()
    return None if found is None else found.kernel(name, str(y.dtype).removeprefix("torch."))


def _forward(
    y: Tensor,
    gamma: Tensor,
    beta: Tensor,
    residual: Tensor | None,
    out: Tensor | None,
    signs: Tensor | None,
    norm: nn.BatchNorm2d,
    relu: bool,
    sums: Tensor | None,
) -> Tensor:
    """Write the result into `out` (y itself, where nothing has to be kept) and signs; returns the statistics
    [4, C]: mean, inverse of the standard deviation, and the scale and shift that they give with gamma and beta.

    sums: [2, C], of y and of its squares, if they are known.
    """
    mean, variance, momentum = norm.running_mean, norm.running_var, norm.momentum
    assert mean is not None and variance is not None and norm.num_batches_tracked is not None
    if momentum is None:  # the mean of all batches so far
        momentum = 1.0 / max(1.0, float(norm.num_batches_tracked))
    channels = y.shape[1]
    if kernel := _kernel("forward", y, gamma, beta, mean, variance):
        statistics = torch.empty(4, channels, dtype=gamma.dtype)
        kernel(
            address(y), address(residual), address(out), address(signs), y.numel() // channels, channels,
            address(sums), address(gamma), address(beta), address(mean), address(variance), address(statistics),
            momentum, norm.eps, norm.training, relu, torch.get_num_threads(),
        )  # fmt: skip
        return statistics
    normal, middle, inverse = torch.native_batch_norm(
        y, gamma, beta, mean, variance, norm.training, momentum, norm.eps
    )
    if not norm.training:  # where native_batch_norm leaves them out
        middle, inverse = mean.clone(), (variance + norm.eps).rsqrt()
    if residual is not None:
        normal += residual
    if relu:
        normal.relu_()
    if signs is not None:
        signs.copy_(_packed(normal.permute(0, 2, 3, 1) > 0))
    if out is not None:
        out.copy_(normal)
    scale = gamma * inverse
    return torch.stack([middle, inverse, scale, beta - middle * scale])


def _backward(
    gradient: Tensor,
    y: Tensor,
    statistics: Tensor,
    gamma: Tensor,
    signs: Tensor | None,
    ctx: Any,
    through: bool,
    wants_residual: bool,
) -> tuple[Tensor | None, Tensor | None, Tensor, Tensor]:
    """Gradients for y (if wanted: `through`), residual (if wanted), gamma and beta."""
    norm: nn.BatchNorm2d = ctx.norm
    channels = y.shape[1]
    if kernel := _kernel("backward", y, statistics):
        back = empty_like(y) if through else None
        for_residual = empty_like(y) if wants_residual else None
        for_gamma, for_beta = torch.empty_like(gamma), torch.empty_like(gamma)
        kernel(
            address(gradient), address(y), address(signs), address(back), address(for_residual),
            y.numel() // channels, channels, address(statistics), address(for_gamma), address(for_beta),
            ctx.training, ctx.relu, torch.get_num_threads(),
        )  # fmt: skip
        return back, for_residual, for_gamma, for_beta
    middle, inverse, scale, shift = statistics
    if signs is not None:
        gradient = gradient * _unpacked(signs, channels).permute(0, 3, 1, 2)
    elif ctx.relu:
        before = torch.addcmul(shift.view(1, -1, 1, 1), y, scale.view(1, -1, 1, 1))
        gradient = torch.ops.aten.threshold_backward(gradient, before.to(y.dtype), 0)
    back, for_gamma, for_beta = torch.ops.aten.native_batch_norm_backward(
        gradient, y, gamma, norm.running_mean, norm.running_var, middle, inverse, ctx.training, norm.eps,
        (through, True, True),
    )  # fmt: skip
    return back, gradient if wants_residual else None, for_gamma, for_beta


def _scalars(x: Tensor | None, back: Tensor, conv: nn.Conv2d, pending: Tensor | None = None) -> Tensor | None:
    """The gradient of a convolution's random scalars [channels, K]; None where there is no kernel for it.

    pending: statistics whose scale, shift and ReLU have still to be applied to x.
    """
    assert isinstance(conv, ScalarTrained) and isinstance(conv, nn.Conv2d)
    plain = conv.groups == 1 and tuple(conv.dilation) == (1, 1) and conv.stride[0] == conv.stride[1]
    plain = plain and not isinstance(conv.padding, str) and _are_few(conv)
    if plain and x is not None and back.dtype == torch.bfloat16 and back.device.type == "cpu":
        x, back = x.float(), back.float()
    kernel = _kernel("scalars", back, conv.random_values) if plain else None
    if kernel is None or x is None or x.dtype != back.dtype:
        return None
    x = x.contiguous(memory_format=_LAST)
    across = conv.kernel_size[1]
    inside = conv.random_positions % (conv.kernel_size[0] * across)
    places = torch.stack(
        [
            conv.random_positions // (conv.kernel_size[0] * across),
            inside // across - int(conv.padding[0]),
            inside % across - int(conv.padding[1]),
        ],
        dim=-1,
    )
    result = torch.empty_like(conv.random_values)
    kernel(
        address(x), address(back), address(places), address(result), len(x), *x.shape[2:], x.shape[1],
        *back.shape[2:], *conv.random_positions.shape, conv.stride[0],
        *((None, None) if pending is None else map(address, pending[2:])), torch.get_num_threads(),
    )  # fmt: skip
    return result


def _are_few(conv: ScalarTrained) -> bool:
    return conv.random_values.shape[1] <= _FEW


def _bits(device: torch.device) -> Tensor:
    """1, 2, 4 ... 128, made on the device: nothing of a captured step may come from the host."""
    places = torch.arange(8, dtype=torch.uint8, device=device)
    return torch.ones_like(places).bitwise_left_shift(places)


def _packed(positive: Tensor) -> Tensor:
    """bool [..., C] to uint8 [..., (C + 7) / 8], the first channel in the lowest bit."""
    whole = torch.nn.functional.pad(positive, (0, -positive.shape[-1] % 8)).unflatten(-1, (-1, 8))
    return (whole * _bits(positive.device)).sum(-1, dtype=torch.uint8)


def _unpacked(signs: Tensor, channels: int) -> Tensor:
    bits = signs.unsqueeze(-1).bitwise_and(_bits(signs.device))
    return (bits != 0).flatten(-2)[..., :channels]
