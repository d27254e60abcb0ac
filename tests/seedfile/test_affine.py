"""Networks without running statistics in a file: form affine, from training to every command."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

import bnonly
from bnonly.cli import main
from bnonly.errors import BadInput
from bnonly.seedfile import codecs
from bnonly.seedfile.calibration import calibrated
from bnonly.seedfile.contents import open_file
from bnonly.seedfile.errors import NotStorable
from bnonly.seedfile.saving import How
from tests.seedfile.made import golden, trained
from tests.seedfile.readers import NODE, answers

NETS = {"mixer_w16_d2_p4_r16": 16, "vit_w32_d1_p4": 8, "cifar_resnet8_gn": 9, "cifar_resnet8_ln": 9}


@pytest.mark.parametrize("name", NETS)
def test_what_is_loaded_is_what_was_saved(name, tmp_path):
    net, path = trained(name, group="norm+output").eval(), tmp_path / "net.safetensors"
    packed = bnonly.save(net, path)
    assert packed.header.bn.form == "affine" and packed.header.requires == ("affine",)
    assert packed.header.bn.eps == (1e-5 if "resnet" in name else 1e-6)
    back = bnonly.load(path)
    state, own = back.state_dict(), net.state_dict()
    assert state.keys() == own.keys() and all(torch.equal(state[key], own[key]) for key in own)
    images = torch.randn(2, 3, NETS[name], NETS[name], generator=torch.Generator().manual_seed(0))
    assert torch.equal(back(images), net(images))
    assert bnonly.freeze_all_but(back, "norm")


def test_a_clamped_file_holds_a_bit_for_a_zero(tmp_path):
    net = trained("mixer_w16_d2_p4_r16", group="norm", share=0.0)
    whole = bnonly.save(net, tmp_path / "whole.safetensors")
    small = bnonly.save(net, tmp_path / "small.safetensors", codec="mask", clamp=0.5)
    gamma = torch.cat([layer.weight for layer in net.modules() if isinstance(layer, torch.nn.LayerNorm)])
    assert small.zeros == int((gamma.abs() < 0.5).sum()) > 10
    # Raw tensors alone: 2 x 80 floats before; now a bit a channel, and zeros are not there.
    before, after = (
        sum(len(t.data) for t in _tensors(tmp_path / f"{name}.safetensors")) for name in ("whole", "small")
    )
    assert (before, after) == (4 * 160, 4 * (160 - small.zeros) + 10)
    assert len(small.data) < len(whole.data)


def _tensors(path):
    from bnonly.seedfile import container

    return container.unpack(path.read_bytes())[1].values()


@pytest.mark.parametrize("form", ["folded", "full"])
def test_forms_with_statistics_are_refused(form, tmp_path):
    net = trained("cifar_resnet8_gn", group="norm")
    with pytest.raises(NotStorable, match="form: expected affine for no BatchNorm, got " + form):
        bnonly.save(net, tmp_path / "net.safetensors", form=form)
    with pytest.raises(NotStorable, match="folded or full for BatchNorm alone, got affine"):
        bnonly.save(trained(), tmp_path / "net.safetensors", form="affine")
    assert not list(tmp_path.iterdir())


def test_rans_and_calibration_are_refused():
    with pytest.raises(BadInput, match="codec rans codes a and b, which form affine does not have"):
        bnonly.save(trained("vit_w32_d1_p4", group="norm"), "net.safetensors", codec="rans")
    with pytest.raises(BadInput, match="other layers than BatchNorm"):
        calibrated(trained("vit_w32_d1_p4", group="norm"), How(), torch.zeros(1, 3, 8, 8))


def test_another_eps_is_another_network(tmp_path):
    net = trained("vit_w32_d1_p4", group="norm")
    net.norm.eps = 1e-3
    with pytest.raises(NotStorable, match=r"network, norm: expected LayerNorm.*eps=1e-06.* as in vit_w32_d1_p4"):
        bnonly.save(net, tmp_path / "net.safetensors")


def test_decoding_takes_layers_without_a_bias():
    values = {"weight": torch.arange(1.0, 6).numpy(), "bias": torch.ones(2).numpy()}
    coded = codecs.encode_full(values, "raw", "fp32")
    back = codecs.decode(coded.tensors, "affine", "raw", "fp32", [3, 2], 0, {"weight": 5, "bias": 2})
    assert {name: value.tolist() for name, value in back.items()} == {"weight": [1, 2, 3, 4, 5], "bias": [1, 1]}


@pytest.mark.skipif(NODE is None, reason="the second reader runs in node")
def test_a_reader_from_before_refuses_by_the_features_name(tmp_path):
    path = tmp_path / "net.safetensors"
    path.write_bytes(golden("affine-fp32-raw"))
    assert answers({"": path})[""] == {"error": "UnsupportedFeature", "field": "requires"}


def test_the_commands(tmp_path, capsys):
    """fit, export, inspect, verify, inflate, measure, ablate of a Mixer of digits."""
    fields = ["--network.name", "mixer_w16_d1_p2_r8", "--training.epochs", "1", "--training.batch_size", "500"]
    fields += ["--training.optimizer", "adam", "--training.lr", "0.01", "--out", str(tmp_path), "--experiment", "t"]
    assert main(["fit", *fields, "--group", "norm+output", "--tracking", "off"]) == 0
    run = capsys.readouterr().out.splitlines()[-1]
    file, state = tmp_path / "net.safetensors", tmp_path / "state.safetensors"
    assert main(["export", run, "-o", str(file), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["form"] == "affine" and facts["before"]["top1"] == facts["after"]["top1"]
    assert main(["inspect", str(file)]) == 0
    assert "affine, fp32, codec raw" in capsys.readouterr().out
    assert main(["verify", str(file)]) == 0
    assert main(["inflate", str(file), "-o", str(state)]) == 0
    assert load_file(state).keys() == bnonly.load(file).state_dict().keys()
    capsys.readouterr()
    for subject in (run, str(file)):
        assert main(["measure", subject, "--json"]) == 0
        measured = json.loads(capsys.readouterr().out)
        assert measured["gamma"]["all"]["channels"] == 48 and measured["relu"] == {}
        assert measured["score"]["top1"] == facts["after"]["top1"]
        assert main(["ablate", subject, "--thresholds", "1e9", "--json"]) == 0
        ablated = json.loads(capsys.readouterr().out)
        assert ablated["points"][0]["clamped"] == ablated["channels"] == 48
    assert open_file(file).header.info["group"] == "norm+output"
