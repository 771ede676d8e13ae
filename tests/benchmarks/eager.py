"""The dense PyTorch form of any network: what evsim is timed against where no other reference is at hand.

One function per primitive, in the best eager form known here: BatchNorm folded, maps channels last, all timesteps in
the batch, 1x1 convolutions as matrix products, those of one input as one product, attention in the cheaper order, and
what is the same at every timestep computed once. Neurons go through the timesteps one by one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from graphs import bundles, cheaper_by_channels, folded, is_matrix, neurons_behind
from torch import Tensor
from torch.nn import functional

from evsim.network import LIF, Conv2d, Linear, Network, Node
from evsim.primitives import MultiSpike


class Eager:
    """A network as dense tensors [T or 1, H, W, C]; a call returns the logits.

    Parameters
    ----------
    network
        What to compute.
    dtype
        Of weights and all values.
    now
        Tells the time, for `clock`.

    Attributes
    ----------
    seen
        If set to a dict, receives what each layer of neurons emits, [T, H * W, C].
    clock
        If set to a dict, receives the seconds that each node took.
    """

    def __init__(
        self, network: Network, dtype: torch.dtype = torch.float32, now: Callable[[], float] = time.perf_counter
    ) -> None:
        self.network, self.dtype, self.now = network, dtype, now
        self.timesteps = network.spec.timesteps
        self.seen: dict[str, Tensor] | None = None
        self.clock: dict[str, float] | None = None
        self.bundles = bundles(network)
        self.members = {name for bundle in self.bundles.values() for name in bundle}
        self.weights = {name: self._affine([network.node(name) for name in bundle])
                        for name, bundle in self.bundles.items()}  # fmt: skip
        for node in network.nodes:
            if isinstance(node, Conv2d | Linear) and node.name not in self.members:
                self.weights[node.name] = self._affine([node])
        self.own = {
            node.name: {key: self._tensor(network.weights[f"{node.name}.{key}"]) for key in node.parameters()}
            for node in network.nodes
            if not isinstance(node, Conv2d | Linear)
        }
        self.ends = _last_uses(network)

    def _tensor(self, array: Any) -> Tensor:
        return torch.from_numpy(np.asarray(array, np.float64)).to(self.dtype)

    def _affine(self, nodes: list[Any]) -> tuple[Tensor, Tensor]:
        """Return weight and bias, BatchNorm and the input's unit folded in float64: [C_out, C_in], or as conv2d has."""
        weight, bias = folded(self.network, nodes)
        if is_matrix(nodes[0]):
            weight = weight[:, :, 0, 0]
        whole = self._tensor(weight).contiguous()
        if whole.ndim == 4:
            whole = whole.contiguous(memory_format=torch.channels_last)
        return whole, self._tensor(bias)

    def __call__(self, x: Tensor) -> Tensor:
        """Return the logits [classes] of an image [C, H, W] or of frames [T, C, H, W]."""
        network = self.network
        x = x.to(self.dtype)
        maps: dict[str, Tensor] = {network.input.name: (x[None] if x.ndim == 3 else x).permute(0, 2, 3, 1).contiguous()}
        last = maps[network.input.name]
        for rank, node in enumerate(network.nodes):
            if node is not network.input and node.name not in maps:
                begin = self.now()
                last = self._compute(node, maps)
                if self.clock is not None:
                    self.clock[node.name] = self.now() - begin
            for name in self.ends[rank]:
                maps.pop(name, None)
        return last.flatten()

    def _compute(self, node: Node, maps: dict[str, Tensor]) -> Tensor:
        if node.name in self.bundles:
            return self._bundle(node, maps)
        sources = [maps[name] for name in node.inputs]
        maps[node.name] = FORWARD[type(node).__name__](self, node, *sources)
        self._see(node.name, maps[node.name])
        return maps[node.name]

    def _bundle(self, first: Node, maps: dict[str, Tensor]) -> Tensor:
        """Compute layers that read one input as one product, and their neurons, where all are alike, at once."""
        names = self.bundles[first.name]
        nodes = [self.network.node(name) for name in names]
        out = functional.linear(maps[first.inputs[0]], *self.weights[first.name])
        lifs = neurons_behind(self.network, names)
        if lifs:
            out, names = self.neurons(lifs[0], out), tuple(lif.name for lif in lifs)
        for name, part in zip(names, out.split([node.out_channels for node in nodes], -1), strict=True):
            maps[name] = part
            self._see(name, part)
        if lifs:
            maps.update(dict.fromkeys(self.bundles[first.name], out))
        return out

    def _see(self, name: str, emitted: Tensor) -> None:
        if self.seen is not None and isinstance(self.network.node(name), LIF | MultiSpike):
            self.seen[name] = emitted.flatten(1, 2)

    def over_time(self, x: Tensor) -> Tensor:
        """Return what stands for all timesteps as that many."""
        return x.expand(self.timesteps, *x.shape[1:]) if len(x) < self.timesteps else x

    def real(self, node: Node, x: Tensor, port: int = 0) -> Tensor:
        """Return integers as what they stand for."""
        unit = self.network.shapes[node.inputs[port]].unit
        return x if unit == 1.0 else x * unit

    def neurons(self, node: LIF, x: Tensor) -> Tensor:
        """Return the spikes of currents [T or 1, ...] as 0 and 1."""
        own = self.own[node.name]
        x = self.over_time(self.real(node, x))
        threshold = own["v_threshold"] if node.channels else node.v_threshold
        rate = 1.0 / (1.0 + math.exp(-float(own["w"][0]))) if node.parametric else 0.0
        spikes = torch.empty(x.shape, dtype=self.dtype)
        v = _first(node, x[0], rate)
        for t in range(self.timesteps):
            if t:
                _charge(node, v, x[t], rate)
            torch.gt(v, threshold, out=spikes[t]) if node.strict else torch.ge(v, threshold, out=spikes[t])
            if t < self.timesteps - 1:
                v.sub_(spikes[t] * threshold) if node.soft_reset else v.mul_(1.0 - spikes[t])
        return spikes


def _first(node: LIF, x: Tensor, rate: float) -> Tensor:
    """Return the potentials of the first timestep, which begin at rest, in memory of their own."""
    if not node.decay_input:
        return x.clone()
    return x * rate if node.parametric else x / node.tau


def _charge(node: LIF, v: Tensor, x: Tensor, rate: float) -> None:
    """Charge potentials in place: nothing of the size of a map is allocated."""
    if not node.decay_input:
        keep = 1.0 - rate if node.parametric else node.decay
        (v if keep == 1.0 else v.mul_(keep)).add_(x)
    elif node.parametric or node.tau == 2.0:
        v.lerp_(x, rate if node.parametric else 0.5)
    else:
        v.add_((x - v).div_(node.tau))


def _last_uses(network: Network) -> list[list[str]]:
    """Return, for each node, the maps that nobody reads after it."""
    ranks = {node.name: rank for rank, node in enumerate(network.nodes)}
    ends: list[list[str]] = [[] for _ in network.nodes]
    for name, readers in network.consumers().items():
        ends[max((ranks[reader] for reader in readers), default=len(ranks) - 1)].append(name)
    return ends


def _conv(eager: Eager, node: Conv2d, x: Tensor) -> Tensor:
    weight, bias = eager.weights[node.name]
    if is_matrix(node):
        return functional.linear(x, weight, bias)
    planes = functional.conv2d(x.permute(0, 3, 1, 2), weight, bias, node.stride, node.padding, 1, node.groups)
    return planes.permute(0, 2, 3, 1)


def _multi_spike(eager: Eager, node: MultiSpike, x: Tensor) -> Tensor:
    x = eager.real(node, x)
    if not node.integrates:
        return eager.over_time(_rounded(node, x))
    x, v, emitted = eager.over_time(x), 0.0, []
    for t in range(eager.timesteps):
        v = v + x[t]
        emitted.append(_rounded(node, v))
        v = v - emitted[-1]
    return torch.stack(emitted)


def _rounded(node: MultiSpike, x: Tensor) -> Tensor:
    clamped = x.clamp(0, node.levels)
    return clamped.round_() if node.rounding == "half-even" else clamped.add_(0.5).floor_()


def _planes(x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """Apply a function of [T, C, H, W], channels last in memory, to [T, H, W, C]."""
    return function(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def _max_pool(eager: Eager, node: Any, x: Tensor) -> Tensor:  # noqa: ARG001 - all take the same
    window = node.kernel, node.stride, node.padding
    if not node.heads:
        return _planes(x, lambda planes: functional.max_pool2d(planes, *window))
    tokens = x.flatten(1, 2).unflatten(-1, (node.heads, -1)).transpose(1, 2)
    return functional.max_pool2d(tokens, *window).transpose(1, 2).reshape(x.shape)


def _average_pool(eager: Eager, node: Any, x: Tensor) -> Tensor:
    x = eager.real(node, x)
    return _planes(x, lambda planes: functional.avg_pool2d(planes, node.kernel, node.stride, node.padding))


def _sum_pool(eager: Eager, node: Any, x: Tensor) -> Tensor:  # noqa: ARG001
    window = node.kernel, node.stride, node.padding
    return _planes(x, lambda planes: functional.avg_pool2d(planes, *window, divisor_override=1))


def _adaptive_pool(eager: Eager, node: Any, x: Tensor) -> Tensor:
    x = x if eager.network.shapes[node.name].kind != "real" else eager.real(node, x)
    return _planes(x, lambda planes: functional.adaptive_avg_pool2d(planes, (node.height, node.width)))


def _pad(eager: Eager, node: Any, x: Tensor) -> Tensor:
    steps, height, width, channels = x.shape
    pad = node.padding
    out = eager.own[node.name]["border"].expand(steps, height + 2 * pad, width + 2 * pad, channels).clone()
    out[:, pad:-pad, pad:-pad] = eager.real(node, x)
    return out


def _heads(x: Tensor, heads: int) -> Tensor:
    """Return maps [T, H, W, C] as [T, heads, N, C / heads]."""
    return x.flatten(1, 2).unflatten(-1, (heads, -1)).transpose(1, 2)


def _attention(eager: Eager, node: Any, *qkv: Tensor) -> Tensor:
    q, k, v = (_heads(x, node.heads) for x in qkv)
    tokens, size = q.shape[-2:]
    width = v.shape[-1]
    sums = q @ (k.transpose(-1, -2) @ v) if cheaper_by_channels(tokens, size, width) else (q @ k.transpose(-1, -2)) @ v
    scale = node.scale * math.prod(eager.network.shapes[name].unit for name in node.inputs)
    return (sums * scale).transpose(1, 2).reshape(qkv[2].shape)


def _head_product(eager: Eager, node: Any, spikes: Tensor, reals: Tensor) -> Tensor:
    named = _heads(spikes, node.heads)
    whole = eager.real(node, reals, 1).flatten(1, 2).unflatten(-1, (node.heads, node.parts, -1))
    matrix = whole[:, :, :, node.part].permute(0, 2, 3, 1)
    rows = matrix if node.rows == "channels" else matrix.transpose(-1, -2)
    out = (named @ rows) * eager.own[node.name]["scale"][:, None, None]
    return out.transpose(1, 2).reshape(*spikes.shape[:3], -1)


def _mask(eager: Eager, node: Any, x: Tensor, mask: Tensor) -> Tensor:  # noqa: ARG001
    if mask.shape[-1] == x.shape[-1]:
        return x * mask
    return (x.unflatten(-1, (mask.shape[-1], -1)) * mask.unsqueeze(-1)).flatten(-2)


def _add(eager: Eager, node: Any, left: Tensor, right: Tensor) -> Tensor:
    shapes = [eager.network.shapes[name] for name in node.inputs]
    if eager.network.shapes[node.name].kind == "real" and any(shape.unit != 1.0 for shape in shapes):
        return eager.real(node, left) + eager.real(node, right, 1)
    return left + right


def _flatten(eager: Eager, node: Any, x: Tensor) -> Tensor:  # noqa: ARG001
    return x.permute(0, 3, 1, 2).reshape(len(x), 1, 1, -1)


FORWARD: Mapping[str, Callable[..., Tensor]] = {
    "Conv2d": _conv,
    "Linear": lambda eager, node, x: functional.linear(x, *eager.weights[node.name]),
    "LIF": lambda eager, node, x: eager.neurons(node, x),
    "MultiSpike": _multi_spike,
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "SumPool": _sum_pool,
    "AdaptiveAveragePool": _adaptive_pool,
    "Pad": _pad,
    "Flatten": _flatten,
    "Vote": lambda eager, node, x: eager.real(node, x).unflatten(-1, (-1, node.voters)).mean(-1),
    "Add": _add,
    "And": lambda eager, node, left, right: left * right,  # noqa: ARG005
    "IAnd": lambda eager, node, left, right: left * (1.0 - right),  # noqa: ARG005
    "Mask": _mask,
    "HeadSum": lambda eager, node, x: x.unflatten(-1, (node.heads, -1)).sum(-1),  # noqa: ARG005
    "TokenSum": lambda eager, node, x: x.sum((1, 2), keepdim=True),  # noqa: ARG005
    "SpikingSelfAttention": _attention,
    "HeadProduct": _head_product,
    "TokenMean": lambda eager, node, x: eager.real(node, x).mean((1, 2), keepdim=True),
    "TimeMean": lambda eager, node, x: eager.over_time(eager.real(node, x)).mean(0, keepdim=True),
}
"""What each primitive computes."""
