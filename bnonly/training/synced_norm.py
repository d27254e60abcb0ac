"""BatchNorm whose statistics are those of the whole batch, when several processes share it.

torch's own SyncBatchNorm, fused, where it runs: on GPUs. It refuses a CPU, so there the same is done here.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


def synchronise(net: nn.Module, device: torch.device) -> nn.Module:
    """The network with every BatchNorm synchronised over the processes; parameters and names stay."""
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(net)
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d) and type(layer).forward is nn.BatchNorm2d.forward:
            layer.__class__ = SyncedBatchNorm2d
    return net


class SyncedBatchNorm2d(nn.BatchNorm2d):
    """A BatchNorm2d that in training normalises [B, C, H, W] by mean and variance over all processes' batches."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        output, mean, var, count = _Normalise.apply(input, self.weight, self.bias, self.eps)  # type: ignore[misc]
        momentum = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        with torch.no_grad():
            self.running_mean.lerp_(mean, momentum)
            self.running_var.lerp_(var * (count / (count - 1)), momentum)
        return output


class _Normalise(torch.autograd.Function):
    """Gradients as in Ioffe and Szegedy (2015), section 3, with sums over all processes.

    gamma's and beta's gradients stay this process's part, since DDP adds the parts.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor, float]:
        dtype, x = x.dtype, x.float()
        here = x.numel() // x.shape[1]
        var, mean = torch.var_mean(x, (0, 2, 3), correction=0)
        # Means and squared deviations are put together after Chan et al. (1979): sums of squares would cancel.
        mine = torch.cat([mean, var * here, mean.new_full((1,), here)]).double()
        parts = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, mine)
        means, squares, counts = torch.stack(parts).split([len(mean), len(mean), 1], 1)
        total = counts.sum()
        whole_mean = (means * counts).sum(0) / total
        whole_var = (squares + counts * (means - whole_mean) ** 2).sum(0) / total
        scale = (whole_var + eps).rsqrt().float()
        mean, count = whole_mean.float(), float(total)
        ctx.save_for_backward(x, gamma, mean, scale)
        ctx.count, ctx.dtype = count, dtype
        factor = gamma * scale
        output = x * _wide(factor) + _wide(beta - mean * factor)
        variance = whole_var.float()
        ctx.mark_non_differentiable(mean, variance)
        return output.to(dtype), mean, variance, count

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, Tensor, Tensor, None]:
        x, gamma, mean, scale = ctx.saved_tensors
        dy = grads[0].float()
        normal = (x - _wide(mean)) * _wide(scale)
        dgamma, dbeta = (dy * normal).sum((0, 2, 3)), dy.sum((0, 2, 3))
        sums = torch.stack([dgamma, dbeta])
        dist.all_reduce(sums)
        of_normal, of_one = sums / ctx.count
        dx = _wide(gamma * scale) * (dy - _wide(of_one) - normal * _wide(of_normal))
        return dx.to(ctx.dtype), dgamma, dbeta, None


def _wide(values: Tensor) -> Tensor:
    """[C] as [1, C, 1, 1]."""
    return values.view(1, -1, 1, 1)
