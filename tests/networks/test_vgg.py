"""VGG with BatchNorm: the function against torchvision's, and its way through the other rooms."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch
import torchvision
from torch import nn

import bnonly
from bnonly.cli import main
from bnonly.deploy.compact import compact, folded
from bnonly.deploy.export import export
from bnonly.errors import BadInput
from bnonly.examine.measuring import measure
from bnonly.examine.subject import of_run
from bnonly.fused.network import fuse
from bnonly.networks.registry import VGG_STAGES, parse
from bnonly.networks.vgg import VGG
from bnonly.runs import RunFolder
from bnonly.seedfile.contents import read
from bnonly.seedfile.loading import network_of
from bnonly.seedfile.saving import How, pack
from bnonly.trainable import count
from bnonly.training.fit import fit
from tests.deploy import nets
from tests.training import small

NAMES = [f"vgg{depth}_bn" for depth in VGG_STAGES]


def torchvisions(name: str) -> list[nn.Module]:
    """torchvision's layers up to the last ReLU, in double precision."""
    with torch.device("meta"):
        whole = getattr(torchvision.models, name)()
    return list(whole.features.to_empty(device="cpu").double().eval())[:-1]


@pytest.mark.parametrize("name", ["vgg11_bn", "vgg19_bn"])
def test_the_features_are_torchvisions(name):
    net = nets.network(name, 1).double()
    layers, own = torchvisions(name), [net.get_submodule(part) for part in net.order]
    assert [type(layer).__name__ for layer in layers] == [type(layer).__name__ for layer in own]
    for theirs, ours in zip(layers, own, strict=True):
        if isinstance(theirs, nn.Conv2d):
            assert theirs.bias is not None
            theirs.weight.data, theirs.bias.data = ours.weight.data, torch.zeros_like(theirs.bias)
        else:
            theirs.load_state_dict(ours.state_dict())
    images = nets.images(32).double()
    with torch.no_grad():
        expected = nn.Sequential(*layers)(images).mean((2, 3)) @ net.fc.weight.T + net.fc.bias
        torch.testing.assert_close(net(images), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_counts_are_torchvisions_less_biases(name):
    counts = count(parse(name).build(7))
    features = [parameter for layer in torchvisions(name) for parameter in layer.parameters()]
    weights = sum(parameter.numel() for parameter in features if parameter.dim() == 4)
    channels = sum(len(parameter) for parameter in features if parameter.dim() == 4)
    assert (counts.bn, counts.output, counts.shortcut) == (2 * channels, 512 * 7 + 7, 0)
    assert counts.total == weights + counts.bn + counts.output


def test_layers_have_the_names_of_the_field():
    net = parse("vgg16_bn").build()
    assert isinstance(net, VGG)
    assert net.order[:7] == ["conv1_1", "bn1_1", "relu1_1", "conv1_2", "bn1_2", "relu1_2", "pool1"]
    assert net.order[-1] == "relu5_3" and net.order.count("pool4") == 1


def test_other_depths_and_shortcuts_are_refused():
    with pytest.raises(BadInput, match="depth 12 is not among 11, 13, 16, 19"):
        parse("vgg12_bn")
    with pytest.raises(BadInput, match="declares no shortcut layer"):
        bnonly.freeze_all_but(bnonly.network("vgg11_bn", seed=0), "shortcut")


def test_the_fused_engine_leaves_it_as_it_is():
    net = bnonly.network("vgg11_bn", seed=0)
    assert fuse(net) == 0 and type(net) is VGG


@pytest.mark.parametrize("form", ["folded", "full"])
def test_it_is_a_seed_and_two_numbers_a_channel(form):
    net = nets.network("vgg11_bn", 3)
    bnonly.freeze_all_but(net, "bn")
    net.fc.bias.data = bnonly.network("vgg11_bn", seed=3).fc.bias.data
    packed = pack(net, How(form=form))
    assert len(packed.data) < 80_000  # of 36.9 MB
    again, images = network_of(read(packed.data)), nets.images(9)
    expected = nets.exact(net, images)
    assert nets.distance(again, images, expected) < 1e-4


@pytest.mark.parametrize("size", [32, 21, 8, 1])
def test_compact_and_folded_compute_the_same(size):
    net, images = nets.network("vgg11_bn", 1, 0.5), nets.images(size)
    expected = nets.exact(net, images)
    small_one = compact(net)
    for made in (small_one, folded(net)):
        assert nets.distance(made, images, expected) < 2e-5
    count = sum(parameter.numel() for parameter in small_one.parameters())
    assert count < 0.5 * sum(parameter.numel() for parameter in net.parameters())


def test_onnx_of_images_that_pools_round_up(tmp_path):
    net, path = nets.network("vgg11_bn", 1, 0.5), tmp_path / "net.onnx"
    export(compact(net), path, (3, 8, 8), {"name": "vgg11_bn"})
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    images = nets.images(8)
    logits = torch.from_numpy(np.asarray(session.run(None, {"images": images.numpy()})[0]))
    assert nets.distance(lambda _: logits, images, nets.exact(net, images)) < 2e-5


def test_it_trains_resumes_and_is_measured(tmp_path, capsys):
    config = small.config(tmp_path, network={"name": "vgg11_bn"}, training={"epochs": 1, "engine": "fused"})
    fit(config)
    folder = RunFolder.of(config)
    result = folder.result()
    assert result and result["trained_parameters"] == 2 * 2752
    before = folder.final.read_bytes()
    fit(config)  # finished: nothing to do
    assert folder.final.read_bytes() == before
    measure(of_run(folder), quiet=True)
    facts = folder.measures()
    assert facts and "bn5_2" in facts["relu"]["layers"]
    assert main(["export", str(folder.path), "-o", str(tmp_path / "net.safetensors"), "--no-measure"]) == 0
    assert main(["verify", str(tmp_path / "net.safetensors")]) == 0
