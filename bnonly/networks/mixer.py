"""MLP-Mixer (Tolstikhin et al., NeurIPS 2021), as in google-research/vision_transformer: no position embedding.

All convolutions and linear layers have biases, drawn as those of linear layers are.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import gelu

from bnonly.errors import BadInput
from bnonly.networks.antialias import Antialias, no_filter
from bnonly.networks.parts import Conv2d, LayerNorm, Linear, twins
from bnonly.networks.tokens import EPS, tokens


class MLP(nn.Module):
    """Linear - GELU - Linear over the last dimension. [..., width] -> the same shape."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.fc1 = Linear(width, hidden)
        self.fc2 = Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(gelu(self.fc1(x)))


class MixerBlock(nn.Module):
    """x + tokenMLP(LN(x)), which mixes tokens channel by channel; x + channelMLP(LN(x)). [N, tokens, width]."""

    def __init__(self, count: int, width: int):
        super().__init__()
        self.norm1 = LayerNorm(width, EPS)
        self.token_mlp = MLP(count, width // 2)
        self.norm2 = LayerNorm(width, EPS)
        self.channel_mlp = MLP(width, 4 * width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.token_mlp(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.channel_mlp(self.norm2(x))


class MLPMixer(nn.Module):
    """Patches, `depth` blocks, LayerNorm, mean over tokens, linear output. Images are resolution x resolution.

    `roles` declares the output layer.
    """

    def __init__(self, width: int, depth: int, patch: int, resolution: int, classes: int):
        super().__init__()
        self.resolution = resolution
        self.stem = Conv2d(3, width, patch, patch)
        self.blocks = nn.Sequential(*twins(MixerBlock((resolution // patch) ** 2, width), depth))
        self.norm = LayerNorm(width, EPS)
        self.head = Linear(width, classes)
        self.roles = {"output": ["head"]}

    def forward(self, x: Tensor) -> Tensor:
        """Images [N, 3, H, W], normalised -> logits [N, classes]. Raises BadInput for images of another size."""
        if x.shape[2:] != (self.resolution, self.resolution):
            raise BadInput(
                f"a Mixer's tokens are counted when it is built: this one takes {self.resolution}x{self.resolution} "
                f"pixels, not {x.shape[2]}x{x.shape[3]}; name one that ends in _r{x.shape[2]}"
            )
        return self.head(self.norm(self.blocks(tokens(self.stem, x))).mean(1))


def mixer(
    width: int, depth: int, patch: int, resolution: int = 32, classes: int = 10, antialias: Antialias = "none"
) -> MLPMixer:
    """Hidden layers as in the published sizes: the token MLP's width/2, the channel MLP's 4 width.

    S/16, B/16 and L/16 are width 512, 768, 1024 and depth 8, 12, 24 with patch 16, resolution 224.
    """
    no_filter(antialias, "a Mixer cuts patches and subsamples nothing")
    return MLPMixer(width, depth, patch, resolution, classes)
