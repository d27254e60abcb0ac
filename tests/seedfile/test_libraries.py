"""Files of torchvision's and timm's networks and of modules of one's own."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from torch import nn

import bnonly
from bnonly.cli import main
from bnonly.errors import BadInput
from bnonly.randomness.initialise import frozen_digest
from bnonly.randomness.start import Start
from bnonly.seedfile import contents, saving
from bnonly.seedfile.errors import NotStorable, PlanMismatch, UnsupportedFeature
from bnonly.seedfile.header import Input
from tests.seedfile.forge import Forged


def pictures(side, classes=5):
    return Input((3, side, side), (0.0,) * 3, (1.0,) * 3, tuple(map(str, range(classes))))


def stepped(net, side, group):
    """One step of SGD on random images."""
    optimizer = torch.optim.SGD(bnonly.freeze_all_but(net, group), lr=0.01)
    images = torch.randn(4, 3, side, side, generator=torch.Generator().manual_seed(0))
    torch.nn.functional.cross_entropy(net.train()(images), torch.tensor([0, 1, 2, 3])).backward()
    optimizer.step()
    return net


def small(group):
    return stepped(bnonly.network("torchvision/mobilenet_v3_small", 7, classes=5), 32, group)


def same(back, net):
    """In all values but the number of batches seen, which a file does not hold."""
    own, state = back.state_dict(), net.state_dict()
    names = [name for name in state if not name.endswith("num_batches_tracked")]
    return own.keys() == state.keys() and all(torch.equal(own[name], state[name]) for name in names)


FRESH = """
import json, sys
import bnonly
from bnonly.randomness.initialise import frozen_digest
net = bnonly.load(sys.argv[1])
bnonly.freeze_all_but(net, sys.argv[2])
print(json.dumps([frozen_digest(net), net.stored.frozen_sha256]))
"""


def in_a_fresh_process(path, group):
    command = [sys.executable, "-c", FRESH, str(path), group]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_torchvision_network_comes_back_in_a_fresh_process(tmp_path):
    net, path = small("bn+output"), tmp_path / "net.safetensors"
    with pytest.raises(BadInput, match="4 labels do not name 5 classes"):
        bnonly.save(net, path, input=pictures(32, 4))
    packed = bnonly.save(net, path, input=pictures(32), form="full")
    assert packed.header.requires == ("library",)
    assert (packed.header.arch.library, packed.header.arch.version) == ("torchvision", torchvision_version())
    back = bnonly.load(path)
    assert same(back, net)
    assert in_a_fresh_process(path, "bn+output") == [frozen_digest(net), packed.header.frozen_sha256]


def torchvision_version():
    from importlib.metadata import version

    return version("torchvision")


def test_another_plan_says_which_version_made_the_file(tmp_path):
    path = tmp_path / "net.safetensors"
    bnonly.save(small("bn"), path, input=pictures(32))
    forged = Forged.of(path)
    forged.header["plan_sha256"], forged.header["arch"]["args"]["version"] = "0" * 64, "0.1.2"
    path.write_bytes(forged.signed().data())
    with pytest.raises(PlanMismatch, match=r"made with torchvision 0\.1\.2: install that version"):
        bnonly.load(path)
    forged.header["arch"]["id"] = "torchvision/gone"
    path.write_bytes(forged.signed().data())
    with pytest.raises(UnsupportedFeature, match=r"no classifier 'gone'.*made with torchvision 0\.1\.2"):
        bnonly.load(path)


def test_a_mixed_network_is_stored_in_full():
    """BatchNorm's statistics alone: LayerNorm has none."""
    net = bnonly.grown(Mixed(), 7)
    packed = saving.pack(stepped(net, 8, "norm"), saving.How(), pictures(8))
    assert packed.header.bn.form == "full" and packed.header.requires == ("mixed", "module")
    own = contents.read(packed.data, own=contents_plan(Mixed()))
    assert {name: len(value) for name, value in own.norms.items()} == {"weight": 12, "bias": 12, "mean": 8, "var": 8}
    with pytest.raises(NotStorable, match="form: expected full for BatchNorm and other layers, got folded"):
        saving.pack(net, saving.How("folded"), pictures(8))


def contents_plan(module):
    from bnonly.randomness.plan import plan

    return plan(module)


class Mixed(nn.Module):
    """A user's network: BatchNorm, LayerNorm, attention and a head, with a constant of its own."""

    def __init__(self, classes: int = 5):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8)
        self.mix, self.norm = nn.Linear(8, 4), nn.LayerNorm(4)
        self.register_buffer("factor", torch.tensor(2.0))
        self.head = nn.Linear(4, classes)
        self.roles = {"output": ["head"]}

    def forward(self, x):
        return self.head(self.norm(self.mix(self.bn(self.conv(x)).relu().mean((2, 3)))) * self.factor)


def test_ones_own_module_comes_back(tmp_path):
    path, group = tmp_path / "net.safetensors", "norm+output+random:2"
    net = stepped(bnonly.grown(Mixed(), 7), 8, group)
    bnonly.save(net, path, input=pictures(8))
    other = Mixed()
    before = other.head.weight.clone()
    back = bnonly.load(path, module=other)
    assert torch.equal(other.head.weight, before), "the module that was handed in stays as it is"
    assert same(back, net)
    assert net.training and back.origin.name == "module/Mixed" and back.trained == ("norm", "output", "random:2")


def test_ones_own_module_is_asked_for(tmp_path, capsys):
    path = tmp_path / "net.safetensors"
    net = stepped(bnonly.grown(Mixed(), 7), 8, "norm")
    with pytest.raises(BadInput, match=r"what images module/Mixed takes is not known: pass input="):
        bnonly.save(net, path)
    bnonly.save(net, path, input=pictures(8))
    with pytest.raises(UnsupportedFeature, match=r"module/Mixed; load it in Python: bnonly\.load\(file, module="):
        bnonly.load(path)
    with pytest.raises(PlanMismatch, match="plan_sha256"):
        bnonly.load(path, module=Mixed(6))
    assert main(["verify", str(path)]) == 2
    assert "module=" in capsys.readouterr().err
    bnonly.save(bnonly.network("cifar_resnet8", 3), path)
    with pytest.raises(UnsupportedFeature, match="leave module out"):
        bnonly.load(path, module=Mixed())


class TwoHeads(Mixed):
    def __init__(self):
        super().__init__()
        self.other = nn.Linear(4, 5)
        self.roles = {"output": ["head", "other"]}

    def forward(self, x):
        x = self.norm(self.mix(self.bn(self.conv(x)).relu().mean((2, 3))))
        return self.head(x) + self.other(x)


def test_two_output_layers_are_stored_one_after_the_other(tmp_path):
    path, net = tmp_path / "net.safetensors", stepped(bnonly.grown(TwoHeads(), 7), 8, "output")
    bnonly.save(net, path, input=pictures(8))
    assert same(bnonly.load(path, module=TwoHeads()), net)


def test_a_changed_buffer_is_no_seeds():
    net = bnonly.network("torchvision/swin_t", 7, classes=5)
    net.get_buffer("features.1.0.attn.relative_position_index").add_(1)
    with pytest.raises(NotStorable, match=r"relative_position_index: expected a buffer as the architecture makes it"):
        saving.pack(net, saving.How(), pictures(32))


@pytest.mark.parametrize(
    ("module", "says"),
    [
        (nn.Sequential(nn.Conv2d(3, 4, 3)), "module/Sequential has no normalisation layer"),
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), "pass classes="),
        (nn.Sequential(nn.BatchNorm2d(4)).double(), "not float32 on the CPU"),
    ],
)
def test_modules_that_cannot_be_grown(module, says):
    with pytest.raises(BadInput, match=says):
        bnonly.grown(module, 3, classes=4 if "CPU" in says else None)


FAMILIES = {
    "resnet10t": ("refuse", 32),
    "regnetx_002": ("refuse", 32),
    "efficientnet_b0": ("refuse", 32),
    "mobilenetv3_small_050": ("refuse", 32),
    "densenet121": ("refuse", 32),
    "convnext_atto": ("ones", 32),
    "vit_tiny_patch16_224": ("refuse", 224),
    "deit3_small_patch16_224": ("ones", 224),
    "swin_tiny_patch4_window7_224": ("refuse", 224),
    "mixer_s32_224": ("refuse", 224),
    "poolformer_s12": ("ones", 64),
    "levit_128s": ("refuse", 224),
    "edgenext_xx_small": ("ones", 64),
    "ghostnet_050": ("refuse", 32),
}
"""By name: network.other, and pixels a side."""


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_families_of_timm(family, tmp_path):
    """uv run --extra timm pytest -m slow tests/seedfile/test_libraries.py"""
    pytest.importorskip("timm")
    other, side = FAMILIES[family]
    net, path = bnonly.network(f"timm/{family}", 7, classes=5, start=Start(other=other)), tmp_path / "net.safetensors"
    stepped(net, side, "norm+output")
    packed = bnonly.save(net, path, input=pictures(side))
    if packed.header.bn.form == "folded":  # whose gamma no group can name any more
        packed = bnonly.save(net, path, input=pictures(side), form="full")
    assert packed.header.arch.library == "timm"
    assert in_a_fresh_process(path, "norm+output") == [frozen_digest(net), packed.header.frozen_sha256]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resmlp_12_224", "dm_nfnet_f0", "vgg11"])
def test_networks_of_timm_without_a_norm_are_refused(name):
    pytest.importorskip("timm")
    with pytest.raises(BadInput, match=f"timm/{name} has no normalisation layer"):
        bnonly.network(f"timm/{name}", 7)
