"""Files of anti-aliased networks: they come back, say what they are, and older readers refuse them clearly."""

from __future__ import annotations

import json

import pytest
import rfc8785
import torch
from safetensors.numpy import load_file

import bnonly
from bnonly.cli import main
from bnonly.seedfile import container, header
from bnonly.seedfile.card import config_of
from bnonly.seedfile.contents import open_file, read
from bnonly.seedfile.errors import CorruptFile, NotStorable, UnsupportedFeature
from bnonly.seedfile.saving import How, pack
from tests.seedfile.networks import pictures, trained


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "net.safetensors"
    bnonly.save(trained("bn", antialias="tri3"), path, input=pictures(8), form="full")
    return path


def test_it_comes_back(path, tmp_path, capsys):
    net, again = trained("bn", antialias="tri3").eval(), bnonly.load(path)
    assert again.origin == net.origin and again.origin.antialias == "tri3"
    x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(again(x), net(x))
    assert main(["verify", str(path)]) == 0
    assert main(["inspect", str(path)]) == 0
    assert capsys.readouterr().out.count("cifar_resnet8 (antialias tri3)") == 2
    assert main(["inflate", str(path), "-o", str(tmp_path / "state.safetensors")]) == 0
    state = load_file(tmp_path / "state.safetensors")
    assert state.keys() == net.state_dict().keys() and not any("taps" in name for name in state)
    again_saved = pack(again, How(form="full"))
    assert again_saved.data == path.read_bytes()


def test_what_the_header_says(path):
    own, plain = open_file(path).header, pack(trained("bn"), How(form="full"), pictures(8)).header
    assert own.plain()["arch"]["args"] == {"antialias": "tri3", "classes": 10}
    assert plain.plain()["arch"]["args"] == {"classes": 10} and plain.requires == ()
    assert own.requires == ("antialias",)
    assert (own.plan_sha256, own.frozen_sha256, own.payload_sha256) == (
        plain.plan_sha256, plain.frozen_sha256, plain.payload_sha256,
    )  # fmt: skip
    assert config_of(own)["antialias"] == "tri3" and "antialias" not in config_of(plain)


def test_an_older_reader_says_that_it_does_not_know(path, monkeypatch):
    monkeypatch.setattr(header, "FEATURES", tuple(name for name in header.FEATURES if name != "antialias"))
    with pytest.raises(UnsupportedFeature, match=r"requires: expected some of .*got antialias; install a newer"):
        open_file(path)


@pytest.mark.parametrize(
    ("args", "requires", "error"),
    [
        ({"classes": 10, "antialias": "bin9"}, ["antialias"], UnsupportedFeature),
        ({"classes": 10, "antialias": "none"}, [], UnsupportedFeature),
        ({"classes": 10, "antialias": 3}, ["antialias"], CorruptFile),
        ({"classes": 10, "antialias": "tri3"}, [], CorruptFile),
        ({"classes": 10}, ["antialias"], CorruptFile),
    ],
    ids=str,
)
def test_headers_that_are_none(path, args, requires, error):
    text, tensors, _ = container.unpack(path.read_bytes())
    plain = json.loads(text) | {"requires": requires}
    plain["arch"]["args"] = args
    del plain["header_sha256"]
    plain["header_sha256"] = header._digest(plain)
    with pytest.raises(error):
        read(container.pack(rfc8785.dumps(plain).decode(), tensors))


def test_a_network_with_other_filters_than_its_name_says_is_not_stored():
    net, other = trained("bn", antialias="tri3"), trained("bn", antialias="bin5")
    net.layer2[0].blur = other.layer2[0].blur
    with pytest.raises(NotStorable, match=r"cifar_resnet8 .antialias tri3."):
        pack(net, How(), pictures(8))
