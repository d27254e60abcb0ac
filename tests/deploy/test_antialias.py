"""Anti-aliased networks for other runtimes: folded, and without their dead channels."""

from __future__ import annotations

import pytest
import torch

import bnonly
from bnonly.cli import main
from bnonly.deploy.compact import compact, folded
from tests.deploy import nets
from tests.seedfile.networks import pictures, trained


@pytest.mark.parametrize("filter", ["rect2", "tri3", "bin5"])
@pytest.mark.parametrize("size", [(8, 8), (13, 9)], ids=str)
def test_the_same_function(filter, size):
    net = trained("bn", antialias=filter).double()
    with torch.no_grad():
        for number, layer in enumerate(net.modules()):
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.weight[number % 3 :: 2] = 0
        net.layer2[0].bn1.weight.zero_()  # all that is blurred there is constant
        x = torch.randn(2, 3, *size, dtype=torch.float64)
        wanted = net.eval()(x)
        for make in (folded, compact):
            torch.testing.assert_close(make(net)(x), wanted)
    channels = [sum(p.shape[0] for p in made(net).parameters() if p.dim() == 4) for made in (folded, compact)]
    assert channels[1] < 0.7 * channels[0]


def test_pool_of_the_stem():
    net = bnonly.network("resnet18", 3, classes=5, antialias="tri3").double().eval()
    x = torch.randn(1, 3, 65, 64, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(folded(net)(x), net(x))


@pytest.mark.parametrize("size", [32, 13, 8, 1])
def test_a_vgg_of_images_of_any_size(size):
    net = nets.network("vgg11_bn", 1, 0.5, antialias="tri3").double()
    images = nets.images(size).double()
    with torch.no_grad():
        for made in (folded(net), compact(net)):
            torch.testing.assert_close(made(images), net(images))


@pytest.mark.parametrize("ending", ["onnx", "pt2"])
def test_bnonly_deploy(ending, tmp_path, capsys):
    if ending == "onnx":
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnxscript")
    path = tmp_path / "net.safetensors"
    bnonly.save(trained("bn", antialias="bin5"), path, input=pictures(8))
    out = tmp_path / f"net.{ending}"
    assert main(["deploy", str(path), "-o", str(out), "--compact"]) == 0  # it compares the logits
    assert "cifar_resnet8 (antialias bin5)" in capsys.readouterr().out and out.exists()
