"""MLP-Mixer and ViT: counts of the published sizes, and values of other implementations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import erf
from torchvision.models import vision_transformer

import bnonly
from bnonly.errors import BadInput
from bnonly.networks.registry import parse
from bnonly.networks.tokens import positions
from bnonly.randomness.plan import plan
from bnonly.trainable import count


def size(name, classes, *roles):
    return sum(entry.size for entry in parse(name).entries(classes) if not roles or entry.role in roles)


@pytest.mark.parametrize(
    ("width", "depth", "total"),
    # Tolstikhin et al. (2021), table 1, in millions: S/16, B/16, L/16; B/16 exactly as timm counts it.
    [(512, 8, 18.5), (768, 12, 59.880472), (1024, 24, 208.2)],
)
def test_published_mixers(width, depth, total):
    name = f"mixer_w{width}_d{depth}_p16_r224"
    digits = len(str(total).partition(".")[2])
    assert round(size(name, 1000) / 1e6, digits) == pytest.approx(total, abs=0.11 if digits == 1 else 0)
    assert size(name, 1000, "gamma", "beta") == (2 * depth + 1) * 2 * width


def test_mixer_b16_has_38400_parameters_of_layer_norm():
    assert size("mixer_w768_d12_p16_r224", 1000, "gamma", "beta") == 38_400


def test_a_vit_is_torchvisions_without_class_token_and_learned_positions():
    theirs = vision_transformer.VisionTransformer(32, 4, 3, 4, 256, 1024, num_classes=10)
    learned = theirs.class_token.numel() + theirs.encoder.pos_embedding.numel()
    assert size("vit_w256_d3_p4", 10) == sum(p.numel() for p in theirs.parameters()) - learned


def linear(state, path, x):
    return x @ state[f"{path}.weight"].T + state[f"{path}.bias"]


def normed(state, path, x):
    mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(var + 1e-6) * state[f"{path}.weight"] + state[f"{path}.bias"]


def mlp(state, path, x):
    x = linear(state, f"{path}.fc1", x)
    return linear(state, f"{path}.fc2", x * (1 + erf(x / math.sqrt(2))) / 2)


def patches(state, images, patch):
    n, _, height, width = images.shape
    cut = images.reshape(n, 3, height // patch, patch, width // patch, patch)
    return np.einsum("ncipjq,dcpq->nijd", cut, state["stem.weight"]).reshape(n, -1, len(state["stem.bias"]))


def test_a_mixer_computes_what_numpy_does():
    """The paper's equations, image by image, in float64."""
    net = bnonly.network("mixer_w16_d3_p2_r8", 5).double()
    state = {name: value.numpy() for name, value in net.state_dict().items()}
    images = np.random.default_rng(0).normal(size=(4, 3, 8, 8))
    x = patches(state, images, 2) + state["stem.bias"]
    for block in range(3):
        own = f"blocks.{block}"
        for image in range(len(x)):
            x[image] += mlp(state, f"{own}.token_mlp", normed(state, f"{own}.norm1", x[image]).T).T
            x[image] += mlp(state, f"{own}.channel_mlp", normed(state, f"{own}.norm2", x[image]))
    logits = linear(state, "head", normed(state, "norm", x).mean(1))
    np.testing.assert_allclose(net(torch.from_numpy(images)).numpy(), logits, rtol=1e-10, atol=1e-12)


def test_a_transformer_block_computes_what_torchvisions_does():
    net = bnonly.network("vit_w128_d1_p4", 5).double()
    block, x = net.blocks[0], torch.randn(3, 7, 128, generator=torch.Generator().manual_seed(0)).double()
    theirs = vision_transformer.EncoderBlock(2, 128, 512, 0.0, 0.0).double()
    mine = dict(block.named_parameters())
    names = {"attention.qkv": "self_attention.in_proj_", "attention.proj": "self_attention.out_proj."}
    names |= {"norm1": "ln_1.", "norm2": "ln_2.", "mlp.fc1": "mlp.0.", "mlp.fc2": "mlp.3."}
    state = {f"{their}{own}": mine[f"{path}.{own}"] for path, their in names.items() for own in ("weight", "bias")}
    theirs.load_state_dict(state)
    torch.testing.assert_close(block(x), theirs(x), rtol=1e-10, atol=1e-12)


def test_attention_in_bfloat16_is_torchs_to_rounding():
    attention, x = bnonly.network("vit_w128_d1_p4", 5).blocks[0].attention, torch.randn(3, 64, 128)
    with torch.autocast("cpu", torch.bfloat16):
        found = attention(x)
    assert found.dtype == torch.bfloat16
    exact = attention(x)
    assert (found - exact).norm() <= 0.01 * exact.norm()


def test_positions_are_those_of_the_formula():
    found = positions(2, 3, 16)
    for row in range(2):
        for column in range(3):
            rates = [1 / 10000 ** (i / 3) for i in range(4)]
            wanted = [f(place * rate) for place in (column, row) for f in (math.sin, math.cos) for rate in rates]
            assert found[3 * row + column].tolist() == pytest.approx(wanted, abs=1e-7)


def test_a_vit_takes_other_images_and_keeps_no_positions():
    net = bnonly.network("vit_w32_d1_p4", 5).eval()
    small, large = torch.ones(1, 3, 8, 8), torch.ones(1, 3, 32, 40)
    with torch.inference_mode():
        first = net(small)
        net(large)
    assert torch.equal(net(small), first)
    assert [name for name in net.state_dict() if name not in dict(net.named_parameters())] == []
    bnonly.freeze_all_but(net, "norm")
    net(small).sum().backward()  # after an evaluation that has made the positions anew
    with pytest.raises(BadInput, match=r"8x10 pixels cannot be cut into patches of 4"):
        net(torch.ones(1, 3, 8, 10))


def test_a_mixer_refuses_other_images():
    with pytest.raises(BadInput, match=r"takes 32x32 pixels, not 8x8; name one that ends in _r8"):
        bnonly.network("mixer_w32_d1_p4", 5)(torch.ones(1, 3, 8, 8))


@pytest.mark.parametrize("kind", ["gn", "ln"])
def test_resnets_with_other_norms_have_the_plan_of_batch_norm(kind):
    own, batch = (list(parse(name).entries()) for name in (f"cifar_resnet14_{kind}", "cifar_resnet14"))
    fields = ("index", "name", "role", "shape", "fan_in", "fan_out", "part")
    assert [[getattr(e, f) for f in fields] for e in own] == [[getattr(e, f) for f in fields] for e in batch]
    assert {e.statistics for e in own if e.role == "gamma"} == {False}
    net, like = bnonly.network(f"cifar_resnet14_{kind}", 5), bnonly.network("cifar_resnet14", 5)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), like.parameters(), strict=True))


def test_the_layer_norm_of_a_resnet_is_over_channels_and_positions():
    layer = bnonly.network("cifar_resnet8_ln", 5).bn1
    x = torch.randn(2, 16, 5, 5, generator=torch.Generator().manual_seed(0))
    plain = torch.nn.functional.layer_norm(x, x.shape[1:])
    torch.testing.assert_close(layer(x), plain * layer.weight[:, None, None] + layer.bias[:, None, None])


def test_biases_of_hidden_layers_are_drawn_and_stay():
    net = bnonly.network("mixer_w16_d2_p2_r8", 5)
    entries = plan(net)
    biases = [entry for entry in entries if entry.role == "bias" and not entry.part]
    assert len(biases) == 1 + 2 * 4
    for entry in biases:
        drawn = net.get_parameter(entry.name)
        assert 0 < drawn.abs().max() <= 1 / math.sqrt(entry.fan_in)
    trained = bnonly.freeze_all_but(net, "norm+output")
    assert sum(p.numel() for p in trained) == 5 * 32 + 170
    assert not any(net.get_parameter(entry.name).requires_grad for entry in biases)


def test_bn_is_refused_where_there_is_none():
    net = bnonly.network("vit_w32_d1_p4", 5)
    with pytest.raises(BadInput, match=r"group bn is impossible .* no BatchNorm .* group norm trains those"):
        bnonly.freeze_all_but(net, "bn")
    assert count(net).bn == 0


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("mixer_w30_d1_p4", "multiple of 4"),
        ("mixer_w32_d0_p4", "at least 1"),
        ("mixer_w32_d1_p5", "patches of 5 do not cut 32"),
        ("mixer_w32_d1_p4_r30", "patches of 4 do not cut 30"),
        ("vit_w100_d1_p4", "multiple of 64"),
        ("vit_w32_d1_p0", "at least 1"),
        ("mixer_s4", "did you mean mixer_"),
        ("cifar_resnet15_gn", "not 6n"),
    ],
)
def test_impossible_sizes(name, says):
    with pytest.raises(BadInput, match=says):
        parse(name)
