"""Vision Transformer (Dosovitskiy et al., ICLR 2021), pre-norm, without what a seed has no rule for.

No class token: the logits are of the tokens' mean, and positions are a fixed embedding, as in Beyer, Zhai and
Kolesnikov (2022). Every convolution and linear layer has a bias.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from bnonly.errors import BadInput
from bnonly.networks.antialias import Antialias, no_filter
from bnonly.networks.mixer import MLP
from bnonly.networks.parts import Conv2d, LayerNorm, Linear, twins
from bnonly.networks.tokens import EPS, positions, tokens


class Attention(nn.Module):
    """Self-attention of `heads` heads; queries, keys and values by one linear layer. [N, tokens, width]."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = Linear(width, 3 * width)
        self.proj = Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, count, width = x.shape
        q, k, v = self.qkv(x).view(batch, count, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        return self.proj(_attend(q, k, v).transpose(1, 2).reshape(batch, count, width))


def _attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(width)) v, each [N, heads, tokens, width of a head].

    On CPUs in bfloat16 by products: a step with torch's kernel takes 1.6 to 2 times as long (ViT of width 128,
    depth 4, 64 tokens, batch 128).
    """
    if q.device.type != "cpu" or q.dtype != torch.bfloat16:
        return scaled_dot_product_attention(q, k, v)
    return (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1, torch.float32).to(v.dtype) @ v


class TransformerBlock(nn.Module):
    """x + attention(LN(x)), then x + MLP(LN(x)), four times as wide inside. [N, tokens, width]."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.norm1 = LayerNorm(width, EPS)
        self.attention = Attention(width, heads)
        self.norm2 = LayerNorm(width, EPS)
        self.mlp = MLP(width, 4 * width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class VisionTransformer(nn.Module):
    """Patches with their positions, `depth` blocks, LayerNorm, mean over tokens, linear output.

    Takes images of any size whose sides the patch divides. `roles` declares the output layer.
    """

    positions: Tensor  # float32 [tokens, width], of the grid last seen; not in state_dict

    def __init__(self, width: int, depth: int, patch: int, heads: int, resolution: int, classes: int):
        super().__init__()
        self.patch, self.grid = patch, (resolution // patch, resolution // patch)
        self.stem = Conv2d(3, width, patch, patch)
        self.register_buffer("positions", positions(*self.grid, width), persistent=False)
        self.blocks = nn.Sequential(*twins(TransformerBlock(width, heads), depth))
        self.norm = LayerNorm(width, EPS)
        self.head = Linear(width, classes)
        self.roles = {"output": ["head"]}

    def forward(self, x: Tensor) -> Tensor:
        """Images [N, 3, H, W], normalised -> logits [N, classes]. Raises BadInput where the patch does not fit."""
        self._fit(x.shape[2], x.shape[3])
        return self.head(self.norm(self.blocks(tokens(self.stem, x) + self.positions)).mean(1))

    def _fit(self, height: int, width: int) -> None:
        if height % self.patch or width % self.patch:
            raise BadInput(
                f"images of {height}x{width} pixels cannot be cut into patches of {self.patch}: name a network whose "
                "patch divides both sides"
            )
        grid = height // self.patch, width // self.patch
        if grid != self.grid:
            with torch.inference_mode(False):  # or training could not use it after an evaluation
                self.positions = positions(*grid, self.positions.shape[1]).to(self.positions)
            self.grid = grid


def vit(width: int, depth: int, patch: int, classes: int = 10, antialias: Antialias = "none") -> VisionTransformer:
    """Heads of 64 channels each, as in the published sizes; one head up to width 64."""
    no_filter(antialias, "a ViT cuts patches and subsamples nothing")
    return VisionTransformer(width, depth, patch, max(1, width // 64), 32 // patch * patch, classes)
