"""Networks of torchvision and timm by name: what is built, drawn, declared and refused."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

import bnonly
from bnonly.config.network import NetworkConfig
from bnonly.errors import BadInput
from bnonly.networks import libraries
from bnonly.networks.registry import parse
from bnonly.randomness import bngen
from bnonly.randomness.plan import plan
from bnonly.randomness.start import Start
from bnonly.randomness.values import values


def rows(name, classes=7):
    return {entry.name: entry for entry in parse(name).entries(classes)}


def test_a_resnet_is_torchvisions_with_the_seeds_values():
    """Of the same shapes in the same order as ours, so that the same seed draws the same convolutions."""
    theirs, ours = bnonly.network("torchvision/resnet18", 7, classes=5), bnonly.network("resnet18", 7, classes=5)
    plain = torchvision.models.resnet18(weights=None, num_classes=5)
    assert list(theirs.state_dict()) == list(plain.state_dict())
    for name, value in ours.named_parameters():
        assert torch.equal(value, theirs.get_parameter(name))
    images = torch.randn(2, 3, 33, 33, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(theirs.eval()(images), ours.eval()(images))
    assert sum(p.numel() for p in bnonly.freeze_all_but(theirs, "bn")) == 9600
    assert sum(p.numel() for p in bnonly.freeze_all_but(theirs, "output")) == 513 * 5


def test_the_projection_of_attention_is_a_linear_layers_weight():
    found = rows("torchvision/vit_b_16")
    weight = found["encoder.layers.encoder_layer_0.self_attention.in_proj_weight"]
    bias = found["encoder.layers.encoder_layer_0.self_attention.in_proj_bias"]
    assert (weight.role, weight.fan_in, weight.fan_out) == ("weight", 768, 3 * 768)
    assert (bias.role, bias.fan_in) == ("bias", 768)
    assert {name for name, entry in found.items() if entry.role == "embedding"} == {
        "class_token",
        "encoder.pos_embedding",
    }
    assert found["heads.head.weight"].part == "output"


def test_tables_and_tokens_are_normal_of_deviation_0_02():
    entry = rows("torchvision/swin_t")["features.1.0.attn.relative_position_bias_table"]
    drawn = values(entry, 3, Start())
    assert entry.role == "embedding" and drawn.shape == entry.shape
    scale = np.float32(0.02 * float(bngen.unit_scale("normal")))
    assert np.array_equal(drawn.ravel(), bngen.scaled(3, entry.index, entry.size, "normal", scale))
    embedded = [entry for entry in rows("torchvision/vit_b_16").values() if entry.role == "embedding"]
    whole = np.concatenate([values(entry, 3, Start()).ravel() for entry in embedded])
    assert whole.std() == pytest.approx(0.02, rel=0.01)


def test_a_layer_scale_is_refused_unless_said():
    name = "torchvision/convnext_tiny"
    with pytest.raises(BadInput, match=r"parameter features.1.0.layer_scale \(96x1x1\) has no rule .*network\.other"):
        bnonly.network(name, 3, classes=5)
    net = bnonly.network(name, 3, classes=5, start=Start(other="ones"))
    assert (net.get_parameter("features.1.0.layer_scale") == 1).all()
    assert NetworkConfig(name=name, other="ones").start == Start(other="ones")


def test_constants_of_a_network_have_their_values():
    net = bnonly.network("torchvision/swin_t", 3, classes=5)
    plain = torchvision.models.swin_t(weights=None, num_classes=5)
    for name, buffer in plain.named_buffers():
        assert torch.equal(net.get_buffer(name), buffer)
    assert not any(value.is_meta for value in net.state_dict().values())


def test_the_global_random_state_is_left_alone():
    before = torch.get_rng_state()
    bnonly.network("torchvision/swin_t", 3, classes=5)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("torchvision/vgg11", "torchvision/vgg11 has no normalisation layer"),
        ("torchvision/resnet19", r"torchvision [0-9.+a-z]+ has no classifier 'resnet19'"),
        ("torchvision/fasterrcnn_resnet50_fpn", "has no classifier"),
    ],
)
def test_what_cannot_be_built_is_refused_in_a_sentence(name, says):
    with pytest.raises(BadInput, match=says):
        bnonly.network(name, 3)


def test_names_are_parsed_without_the_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    architecture = parse("timm/resnet18.a1_in1k")
    assert (architecture.arguments, architecture.family.library) == ({"name": "resnet18.a1_in1k"}, "timm")
    assert NetworkConfig(name="timm/vit_tiny_patch16_224").name == "timm/vit_tiny_patch16_224"
    with pytest.raises(BadInput, match=r"timm is not installed.*pip install 'bnonly\[timm\]'"):
        bnonly.network("timm/resnet18", 3)
    for odd in ("timm/", "timm/../x", "torchvision/a b", "keras/resnet"):
        with pytest.raises(BadInput, match="is unknown"):
            parse(odd)


def test_a_library_without_such_a_network_says_so(monkeypatch):
    class Timm:
        @staticmethod
        def is_model(name):
            return name == "resnet18"

    monkeypatch.setattr(libraries, "_library", lambda name: Timm)
    monkeypatch.setattr(libraries, "version", lambda name: "9.9")
    with pytest.raises(BadInput, match=r"timm 9\.9 has no model 'resnet19'"):
        bnonly.network("timm/resnet19", 3)


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.one, self.two = nn.LayerNorm(4), nn.Linear(4, 4), nn.Linear(4, 4)
        self.two.weight = self.one.weight


def test_a_parameter_in_two_places_is_refused():
    with pytest.raises(BadInput, match=r"parameter two\.weight of module/Shared stands in two places"):
        bnonly.grown(Shared(), 3, classes=4)


def test_torchs_own_layers_without_a_rule_stay_refused():
    with pytest.raises(BadInput, match="weight of PReLU has no rule"):
        plan(nn.Sequential(nn.Linear(3, 3), nn.PReLU()))
