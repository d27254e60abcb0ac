"""Networks of torchvision and timm by their own names, as shapes and constants: the seed gives every value.

They are built without pretrained weights, on torch's meta device where that works, and on the CPU where a network
holds constants of its own or computes with them, with torch's random state put back.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.metadata import version
from typing import Any

import torch
from torch import nn

from bnonly.errors import BadInput
from bnonly.networks.antialias import Antialias, no_filter
from bnonly.randomness.entry import Entry
from bnonly.randomness.plan import BATCH_NORMS, NORMS, plan


def library_version(library: str) -> str:
    """Of the installed one. Raises BadInput without it."""
    _library(library)
    return version(library)


def timm_entries(name: str, *, classes: int = 1000) -> Iterator[Entry]:
    """Of `timm_network`, from its modules: a library has no other layout."""
    return iter(plan(_built("timm", name, classes, constants=False)))


def torchvision_entries(name: str, *, classes: int = 1000) -> Iterator[Entry]:
    """Of `torchvision_network`, from its modules: a library has no other layout."""
    return iter(plan(_built("torchvision", name, classes, constants=False)))


def timm_network(name: str, classes: int = 1000, antialias: Antialias = "none") -> nn.Module:
    """`timm.create_model(name)`. Raises BadInput for an unknown one, or one without a normalisation layer."""
    no_filter(antialias, f"timm/{name} subsamples as its library says")
    return _built("timm", name, classes)


def torchvision_network(name: str, classes: int = 1000, antialias: Antialias = "none") -> nn.Module:
    """`torchvision.models.get_model(name)`, of those that classify images. Raises BadInput as `timm_network`."""
    no_filter(antialias, f"torchvision/{name} subsamples as its library says")
    return _built("torchvision", name, classes)


def check_normalised(net: nn.Module, name: str) -> None:
    """Raises BadInput for a network that nothing here is about, and for parameters in two places."""
    if not any(isinstance(layer, NORMS) and layer.weight is not None for layer in net.modules()):
        raise BadInput(f"{name} has no normalisation layer with parameters, which bnonly trains: take another")
    names = [name for name, _ in net.named_parameters()]
    if twice := [n for n, _ in net.named_parameters(remove_duplicate=False) if n not in names]:
        raise BadInput(f"parameter {twice[0]} of {name} stands in two places, and the seed gives each one of its own")


def _built(library: str, name: str, classes: int, constants: bool = True) -> nn.Module:
    """constants: whether all buffers but running statistics must have their values."""
    make = {"timm": _timm, "torchvision": _torchvision}[library](name, classes)
    full = f"{library}/{name}"
    net = None
    try:
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            net = make()
    except (RuntimeError, NotImplementedError):  # it computes with values while it is built
        pass
    if net is None or (constants and _has_constants(net)):
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            net = make()
    check_normalised(net, full)
    if not hasattr(net, "roles"):
        net.roles = {"output": _output(net, classes)}  # type: ignore[assignment]
    return net.requires_grad_(False).train()


def _has_constants(net: nn.Module) -> bool:
    """Whether some tensor on the meta device is neither a parameter nor a running statistic."""
    for module in net.modules():
        own = [] if isinstance(module, BATCH_NORMS) else [b for b in module._buffers.values() if b is not None]
        if own or any(isinstance(value, torch.Tensor) for value in vars(module).values()):
            return True
    return False


def _timm(name: str, classes: int) -> Callable[[], nn.Module]:
    timm = _library("timm")
    if not timm.is_model(name.partition(".")[0]):
        raise BadInput(f"timm {version('timm')} has no model {name!r}: timm.list_models() names those it has")
    return lambda: timm.create_model(name, pretrained=False, num_classes=classes)


def _torchvision(name: str, classes: int) -> Callable[[], nn.Module]:
    models = _library("torchvision").models
    if name not in models.list_models(module=models):
        raise BadInput(
            f"torchvision {version('torchvision')} has no classifier {name!r}: "
            "torchvision.models.list_models(module=torchvision.models) names those it has"
        )
    # These two answer in training with more than logits, and draw what is drawn anew here.
    two = name in ("googlenet", "inception_v3")
    more: dict[str, Any] = {"aux_logits": False, "init_weights": False} if two else {}
    return lambda: models.get_model(name, weights=None, num_classes=classes, **more)


def _library(library: str) -> Any:
    try:
        return import_module(library)
    except ImportError as error:
        raise BadInput(f"{library} is not installed, which has this network: pip install 'bnonly[timm]'") from error


def _output(net: nn.Module, classes: int) -> list[str]:
    """The paths of the layers that give the logits: within what timm calls the classifier, else the last layer of so
    many outputs."""
    paths = [
        path
        for path, layer in net.named_modules()
        if isinstance(layer, nn.Linear | nn.Conv2d)
        and getattr(layer, "out_features", getattr(layer, "out_channels", None)) == classes
    ]
    if (say := getattr(net, "get_classifier", None)) is None:
        return paths[-1:]
    found = say()
    heads = found if isinstance(found, tuple | list) else (found,)
    inside = {id(layer) for head in heads if isinstance(head, nn.Module) for layer in head.modules()}
    return [path for path in paths if id(net.get_submodule(path)) in inside]
