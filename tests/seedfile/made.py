"""Networks and files for these tests: their values come from bngen-1, so that they are the same everywhere."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import rfc8785
import torch
from torch import nn

import bnonly
from bnonly.randomness import bngen
from bnonly.randomness.start import Start
from bnonly.regrow import chosen, redraw
from bnonly.seedfile import container, header
from bnonly.seedfile.header import Input
from bnonly.seedfile.loading import load
from bnonly.seedfile.saving import How, Packed, pack
from bnonly.trainable import ScalarTrained

GOLDEN = Path(__file__).parent.parent / "golden" / "seedfile"
PURPOSE = 0xF0  # of streams that nothing else draws from


def trained(name="cifar_resnet8", seed=7, group="bn", *, share=0.3, redrawn=(), **options) -> nn.Module:
    """A network as if trained: every value of the group moved, running statistics too, `share` of gamma exactly 0.

    redrawn: thresholds by which filters are drawn anew before, one after another.
    """
    net = bnonly.network(name, seed, **options)
    for below in redrawn:
        redraw(net, chosen(net, "small", below))
    parameters = bnonly.freeze_all_but(net, group)
    stream = iter(range(1 << 20))

    def uniform(like: torch.Tensor, low: float, high: float) -> torch.Tensor:
        drawn = bngen.gamma_unit(seed, bngen.stream_number(PURPOSE, next(stream)), like.numel())
        return torch.from_numpy(drawn).reshape(like.shape) * (high - low) + low

    with torch.no_grad():
        for parameter in parameters:
            parameter.add_(uniform(parameter, -0.05, 0.05))
        for layer in net.modules():
            if isinstance(layer, ScalarTrained):
                layer.write_back()
            if isinstance(layer, nn.BatchNorm2d):
                assert layer.running_mean is not None and layer.running_var is not None
                layer.running_mean.copy_(uniform(layer.running_mean, -0.5, 0.5))
                layer.running_var.copy_(uniform(layer.running_var, 0.5, 2.0))
            if isinstance(layer, nn.BatchNorm2d | nn.LayerNorm | nn.GroupNorm) and layer.weight.requires_grad:
                layer.weight[uniform(layer.weight, 0, 1) < share] = 0
    return net


@dataclass(frozen=True)
class Case:
    """One golden file: how its network is made and how it is written."""

    group: str = "bn"
    how: How = field(default_factory=How)
    network: dict[str, Any] = field(default_factory=dict)
    redrawn: tuple[float, ...] = ()  # thresholds of |gamma|, one after another

    def net(self) -> nn.Module:
        return trained(group=self.group, redrawn=self.redrawn, **self.network)

    def packed(self) -> Packed:
        classes = self.network.get("classes", 10)
        labels = ("chat \u00ab noir \u00bb", 'a "b" \\ c', *map(str, range(2, classes)))
        given = Input((3, 16, 16), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), labels)
        return pack(self.net(), self.how, given, {"made": "for tests"})


CASES = {
    "folded-fp32-raw": Case(),
    "folded-fp16-raw": Case(how=How(dtype="fp16")),
    "folded-bf16-raw": Case(how=How(dtype="bf16")),
    "folded-fp32-mask": Case(how=How(codec="mask")),
    "folded-fp16-mask": Case(how=How(dtype="fp16", codec="mask", clamp=0.1)),
    "folded-rans-1": Case(how=How(codec="rans", step=32)),
    "folded-rans-1-coarse": Case(how=How(codec="rans", step=2)),
    "full-fp32-raw": Case(how=How(form="full")),
    "full-fp32-mask": Case(how=How(form="full", codec="mask", clamp=0.2)),
    "full-bf16-raw": Case(how=How(form="full", dtype="bf16")),
    "bn-output": Case("bn+output", How(dtype="fp16", codec="mask")),
    "output-rans-1": Case("output", How(dtype="fp16", codec="rans", step=4)),
    "shortcut": Case("shortcut", How(dtype="fp16")),
    "random-2": Case("random:2", How(dtype="fp16", codec="rans", step=4)),
    "gamma-random-30-shortcut": Case("gamma+random:30+shortcut", How(dtype="bf16", codec="mask")),
    "uniform-fan-out": Case(
        "beta", How(dtype="fp16"), {"start": Start("uniform", "fan_out", "symmetric", "ones"), "seed": (1 << 128) - 5}
    ),
    "regrown": Case(how=How(dtype="fp16"), redrawn=(0.2, 0.4)),
    "regrown-shortcut-rans-1": Case("bn+shortcut+random:2", How(codec="rans", step=4), redrawn=(0.5,)),
    "affine-fp32-raw": Case("norm+output", How(form="affine"), {"name": "mixer_w16_d2_p4_r16"}),
    "affine-bf16-mask": Case("norm", How(dtype="bf16", codec="mask", clamp=0.1), {"name": "mixer_w16_d2_p4_r16"}),
    "affine-vit": Case("gamma", How(dtype="fp16"), {"name": "vit_w32_d1_p4", "classes": 3}),
    "affine-gn-random-2": Case("norm+random:2+shortcut", How(codec="mask"), {"name": "cifar_resnet8_gn"}),
    "affine-ln": Case("norm", How(dtype="fp16"), {"name": "cifar_resnet8_ln"}),
    "sign-two-classes": Case("norm", How(dtype="fp16"), {"start": Start("sign", gamma="ones"), "classes": 2}),
}


def golden(name: str) -> bytes:
    return (GOLDEN / f"{name}.safetensors").read_bytes()


def parameters_digest(path: Path) -> str:
    """SHA-256 of every parameter of a stored network, then of every running statistic, little-endian float32."""
    net = load(path)
    total = hashlib.sha256()
    for value in (*net.parameters(), *(buffer for name, buffer in net.named_buffers() if "running" in name)):
        total.update(value.numpy().astype("<f4").tobytes())
    return total.hexdigest()


def rewritten(change, name="folded-fp32-raw", tensors=None) -> bytes:
    """A golden file with other fields, both digests made good: what someone could write on purpose."""
    text, own, _ = container.unpack(golden(name))
    plain = json.loads(text)
    del plain["header_sha256"]
    tensors = own if tensors is None else tensors(own)
    plain["payload_sha256"] = container.payload_sha256(tensors)
    plain = change(plain) or plain
    plain["header_sha256"] = header._digest(plain)
    return container.pack(rfc8785.dumps(plain).decode(), tensors)


def setting(path, value):
    def change(plain):
        *way, last = path.split(".")
        inside = plain
        for key in way:
            inside = inside[key]
        if value is None:
            del inside[last]
        else:
            inside[last] = value

    return change


if __name__ == "__main__":  # a case that has no file yet gets one; those that are there are never written again
    digests = GOLDEN / "digests.json"
    known = json.loads(digests.read_text()) if digests.exists() else {}
    for name, case in CASES.items():
        path = GOLDEN / f"{name}.safetensors"
        if not path.exists():
            path.write_bytes(case.packed().data)
        known.setdefault(name, parameters_digest(path))
    digests.write_text(json.dumps(known, indent=2) + "\n")
