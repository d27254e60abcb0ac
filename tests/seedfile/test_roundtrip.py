"""A network goes into a file and comes back: its weights to the bit, its function as near as dtype allows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import bnonly
from bnonly.errors import BadInput
from bnonly.measure.gamma import clamped, sparsity
from bnonly.networks.folded import FoldedBatchNorm2d, unit_variance
from bnonly.randomness.start import Start
from bnonly.seedfile.contents import read
from bnonly.seedfile.errors import NotStorable
from bnonly.seedfile.loading import network_of
from bnonly.seedfile.saving import How, pack
from tests.seedfile.made import trained

GROUPS = ("bn", "gamma", "beta", "norm", "output", "bn+output", "shortcut", "random:2", "random:2+shortcut", "none")


def back(packed):
    return network_of(read(packed.data))


def logits(net, dtype=torch.float32):
    images = torch.randn(3, 3, 17, 17, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        return net.eval().to(dtype)(images.to(dtype))


def frozen(net):
    return {name: value for name, value in net.state_dict().items() if value.ndim > 1}


@pytest.mark.parametrize("form", ["folded", "full"])
@pytest.mark.parametrize("group", GROUPS)
def test_every_group_comes_back(group, form):
    net = trained(group=group)
    again = back(pack(net, How(form=form)))
    for name, value in frozen(net).items():
        assert torch.equal(value, again.state_dict()[name]), name
    if form == "full":
        own, theirs = net.state_dict(), again.state_dict()
        assert own.keys() == theirs.keys()
        assert all(torch.equal(own[name], theirs[name]) for name in own if "num_batches" not in name)
        assert torch.equal(logits(net), logits(again))
    wanted = logits(net, torch.float64)
    assert (logits(again, torch.float64) - wanted).abs().max() <= 1e-6 * wanted.abs().max()
    assert not again.training and not any(p.requires_grad for p in again.parameters())


@pytest.mark.parametrize("name", ["cifar_wrn14_2", "resnet18", "resnet50"])
def test_other_architectures(name):
    net = trained(name, classes=5)
    again = back(pack(net, How(), input=None))
    assert again.origin.name == name and again.stored.input.labels == ("0", "1", "2", "3", "4")
    assert torch.allclose(logits(net), logits(again), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("weights", ["normal", "uniform", "sign"])
@pytest.mark.parametrize("scale", ["fan_in", "fan_out"])
def test_every_start_that_a_seed_brings_back(weights, scale):
    net = trained(seed=(1 << 127) + 3, start=Start(weights, scale, "symmetric", "ones"))
    again = back(pack(net, How(form="full")))
    assert torch.equal(logits(net), logits(again)) and again.origin == net.origin


@pytest.mark.parametrize(("dtype", "bits"), [("fp32", 24), ("fp16", 11), ("bf16", 8)])
def test_values_are_rounded_once_to_the_nearest(dtype, bits):
    net = trained()
    values = read(pack(net, How(form="full", dtype=dtype)).data).norms
    layers = [layer for layer in net.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    for name, of in {"weight": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}.items():
        wanted = torch.cat([getattr(layer, of).detach() for layer in layers])
        torch_type = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[dtype]
        assert torch.equal(torch.from_numpy(values[name]), wanted.to(torch_type).float())
        error = (torch.from_numpy(values[name]) - wanted).abs()
        assert (error <= wanted.abs() * 2.0**-bits + 2.0**-24).all()


@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
def test_b_makes_the_error_of_a_good_at_the_channels_mean(dtype):
    """At x = mean the layer's output is beta, whatever a was rounded to, but for b's own rounding."""
    net = trained()
    values = read(pack(net, How(dtype=dtype)).data).norms
    layers = [layer for layer in net.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    mean = torch.cat([layer.running_mean for layer in layers]).double().numpy()
    beta = torch.cat([layer.bias.detach() for layer in layers]).double().numpy()
    b = values["b"].astype(np.float64)
    step = {"fp16": 2.0**-11, "bf16": 2.0**-8}[dtype]
    assert (np.abs(values["a"] * mean + b - beta) <= step * np.abs(b) + 1e-6).all()


@pytest.mark.parametrize("form", ["folded", "full"])
def test_clamping_is_that_of_the_measure(form):
    net = trained(share=0.0)
    packed = pack(net, How(form=form, clamp=0.3))
    with clamped(net, 0.3) as count:
        wanted = logits(net)
    assert packed.zeros == count > 0
    assert torch.allclose(logits(back(packed)), wanted, rtol=1e-5, atol=1e-5)
    assert torch.equal(logits(net), logits(trained(share=0.0)))  # the network itself is left alone


@pytest.mark.parametrize("codec", ["raw", "mask", "rans"])
def test_storing_what_was_loaded_gives_the_same_file(codec):
    packed = pack(trained(group="gamma+output+random:3"), How(codec=codec, step=1024))
    again = pack(back(packed), How(codec=codec, step=1024))
    if codec == "rans":  # the steps of steps: a's scale is computed anew
        assert abs(len(again.data) - len(packed.data)) < 200
    else:
        assert again.data == packed.data


def test_equal_networks_give_equal_files_whatever_their_device_and_memory_format():
    net = trained()
    packed = pack(net, How())
    net.train().to(memory_format=torch.channels_last)
    assert pack(net, How()).data == packed.data and net.training


def test_finer_steps_are_nearer_and_longer():
    net = trained()
    wanted = logits(net)
    sizes, errors = [], []
    for step in (4, 32, 256):
        packed = pack(net, How(codec="rans", step=step))
        assert packed.header.codec == "rans-1" and packed.header.codec_args == {"R": step}
        sizes.append(sum(len(read(packed.data).norms[name]) for name in "ab") and len(packed.data))
        errors.append(float((logits(back(packed)) - wanted).abs().max()))
    assert errors == sorted(errors, reverse=True) and sizes == sorted(sizes)


def test_a_value_out_of_reach_makes_rans_a_mask_and_is_said():
    net = trained()
    net.layer3[0].bn1.weight.data[5] = 1000.0
    packed = pack(net, How(codec="rans"))
    assert packed.header.codec == "mask" and "more than 5 standard deviations" in packed.notes[0]
    assert torch.allclose(logits(back(packed)), logits(net), rtol=1e-4, atol=1e-3)


def test_equal_values_are_in_reach():
    net = bnonly.network("cifar_resnet8", 1, start=Start(gamma="ones"))
    packed = pack(net, How(codec="rans"))
    assert not packed.notes and torch.allclose(logits(back(packed)), logits(net), rtol=1e-3, atol=1e-3)


def test_save_and_load(tmp_path):
    net = bnonly.network("cifar_resnet8", seed=3)
    assert bnonly.freeze_all_but(net, "bn")
    packed = bnonly.save(net, tmp_path / "net.safetensors", dtype="fp16")
    again = bnonly.load(str(tmp_path / "net.safetensors"))
    assert (tmp_path / "net.safetensors").read_bytes() == packed.data
    assert again.stored == packed.header and again.stored.trained == ("bn",)


class TestRefusals:
    def test_altered_weights(self):
        net = trained()
        net.layer1[0].conv1.weight.data[0, 0, 0, 0] += 1e-3
        with pytest.raises(
            NotStorable, match=r"layer1\.0\.conv1\.weight: expected the values of seed 7.*got 1 of 2304"
        ):
            pack(net, How())

    def test_an_output_layer_trained_by_hand(self):
        net = trained()
        net.fc.bias.data.add_(1)
        with pytest.raises(NotStorable, match=r"fc\.bias.*freeze_all_but"):
            pack(net, How())

    def test_all(self):
        with pytest.raises(NotStorable, match="every weight was trained"):
            pack(trained(group="all"), How())

    def test_orthogonal_weights(self):
        with pytest.raises(NotStorable, match="orthogonal"):
            pack(trained(start=Start("orthogonal")), How())

    def test_positions_of_another_seed(self):
        net = bnonly.network("cifar_resnet8", 1)
        bnonly.freeze_all_but(net, "random:2", seed=2)
        with pytest.raises(NotStorable, match="seed 2"):
            pack(net, How())

    def test_scalars_of_two_sets(self):
        net = trained(group="random:2")
        bnonly.freeze_all_but(net, "random:4")
        with pytest.raises(NotStorable, match="random:2 and random:4"):
            pack(net, How())

    def test_a_network_of_ones_own(self):
        with pytest.raises(NotStorable, match=r"bnonly\.network"):
            pack(torch.nn.Linear(2, 2), How())

    def test_changed_layers(self):
        net = trained()
        net.fc = torch.nn.Linear(64, 3)
        with pytest.raises(NotStorable, match=r"fc\.bias"):
            pack(net, How())

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_values_that_are_no_numbers(self, value):
        net = trained()
        net.bn1.bias.data[0] = value
        with pytest.raises(BadInput, match=r"bn\.b holds|check\.logits"):
            pack(net, How())

    def test_what_fp16_cannot_hold(self):
        net = trained()
        net.bn1.bias.data[0] = 1e6
        with pytest.raises(BadInput, match=r"does not fit fp16.*fp32"):
            pack(net, How(dtype="fp16"))

    @pytest.mark.parametrize(
        ("how", "says"),
        [
            ({"form": "flat"}, "use one of auto, folded, full, affine"),
            ({"dtype": "int8"}, "fp32, fp16, bf16"),
            ({"codec": "zip"}, "raw, mask, rans"),
            ({"clamp": -1.0}, "from 0 up"),
            ({"clamp": float("nan")}, "from 0 up"),
            ({"step": 3}, "power of two"),
            ({"step": 2048}, "power of two"),
            ({"form": "full", "codec": "rans"}, "form folded"),
        ],
    )
    def test_impossible_options(self, how, says):
        with pytest.raises(BadInput, match=says):
            How(**how)

    def test_nothing_is_written(self, tmp_path):
        with pytest.raises(NotStorable):
            bnonly.save(trained(group="all"), tmp_path / "net.safetensors")
        assert not list(tmp_path.iterdir())


class TestFolded:
    """A folded network can be looked at and evaluated; gamma is gone, and whoever asks for it is told so."""

    @pytest.fixture
    def net(self):
        return back(pack(trained(), How()))

    def test_its_layers_do_the_same_in_train_mode(self, net):
        wanted, means = logits(net), net.bn1.running_mean.clone()
        images = torch.randn(3, 3, 17, 17, generator=torch.Generator().manual_seed(1))
        assert torch.equal(net.train()(images), wanted) and torch.equal(net.eval().bn1.running_mean, means)

    def test_its_state_dict_is_that_of_a_plain_network(self, net):
        plain = bnonly.network("cifar_resnet8", 0)
        plain.load_state_dict(net.state_dict())
        assert not isinstance(plain.bn1, FoldedBatchNorm2d)
        assert torch.allclose(logits(plain), logits(net), rtol=1e-6, atol=1e-6)

    @pytest.mark.parametrize("eps", [0.0, 1e-5, 1e-3, 1e-12, 0.1])
    def test_a_plain_layer_divides_by_one(self, eps):
        assert np.float32(unit_variance(eps)) + np.float32(eps) == 1

    def test_gamma_is_gone(self, net):
        with pytest.raises(BadInput, match=r"folded form.*gamma is gone"):
            sparsity(net)
        with pytest.raises(BadInput, match="form full"), clamped(net, 0.1):
            pass
        for group in ("bn", "gamma", "beta", "norm", "all"):
            with pytest.raises(BadInput, match="folded form"):
                bnonly.freeze_all_but(net, group)
        with pytest.raises(NotStorable, match="clamp"):
            pack(net, How(clamp=0.1))
        with pytest.raises(NotStorable, match="form full"):
            pack(net, How(form="full"))

    def test_its_output_layer_can_still_train(self):
        net = back(pack(trained(), How()))
        for parameter in bnonly.freeze_all_but(net, "output"):
            parameter.data.add_(0.01)
        packed = pack(net, How())
        assert packed.header.trained == ("bn", "output") and torch.equal(logits(back(packed)), logits(net))


def test_a_full_file_can_be_trained_on_and_stored_again():
    net = back(pack(trained(), How(form="full")))
    parameters = bnonly.freeze_all_but(net, "gamma")
    net.train()(torch.randn(4, 3, 8, 8)).sum().backward()
    assert all(parameter.grad is not None for parameter in parameters)
    assert pack(net, How(form="full")).header.trained == ("bn", "gamma")


def test_several_groups_one_after_the_other():
    net = trained(group="random:2")
    for group in ("random:2+output", "beta"):
        for parameter in bnonly.freeze_all_but(net, group):
            parameter.data.add_(0.01)
    packed = pack(net, How())
    assert packed.header.trained == ("random:2", "output", "beta")
    assert torch.allclose(logits(back(packed)), logits(net), rtol=1e-5, atol=1e-5)
