"""What a seed and the stored values would not bring back is found, whatever it is, and named."""

from __future__ import annotations

import copy
import os
import stat

import pytest
import torch

import bnonly
from bnonly.cli import main
from bnonly.errors import BadInput, printable
from bnonly.fused.network import fuse
from bnonly.measure.gamma import clamped
from bnonly.seedfile.contents import Limits, open_file, read
from bnonly.seedfile.errors import CorruptFile, NotStorable, TooLarge
from bnonly.seedfile.header import Input
from bnonly.seedfile.loading import network_of
from bnonly.seedfile.saving import How, pack
from tests.seedfile.made import golden, trained


def dilate(net):
    net.conv1.dilation, net.conv1.padding = (2, 2), (2, 2)


def stride(net):
    net.layer1[0].conv1.stride = (2, 2)


def wrap(net):
    net.conv1.padding_mode = "circular"


def pool(net):
    net.pool = torch.nn.AvgPool2d(2)


def hook(net):
    net.bn1.register_forward_hook(lambda module, given, result: result * 2)


def method(net):
    net.bn1.forward = lambda images: images


def group_norm(net):
    net.bn1 = torch.nn.GroupNorm(4, 16)


def instance_norm(net):
    net.bn1 = torch.nn.InstanceNorm2d(16, affine=True, track_running_stats=True)


def no_statistics(net):
    net.bn1.running_mean = net.bn1.running_var = None


def other_eps(net):
    net.bn1.eps = 1e-3


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (dilate, r"conv1: expected .*dilation \(1, 1\).*got .*dilation \(2, 2\)"),
        (stride, r"layer1\.0\.conv1: .*stride \(2, 2\)"),
        (wrap, "circular"),
        (pool, "another one, pool"),
        (hook, "bn1: .*a forward of its own"),
        (method, "bn1: .*a forward of its own"),
        (group_norm, "bn1: expected a BatchNorm, got GroupNorm"),
        (instance_norm, "bn1: expected a BatchNorm, got InstanceNorm2d"),
        (no_statistics, "bn1: expected running statistics"),
        (other_eps, r"eps: expected 0\.001 as in the other layers|eps: expected"),
        (lambda net: net.half(), "expected float32, got float16; save it before it is cast"),
        (lambda net: net.double(), "expected float32, got float64"),
    ],
)
def test_a_network_that_computes_otherwise(change, says):
    net = trained()
    change(net)
    with pytest.raises(NotStorable, match=says):
        pack(net, How())


def test_training_that_has_failed():
    net = trained(group="random:2")
    with torch.no_grad():
        net.conv1.random_values[0, 0] = float("nan")
    with pytest.raises(NotStorable, match="training has failed"):
        pack(net, How())


def test_a_gamma_of_exactly_the_threshold_stays():
    net = trained(share=0.0)
    for threshold in (0.7, 0.01):
        with torch.no_grad():
            net.bn1.weight.fill_(threshold)
        with clamped(net, threshold) as count:
            assert pack(net, How(clamp=threshold, form="full")).zeros == count


def test_copies_are_stored_alike():
    net = trained(group="bn+random:2")
    assert pack(copy.deepcopy(net), How()).data == pack(net, How()).data


def test_a_fused_network_is_stored_as_it_was():
    net = trained()
    plain = pack(net, How()).data
    assert fuse(net)
    assert pack(net, How()).data == plain


def test_what_was_said_of_a_network_is_not_said_of_another():
    net = network_of(read(golden("folded-fp32-raw")))
    assert pack(net, How()).header.info == {"made": "for tests"}
    bnonly.freeze_all_but(net, "output")
    assert pack(net, How()).header.info == {}


@pytest.mark.parametrize(
    ("named", "says"),
    [
        ({"step": 32.5}, "whole number"),
        ({"step": "32"}, "whole number"),
        ({"clamp": "0.1"}, "no number"),
        ({"clamp": None}, "no number"),
        ({"clamp": float("inf")}, "from 0 up"),
    ],
)
def test_kinds_of_options(named, says):
    with pytest.raises(BadInput, match=says):
        How(**named)
    assert How(step=32.0, clamp=1).step == 32


def test_kinds_of_input_and_info(tmp_path):
    net, labels = trained(), tuple("0123456789")
    for shape in ((3, 8.0, 8), None, (3, 8), (3, 1 << 10, 1 << 10)):
        with pytest.raises(BadInput):
            pack(net, How(), Input(shape, (0.0,) * 3, (1.0,) * 3, labels))
    for info in ([1], "x"):
        with pytest.raises(BadInput, match="names and values"):
            pack(net, How(), info=info)
    with pytest.raises(BadInput, match="cannot be read"):
        bnonly.load("a\0b")


@pytest.mark.parametrize(("seed", "classes"), [(7.5, 10), ("7", 10), (7, 2.0), (7, 0), (7, -1)])
def test_kinds_of_seed_and_classes(seed, classes):
    with pytest.raises(BadInput):
        bnonly.network("cifar_resnet8", seed, classes=classes)


def test_the_callers_settings_of_torch_do_not_matter():
    wanted = network_of(read(golden("full-fp32-raw"))).state_dict()
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float64)
        with torch.device("meta"):
            there = network_of(read(golden("full-fp32-raw"))).state_dict()
    finally:
        torch.set_default_dtype(before)
    assert all(torch.equal(value, there[name]) and value.dtype == there[name].dtype for name, value in wanted.items())
    with torch.inference_mode():
        net = network_of(read(golden("full-fp32-raw")))
    (parameter, *_) = bnonly.freeze_all_but(net, "bn")
    net(torch.zeros(2, 3, 8, 8)).sum().backward()
    assert parameter.grad is not None


class TestPlaces:
    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
    def test_nothing_but_a_file_is_replaced(self, tmp_path):
        os.mkfifo(tmp_path / "pipe")
        (tmp_path / "folder").mkdir()
        for name, says in (("pipe", "no ordinary file"), ("folder", "a folder")):
            with pytest.raises(BadInput, match=says):
                bnonly.save(trained(), tmp_path / name)
        assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)

    def test_a_link_is_followed(self, tmp_path):
        (tmp_path / "real").write_bytes(b"old")
        (tmp_path / "link").symlink_to("real")
        packed = bnonly.save(trained(), tmp_path / "link")
        assert (tmp_path / "link").is_symlink() and (tmp_path / "real").read_bytes() == packed.data

    def test_a_run_is_not_destroyed(self, tmp_path, capsys):
        for name in ("final.safetensors", "result.json", "config.yaml", "last.ckpt"):
            assert main(["export", str(tmp_path), "-o", str(tmp_path / name)]) == 2
            assert "belongs to the run itself" in capsys.readouterr().err

    def test_home(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HOME", str(tmp_path))
        (tmp_path / "net").write_bytes(golden("folded-fp32-raw"))
        assert main(["inspect", "~/net"]) == 0

    def test_a_huge_file_is_not_read(self, tmp_path):
        with (tmp_path / "net").open("wb") as file:
            file.truncate(1 << 40)
        with pytest.raises(CorruptFile):
            open_file(tmp_path / "net")
        (tmp_path / "net").write_bytes(golden("folded-fp32-raw"))
        with pytest.raises(TooLarge, match="at most 4000 bytes"):
            open_file(tmp_path / "net", Limits(bytes=4000))

    def test_a_stream_will_do(self, tmp_path):
        import subprocess
        import sys

        done = subprocess.run(
            [sys.executable, "-m", "bnonly", "inspect", "/dev/stdin"],
            input=golden("folded-fp32-raw"),
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr


class TestTexts:
    """Labels are texts from outside: they neither move the cursor nor end a command."""

    LABELS = ("\x1b]0;pwned\x07\x1b[2J\nfile 0000", "\u017caba", *map(str, range(2, 10)))

    def test_control_characters_are_spelled_out(self, tmp_path, capsys):
        bnonly.save(trained(), tmp_path / "net", input=Input((3, 8, 8), (0.0,) * 3, (1.0,) * 3, self.LABELS))
        assert main(["inspect", str(tmp_path / "net")]) == 0
        said = capsys.readouterr().out
        assert "\x1b" not in said and "\\x1b]0;pwned" in said and "\nfile 0000" not in said
        assert printable("a\tb\x1b\u017c") == "a\\tb\\x1b\u017c"

    def test_a_terminal_without_the_letter(self, tmp_path):
        import subprocess
        import sys

        bnonly.save(trained(), tmp_path / "net", input=Input((3, 8, 8), (0.0,) * 3, (1.0,) * 3, self.LABELS))
        command = [sys.executable, "-m", "bnonly", "inspect", str(tmp_path / "net")]
        done = subprocess.run(
            command, env=os.environ | {"PYTHONIOENCODING": "ascii"}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0 and "\\u017caba" in done.stdout


def test_a_safetensors_file_of_another_kind_is_called_that(tmp_path):
    from safetensors.torch import save_file

    save_file(trained().state_dict(), tmp_path / "state")
    with pytest.raises(CorruptFile, match="no seed\\+BN file"):
        open_file(tmp_path / "state")
