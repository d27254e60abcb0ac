"""Calibration against what it must do: nothing where coding changes nothing, and less error where it does."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

import bnonly
from bnonly.errors import BadInput
from bnonly.seedfile import probe
from bnonly.seedfile.calibration import calibrated
from bnonly.seedfile.contents import read
from bnonly.seedfile.exporting import _calibrated
from bnonly.seedfile.loading import network_of
from bnonly.seedfile.saving import How, pack
from tests.seedfile.made import trained


@pytest.fixture
def images() -> Tensor:
    return torch.from_numpy(probe.images(5, (3, 32, 32), 48))


def read_back(net: nn.Module, how: How) -> nn.Module:
    return network_of(read(pack(net, how).data)).eval()


def logits(net: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        return net(images)


@pytest.mark.parametrize("form", ["folded", "full"])
def test_float32_changes_next_to_nothing(form, images):
    net = trained().eval()
    right = calibrated(net, How(form=form), images)
    for (name, ours), theirs in zip(right.named_buffers(), net.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize("how", [How(codec="rans", step=4), How(codec="rans", step=8)], ids=["4", "8"])
def test_means_and_variances_come_back(how, images):
    """Of every BatchNorm's output in the file's network, over the images, to those of the original."""
    net = trained("cifar_resnet32").eval()  # deep enough for errors to add up

    def moments(other: nn.Module) -> list[Tensor]:
        found: list[Tensor] = []
        parts = [part for name, part in other.named_modules() if name.rpartition(".")[2] in ("bn1", "bn2")]
        for part in parts:
            part.register_forward_hook(
                lambda _, x, y: found.append(torch.stack([y.mean((0, 2, 3)), y.std((0, 2, 3))]))
            )
        logits(other, images)
        return found

    plain, right = read_back(net, how), read_back(calibrated(net, how, images), how)
    wanted = moments(net)
    before, after = (
        sum((a - b).square().sum().item() for a, b in zip(moments(other), wanted, strict=True))
        for other in (plain, right)
    )
    assert after < 0.75 * before


def test_logits_of_other_images_are_nearer(images):
    net, how = trained("cifar_resnet32").eval(), How(codec="rans", step=4)
    others = torch.from_numpy(probe.images(6, (3, 32, 32), 32))
    wanted = logits(net, others)
    plain, right = (logits(read_back(each, how), others) for each in (net, calibrated(net, how, images)))
    assert (right - wanted).square().sum() < 0.8 * (plain - wanted).square().sum()


def test_weights_that_were_rounded_are_made_good_too(images):
    net, how = trained("cifar_resnet32").eval(), How(codec="raw")
    rounded = deepcopy(net)
    with torch.no_grad():
        for parameter in (p for p in rounded.parameters() if p.ndim == 4):
            parameter.copy_((parameter / 0.1).round() * 0.1)
    others = torch.from_numpy(probe.images(6, (3, 32, 32), 32))
    wanted = logits(net, others)
    plain, right = (
        (logits(calibrated(rounded, how, images, like=like), others) - wanted).square().sum() for like in (None, net)
    )
    assert right < 0.5 * plain


def test_the_network_is_left_as_it_is(images):
    net = trained().train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    right = calibrated(net, How(codec="rans", step=4, clamp=0.2), images)
    assert net.training and all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not any("forward" in vars(module) or module._forward_pre_hooks for module in right.modules())
    assert pack(right, How()).header.trained == pack(net, How()).header.trained


def test_a_folded_network_is_refused(images, tmp_path):
    bnonly.save(trained(), tmp_path / "net")
    with pytest.raises(BadInput, match="no running statistics to calibrate"):
        calibrated(bnonly.load(tmp_path / "net"), How(), images)


def test_where_rans_cannot_the_codec_instead_is_calibrated_for(images):
    net = trained().eval()
    with torch.no_grad():
        net.get_submodule("layer2.0.bn1").weight[3] = 40  # beyond the reach of its layer's steps
    packed = _calibrated(net, How(codec="rans", step=4), images, None, {})
    assert packed.header.codec == "mask" and "instead of rans" in packed.notes[0]
    torch.testing.assert_close(
        logits(network_of(read(packed.data)), images), logits(net, images), rtol=1e-3, atol=1e-3
    )
