"""An integer network run densely, in NumPy's int64 alone: what the quantizer and the engine are held against.

Nothing of evsim is imported; docs/quantization.md is what it computes. Every rounding is written out: `>>` and `//` are
floors, `fixed` rounds halves to even.
"""

from __future__ import annotations

import math

import dense
import naive
import numpy as np


def run(network, source, timesteps):
    """Return what every node emits: spikes and integers as they travel, real values in units of 2^-F.

    Parameters
    ----------
    network
        With `nodes`, `shapes`, `weights` (of neurons and constants) and `quantization`.
    source
        Image [C, H, W] or frames [T, C, H, W].
    timesteps
        T.

    Returns
    -------
    dict
        Name to [T, H, W, C], or [1, H, W, C] of what is emitted once, after the last timestep: bool or int64.
    """
    maps = {}
    places = {node.name: place for place, node in enumerate(network.nodes)}
    closes = any(places[name] > places[node.name] for node in network.nodes for name in node.inputs)
    for _ in range(timesteps + 1 if closes else 1):  # each time, one timestep more is right
        _once(network, source, timesteps, maps)
    return maps


def logits(network, maps):
    """Return the last map's values as they are read: exact in float64."""
    return np.ldexp(maps[network.nodes[-1].name].ravel().astype(np.float64), -network.quantization.fraction)


def fixed(values, fraction):
    """Return numbers in units of 2^-fraction, halves to even."""
    return np.rint(np.asarray(values, np.float64) * 2.0**fraction).astype(np.int64)


def _once(network, source, timesteps, maps):
    for node in network.nodes:
        kind = type(node).__name__
        if kind == "Input":
            frames = source if source.ndim == 4 else np.repeat(source[np.newaxis], timesteps, axis=0)
            frames = np.moveaxis(np.asarray(frames), 1, -1)
            real = node.kind == "real"
            image = fixed(frames, network.quantization.input_fraction) if real else frames.astype(np.int64)
            assert not real or np.abs(image).max(initial=0) < 2**15
            more = _f(network) - network.quantization.input_fraction
            maps[node.name] = image if not real else image << more if more > 0 else image >> -more
            continue
        if not maps.keys() >= set(node.inputs):  # nothing came round the cycle yet
            shape = network.shapes[node.name]
            of_kind = bool if shape.kind == "spikes" else np.int64
            maps[node.inputs[0]] = np.zeros((timesteps, shape.height, shape.width, shape.channels), of_kind)
        own = _Own(network, node, image)
        maps[node.name] = FORWARD[kind](node, own, *(maps[name] for name in node.inputs))


def _f(network):
    return network.quantization.fraction


class _Own:
    """A node's parameters and units."""

    def __init__(self, network, node, image):
        self.fraction, self.quantization = _f(network), network.quantization
        self.shapes = [network.shapes[name] for name in node.inputs]
        self.real = network.shapes[node.name].kind == "real"
        self.image = image if node.inputs[0] == network.nodes[0].name and self.shapes[0].kind == "real" else None
        self.weights = (
            {}
            if node.name in network.quantization.layers
            else {key: network.weights[f"{node.name}.{key}"].astype(np.float64) for key in node.parameters()}
        )

    def fixed(self, x, port=0):
        """Return a source's values in units of 2^-F."""
        if self.shapes[port].kind == "real":
            return x
        return x.astype(np.int64) * int(self.shapes[port].unit * 2**self.fraction)

    def times(self, x, scale):
        """Return a source's values times constants, in units of 2^-F."""
        exponent, unit = (0, 1.0) if self.shapes[0].kind == "real" else (self.fraction, self.shapes[0].unit)
        return scaled(x.astype(np.int64), np.asarray(scale, np.float64) * unit, exponent)


def scaled(x, scale, exponent):
    """Return whole numbers times constants; the constants are whole in 2^-exponent, or rounded to 15 bits more."""
    exact = np.asarray(scale, np.float64) * 2.0**exponent
    if (exact == np.rint(exact)).all():
        return x * exact.astype(np.int64)
    return (x * np.rint(exact * 2.0**15).astype(np.int64)) >> 15


def _synapses(node, own, x, product):
    """Return currents: exact sums of integers, times M; shifted where the input counts in fractions; and the offset."""
    layer = own.quantization.layers[node.name]
    shift = 0
    if own.image is not None:
        shift = own.quantization.input_fraction
        x = own.image
    elif own.shapes[0].kind == "real":
        shift = own.fraction
    sums = product(x.astype(np.int64), layer.weight.astype(np.int64))
    return ((sums * layer.multiplier.astype(np.int64)) >> shift) + layer.offset.astype(np.int64)


def _conv(node, own, x):
    def product(x, weight):
        seen = x[:1] if node.repeated else x
        pairs = zip(np.split(seen, node.groups, axis=3), np.split(weight, node.groups, axis=3), strict=True)
        sums = np.concatenate(
            [naive.conv(*pair, node.stride, node.padding, node.dilation, node.padding_after) for pair in pairs], axis=3
        )
        return np.repeat(sums, len(x) // len(seen), axis=0)

    return _synapses(node, own, x, product)


def _linear(node, own, x):
    return _synapses(node, own, x, lambda x, weight: x @ weight)


def _lif(node, own, x):
    threshold = np.maximum(fixed(own.weights["v_threshold"] if node.channels else node.v_threshold, own.fraction), 1)
    if node.parametric:
        rate = 1.0 / (1.0 + math.exp(-float(own.weights["w"][0])))
        leak = int(np.rint((rate if node.decay_input else 1.0 - rate) * 2.0**15))
    else:
        leak = math.ceil(2**15 / node.tau) if node.decay_input else int(np.rint(node.decay * 2.0**15))
    v = np.zeros(x.shape[1:], np.int64)
    spikes = []
    for current in own.fixed(x):
        v = v + (((current - v) * leak) >> 15) if node.decay_input else ((v * leak) >> 15) + current
        fired = v > threshold if node.strict else v >= threshold
        v = np.where(fired, v - threshold if node.soft_reset else 0, v)
        spikes.append(fired)
    return np.stack(spikes)


def _multi_spike(node, own, x):
    one = 2**own.fraction
    v = np.zeros(x.shape[1:], np.int64)
    emitted = []
    for current in own.fixed(x):
        v = v + current if node.integrates else current
        clamped = np.clip(v, 0, node.levels * one)
        k, rest = clamped // one, clamped % one
        up = (2 * rest == one) & ((node.rounding == "half-up") | (k % 2 == 1))
        k = k + ((2 * rest > one) | up)
        v = v - k * one
        emitted.append(k)
    return np.stack(emitted)


def _attention(node, own, *qkv):
    q, k, v = (dense.heads_of(x.astype(np.int64), node.heads) for x in qkv)
    sums = (q @ (k.swapaxes(2, 3) @ v)).transpose(0, 2, 1, 3).reshape(qkv[2].shape)
    return scaled(sums, node.scale * math.prod(shape.unit for shape in own.shapes), own.fraction)


def _head_product(node, own, spikes, reals):
    named = dense.heads_of(spikes, node.heads).astype(np.int64)
    part = reals.reshape(len(reals), -1, node.heads, node.parts, reals.shape[3] // (node.heads * node.parts))
    matrix = part[:, :, :, node.part].transpose(0, 2, 3, 1)  # [T, heads, K, M]
    rows = matrix if node.rows == "channels" else matrix.swapaxes(2, 3)
    out = scaled(named @ rows, own.weights["scale"][:, np.newaxis, np.newaxis], 0)
    return out.transpose(0, 2, 1, 3).reshape(len(named), *spikes.shape[1:3], -1)


def _scale(node, own, x):
    constants = {name: own.weights.get(name, getattr(node, name)) for name in ("scale", "shift")}
    return own.times(x, constants["scale"]) + fixed(constants["shift"], own.fraction)


def _add(node, own, left, right):  # noqa: ARG001
    if own.real:
        return own.fixed(left) + own.fixed(right, 1)
    return left.astype(np.int64) + right.astype(np.int64)


def _concatenate(node, own, left, right):  # noqa: ARG001
    parts = [own.fixed(left), own.fixed(right, 1)] if own.real else [left, right]
    return np.concatenate(parts, axis=3)


def _average_pool(node, own, x):
    sums = dense.FORWARD["SumPool"](node, None, own.fixed(x))
    return sums // (node.kernel * (node.columns or (node.kernel,))[0])


def _adaptive_pool(node, own, x):
    if dense.copies(node, x):
        return dense.FORWARD["AdaptiveAveragePool"](node, None, x)
    values = own.fixed(x)
    out = np.empty((len(x), node.height, node.width, x.shape[3]), np.int64)
    for i, (top, bottom) in enumerate(dense.spans(x.shape[1], node.height)):
        for j, (left, right) in enumerate(dense.spans(x.shape[2], node.width)):
            window = values[:, top:bottom, left:right]
            out[:, i, j] = window.sum(axis=(1, 2)) // ((bottom - top) * (right - left))
    return out


def _pad(node, own, x):
    steps, height, width, channels = x.shape
    pad = node.padding
    out = np.empty((steps, height + 2 * pad, width + 2 * pad, channels), np.int64)
    out[:] = fixed(own.weights["border"], own.fraction)
    out[:, pad:-pad, pad:-pad] = own.fixed(x)
    return out


def _vote(node, own, x):
    groups = own.fixed(x).reshape(*x.shape[:3], -1, node.voters)
    return groups.sum(axis=4) // node.voters


def _token_mean(node, own, x):  # noqa: ARG001
    return own.fixed(x).sum(axis=(1, 2), keepdims=True) // (x.shape[1] * x.shape[2])


def _time_mean(node, own, x):  # noqa: ARG001
    return own.fixed(x).sum(axis=0, keepdims=True) // len(x)


def _time_reduction(node, own, x):
    values = own.fixed(x)
    if node.reduction == "sum":
        return values.sum(axis=0, keepdims=True)
    return values.max(axis=0, keepdims=True) if node.reduction == "max" else values[-1:]


FORWARD = {
    "Conv2d": _conv,
    "Linear": _linear,
    "LIF": _lif,
    "MultiSpike": _multi_spike,
    "SpikingSelfAttention": _attention,
    "HeadProduct": _head_product,
    "Scale": _scale,
    "Add": _add,
    "Concatenate": _concatenate,
    "AveragePool": _average_pool,
    "AdaptiveAveragePool": _adaptive_pool,
    "Pad": _pad,
    "Vote": _vote,
    "TokenMean": _token_mean,
    "TimeMean": _time_mean,
    "TimeReduction": _time_reduction,
    **{
        name: dense.FORWARD[name]
        for name in (
            "Slice", "Delay", "MaxPool", "SumPool", "Flatten", "And", "IAnd", "Mask", "HeadSum", "TokenSum",
        )
    },
}  # fmt: skip
"""What each primitive emits; those taken over only move, compare or count, in whole numbers."""
