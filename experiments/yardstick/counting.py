"""A network's `Needs`, counted while it computes."""

from __future__ import annotations

from dataclasses import fields

import torch
from torch import Tensor, nn

from bnonly.trainable import ScalarTrained
from experiments.yardstick.needs import Needs


def needs(net: nn.Module, shape: tuple[int, int, int], training: bool = True) -> Needs:
    """What one step of this network needs for images of `shape`, [3, H, W]: of training, or a forward alone.

    One forward of two images is computed, on the network's device; afterwards its state is as before.
    """
    totals = dict.fromkeys((each.name for each in fields(Needs)), 0)
    state = {name: value.clone() for name, value in net.state_dict().items()}
    mode, hooks = net.training, []

    def count(layer: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(layer, nn.Conv2d | nn.Linear)
        values, places = output[0].numel(), output[0].numel() // output.shape[1]
        multiply_adds = values * layer.weight[0].numel()
        passes = 1
        totals["forward"] += multiply_adds
        totals["values_forward"] += 2 * values
        if given[0].requires_grad:
            totals["for_inputs"] += multiply_adds
            passes += 1
        if isinstance(layer, ScalarTrained):
            totals["for_weights"] += layer.random_values.numel() * places
            passes += 1
        elif layer.weight.requires_grad:
            totals["for_weights"] += multiply_adds
            passes += 1
        if output.requires_grad:
            totals["values_backward"] += 3 * values
        totals["weights"] += passes * layer.weight.numel()

    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            hooks.append(layer.register_forward_hook(count))
    first = next(net.parameters())
    try:
        net.train(training)
        with torch.set_grad_enabled(training):
            net(torch.zeros(2, *shape, device=first.device))
    finally:
        for hook in hooks:
            hook.remove()
        net.train(mode)
        net.load_state_dict(state)
    totals["values_forward"] += shape[0] * shape[1] * shape[2]
    return Needs(**totals)
