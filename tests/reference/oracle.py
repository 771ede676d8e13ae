"""Brute-force counts and the paper's energy rules in plain PyTorch, on what passes through a reference model.

Nothing here shares code or ideas with evsim's kernels: operations are counted by convolving with kernels of ones
and by multiplying out the attention matrices.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from models import SpikingTransformer
from parts import LIF, SelfAttention
from torch import Tensor, nn
from torch.nn import functional

E_MAC_PJ = 4.6
E_AC_PJ = 0.9
"""Energy of one 32-bit float multiply-accumulate and one accumulate, 45 nm (Horowitz, ISSCC 2014)."""

Counts = dict[str, dict]
"""Layer name to its figures, in order of execution."""


@dataclass
class Recording:
    """What one sample did in the network, by module name, in order of execution."""

    logits: Tensor
    spikes: dict[str, Tensor] = field(default_factory=dict)
    margins: dict[str, float] = field(default_factory=dict)
    inputs: dict[str, Tensor] = field(default_factory=dict)
    attention: dict[str, tuple[Tensor, Tensor, Tensor]] = field(default_factory=dict)


def margin(lif: LIF, x: Tensor) -> float:
    """Return the least distance of a membrane to the threshold over all neurons and timesteps."""
    v, least = torch.zeros_like(x[0]), float("inf")
    for current in x:
        v = v + (current - v) / lif.tau
        least = min(least, (v - lif.v_threshold).abs().min().item())
        v = v.masked_fill(v >= lif.v_threshold, 0.0)
    return least


@torch.no_grad()
def record(model: SpikingTransformer, x: Tensor) -> Recording:
    """Run the model on one sample and keep every LIF's spikes and every synaptic layer's input.

    Parameters
    ----------
    model
        A reference model with `LIF` neurons.
    x
        Image [1, 3, H, W] or frames [T, 1, 2, H, W].
    """
    kept = Recording(logits=torch.empty(0))

    def keep(name: str, module: nn.Module):
        def hook(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            if isinstance(module, LIF):
                kept.spikes[name] = output.bool()
                kept.margins[name] = margin(module, inputs[0])
            elif isinstance(module, SelfAttention):
                kept.attention[name] = tuple(module.split(value).bool() for value in inputs)
            else:
                kept.inputs[name] = inputs[0].clone()

        return hook

    handles = [
        module.register_forward_hook(keep(name, module))
        for name, module in model.named_modules()
        if isinstance(module, LIF | SelfAttention | nn.Conv1d | nn.Conv2d | nn.Linear)
    ]
    try:
        kept.logits = model(x)
    finally:
        for handle in handles:
            handle.remove()
    return kept


def reached(layer: nn.Module, x: Tensor) -> int:
    """Count nonzero inputs x outputs that each really reaches, by a convolution with ones."""
    active, ones = (x != 0).double(), torch.ones_like(layer.weight, dtype=torch.float64)
    if isinstance(layer, nn.Linear):
        counts = functional.linear(active, ones)
    elif isinstance(layer, nn.Conv1d):
        counts = functional.conv1d(active, ones)
    else:
        counts = functional.conv2d(active, ones, stride=layer.stride, padding=layer.padding)
    return int(counts.sum().item())


def outputs_of(layer: nn.Module, x: Tensor) -> int:
    """Count the output values of a conv or linear layer."""
    with torch.no_grad():
        return layer(x).numel()


def exact_counts(model: SpikingTransformer, kept: Recording) -> Counts:
    """Return the exact counts of every conv, linear and attention layer."""
    counts: Counts = {}
    for name, x in kept.inputs.items():
        layer = model.get_submodule(name)
        counts[name] = {
            "accumulates_in_bounds": reached(layer, x),
            "dense_macs_with_padding": outputs_of(layer, x) * layer.weight[0].numel(),
            "input_nonzeros": int((x != 0).sum().item()),
            "input_size": x.numel(),
            "input_binary": bool(((x == 0) | (x == 1)).all().item()),
            "input_max": x.max().item(),
        }
    for name, qkv in kept.attention.items():
        counts[name] = {"order": model.get_submodule(name).order, **attention_counts(*qkv)}
    return counts


def attention_counts(q: Tensor, k: Tensor, v: Tensor) -> dict[str, list[list[int]]]:
    """Count the accumulates of attention per timestep and head in both orders, by multiplying the matrices out.

    Parameters
    ----------
    q, k, v
        Boolean [T, 1, heads, N, dh].
    """
    q, k, v = (value[:, 0].double() for value in (q, k, v))
    kv, qk = k.transpose(-1, -2) @ v, q @ k.transpose(-1, -2)
    per_order = {
        "q(kv)": kv.sum((-1, -2)) + (q @ (kv != 0).double()).sum((-1, -2)),
        "(qk)v": qk.sum((-1, -2)) + ((qk != 0).double() @ v).sum((-1, -2)),
    }
    return {order: counts.long().tolist() for order, counts in per_order.items()}


def dense_ops(layer: nn.Module, x: Tensor, timesteps: int) -> int:
    """Return the paper's dense operations: a conv's bias counts per output, a linear layer's once per timestep."""
    outputs = outputs_of(layer, x)
    operations = outputs * layer.weight[0].numel()
    if layer.bias is None:
        return operations
    if isinstance(layer, nn.Linear):
        return operations + layer.out_features * (timesteps if x.ndim > 2 else 1)
    return operations + outputs


def paper_estimate(model: SpikingTransformer, kept: Recording, *, integers_as_events: bool = False) -> dict:
    """Return the paper's estimate: per layer and in total, GAC, GMAC and mJ.

    Parameters
    ----------
    model, kept
        The model and the recording of one sample.
    integers_as_events
        Charge a small integer as that many accumulates instead of a dense multiply-accumulate.
    """
    config = model.config
    per_layer: dict[str, dict] = {}
    for name, x in kept.inputs.items():
        layer = model.get_submodule(name)
        operations = dense_ops(layer, x, config.timesteps)
        spikes = bool(((x == 0) | (x == 1)).all())
        graded = integers_as_events and name.startswith("block") and bool((x == x.round()).all())
        rate = x.double().mean().item() if spikes or graded else 1.0
        per_layer[name] = {
            "kind": type(layer).__name__,
            "dense_ops": float(operations),
            "acs": operations * rate if spikes or graded else 0.0,
            "macs": 0.0 if spikes or graded else float(operations),
            "firing_rate_percent": 100.0 * rate,
        }
    for name, qkv in kept.attention.items():
        fr_q, fr_k, fr_v = (value.double().mean().item() for value in qkv)
        timesteps, _, heads, tokens, dh = qkv[0].shape
        operations = timesteps * heads * tokens * dh * dh
        per_layer[name] = {
            "kind": "SelfAttention",
            "dense_ops": float(2 * operations),
            "acs": operations * (min(fr_k, fr_v) + fr_q),
            "macs": 0.0,
            "firing_rate_percent": None,
        }
    gacs = sum(layer["acs"] for layer in per_layer.values()) / 1e9
    gmacs = sum(layer["macs"] for layer in per_layer.values()) / 1e9
    return {
        "per_layer": per_layer,
        "gmacs": gmacs,
        "gacs": gacs,
        "energy_mJ": E_MAC_PJ * gmacs + E_AC_PJ * gacs,
        "params": sum(parameter.numel() for parameter in model.parameters()),
    }
