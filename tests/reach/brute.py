"""Brute force: what a module of PyTorch does, counted by hooks on its layers, with nothing of evsim."""

from __future__ import annotations

from collections import Counter

import torch
from torch import nn


def settle(model: nn.Module, seed: int = 0, *, share: float = 1.0) -> nn.Module:
    """Give BatchNorms statistics of their own, so that every layer fires and none is like another."""
    torch.manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            size = module.running_mean.shape
            module.running_mean.copy_(0.2 * torch.randn(size))
            module.running_var.copy_(0.5 + torch.rand(size))
            with torch.no_grad():
                module.weight.copy_(share * (1.0 + torch.rand(size)))
                module.bias.copy_(share * (0.3 + 0.5 * torch.rand(size)))
    return model.eval()


def counted(model: nn.Module, run) -> Counter[str]:
    """Return, for each layer with weights, the nonzero inputs times the outputs that each really reaches."""
    totals: Counter[str] = Counter()

    def hook(path):
        def count(module, inputs, _output):
            active = (inputs[0].detach() != 0).to(torch.float64)
            if isinstance(module, nn.Linear):
                totals[path] += int(active.sum()) * module.out_features
                return
            ones = torch.ones_like(module.weight, dtype=torch.float64)
            function = nn.functional.conv1d if isinstance(module, nn.Conv1d) else nn.functional.conv2d
            if active.ndim > ones.ndim:
                active = active.flatten(0, 1)
            reached = function(active, ones, None, module.stride, module.padding, module.dilation, module.groups)
            totals[path] += int(reached.sum())

        return count

    layers = {p: m for p, m in model.named_modules() if isinstance(m, nn.Linear | nn.Conv1d | nn.Conv2d)}
    hooks = [module.register_forward_hook(hook(path)) for path, module in layers.items()]
    # some libraries emit their spikes as float32, whatever they read
    hooks += [m.register_forward_pre_hook(lambda _m, xs: (xs[0].double(), *xs[1:])) for m in layers.values()]
    with torch.no_grad():
        run(model)
    for each in hooks:
        each.remove()
    return totals
