"""A network run densely, in NumPy alone: what evsim's layers, kernels and counters are held against.

Nothing of evsim is imported. A network is data here: nodes have a type's name, fields and inputs. A new primitive is a
function in `FORWARD`, and one in `COUNTS` or `OTHER` of `dense_counts.py`.
"""

from __future__ import annotations

import math
from types import SimpleNamespace

import naive
import numpy as np


def run(network, source, timesteps, dtype=np.float64):
    """Return what every node emits, and how near neurons came to where they would have emitted something else.

    Parameters
    ----------
    network
        With `nodes` and `weights`.
    source
        Image [C, H, W] or frames [T, C, H, W].
    timesteps
        T.
    dtype
        Of all values but spikes and integers.

    Returns
    -------
    maps
        Name to [T, H, W, C], or [1, H, W, C] of what is emitted once, after the last timestep. Of integer neurons, and
        what keeps their integers, the number of spikes that a value stands for.
    margins
        Name of neurons to the least distance of a potential to the threshold, or to where rounding turns.
    """
    maps, margins, units = {}, {}, {}
    places = {node.name: place for place, node in enumerate(network.nodes)}
    closes = any(places[name] > places[node.name] for node in network.nodes for name in node.inputs)
    for _ in range(timesteps + 1 if closes else 1):  # each time, one timestep more is right
        _once(network, source, timesteps, dtype, maps, margins, units)
    return maps, margins


def _once(network, source, timesteps, dtype, maps, margins, units):
    """Run every node once for all timesteps, on what came of those before it, and in the last pass of those behind."""
    for node in network.nodes:
        kind = type(node).__name__
        if kind == "Input":
            frames = source if source.ndim == 4 else np.repeat(source[np.newaxis], timesteps, axis=0)
            maps[node.name] = np.moveaxis(frames, 1, -1).astype(np.int64 if node.kind == "integers" else dtype)
            units[node.name] = 1.0
            continue
        own = {key: network.weights[f"{node.name}.{key}"].astype(dtype) for key in node.parameters()}
        of_sources = [units.get(name, 1.0) for name in node.inputs]
        context = SimpleNamespace(weights=own, dtype=dtype, margins=margins, units=of_sources)
        if not maps.keys() >= set(node.inputs):  # nothing came round the cycle yet
            shape = network.shapes[node.name]
            of_kind = {"spikes": bool, "integers": np.int64, "real": dtype}[shape.kind]
            maps[node.inputs[0]] = np.zeros((timesteps, shape.height, shape.width, shape.channels), of_kind)
        maps[node.name] = FORWARD[kind](node, context, *(maps[name] for name in node.inputs))
        units[node.name] = {"MultiSpike": 1.0 / getattr(node, "norm", 1.0), "Neuron": 1.0}.get(kind, of_sources[0])
        units[node.name] = units[node.name] if maps[node.name].dtype.kind == "i" else 1.0


def _real(context, x, port=0):
    """Return what a source's values stand for."""
    unit = context.units[port]
    return x.astype(context.dtype) if unit == 1.0 else x.astype(context.dtype) * context.dtype(unit)


def _affine(sums, own):
    sums = sums + own.get("bias", sums.dtype.type(0))
    return sums * own["bn_scale"] + own["bn_shift"] if "bn_scale" in own else sums


def _conv(node, context, x):
    x, weight = _real(context, x), context.weights["weight"]
    seen = x[:1] if node.repeated else x
    inputs, outputs = np.split(seen, node.groups, axis=3), np.split(weight, node.groups, axis=3)
    pairs = zip(inputs, outputs, strict=True)
    sums = np.concatenate(
        [naive.conv(*pair, node.stride, node.padding, node.dilation, node.padding_after) for pair in pairs], axis=3
    )
    return np.repeat(_affine(sums, context.weights), len(x) // len(seen), axis=0)


def _linear(node, context, x):  # noqa: ARG001 - all take the same
    return _affine(_real(context, x) @ context.weights["weight"], context.weights)


def _lif(node, context, x):
    dtype, own = context.dtype, context.weights
    threshold = own["v_threshold"] if node.channels else dtype(node.v_threshold)
    rate = 1.0 / (1.0 + math.exp(-float(own["w"][0]))) if node.parametric else None
    keep = dtype(node.decay if rate is None else 1.0 - rate)
    v = np.zeros(x.shape[1:], dtype)
    spikes, least = [], np.inf
    for current in _real(context, x):
        if not node.decay_input:
            v = v * keep + current
        elif node.parametric:
            v = v + (current - v) * dtype(rate)
        else:
            v = v + (current - v) / dtype(node.tau)
        least = min(least, float(np.abs(v - threshold).min()))
        fired = v > threshold if node.strict else v >= threshold
        v = np.where(fired, v - threshold if node.soft_reset else dtype(0), v)
        spikes.append(fired)
    context.margins[node.name] = least
    return np.stack(spikes)


def _multi_spike(node, context, x):
    v = np.zeros(x.shape[1:], context.dtype)
    turns = np.arange(node.levels) + 0.5
    emitted, least = [], np.inf
    for current in _real(context, x):
        v = v + current if node.integrates else current
        clamped = np.minimum(np.maximum(v, 0), node.levels)
        least = min([least, *(float(np.abs(v - turn).min()) for turn in turns)])
        whole = np.floor(clamped)
        rest = clamped - whole
        up = (rest == 0.5) & ((node.rounding == "half-up") | (whole % 2 == 1))
        k = whole + ((rest > 0.5) | up)
        v = v - k
        emitted.append(k.astype(np.int64))
    context.margins[node.name] = least
    return np.stack(emitted)


def _constants(node, context, *names):
    """Return constants of a node: one number, or one by channel or by position and channel."""
    return {name: context.weights.get(name, context.dtype(getattr(node, name))) for name in names}


def _neuron(node, context, x):
    names = ("syn", "gain", "leak", "v_leak", "v_start", "v_threshold", "v_reset", "v_floor")
    constants = _constants(node, context, *names)
    spikes, potentials, compared = naive.membrane(_real(context, x), node, constants)
    threshold = constants["v_threshold"]
    near = np.abs(compared - threshold)
    if node.levels:
        near = np.abs(compared - threshold * np.clip(np.rint(compared / threshold), 1, node.levels))
    context.margins[node.name] = float(near.min()) if node.emits == "spikes" or node.reset != "none" else np.inf
    return potentials if node.emits == "potential" else spikes.astype(np.int64 if node.levels else bool)


def _scale(node, context, x):
    own = _constants(node, context, "scale", "shift")
    return _real(context, x) * own["scale"] + own["shift"]


def _concatenate(node, context, left, right):  # noqa: ARG001
    if left.dtype.kind in "bi" and right.dtype.kind in "bi" and len(set(context.units)) == 1:
        return np.concatenate([left, right], axis=3)
    return np.concatenate([_real(context, left), _real(context, right, 1)], axis=3)


def _delay(node, context, x):  # noqa: ARG001
    steps = min(node.steps, len(x))
    return np.concatenate([np.zeros_like(x[:steps]), x[: len(x) - steps]])


def _time_reduction(node, context, x):
    values = _real(context, x)
    if node.reduction == "sum":
        return values.sum(axis=0, keepdims=True)
    return values.max(axis=0, keepdims=True) if node.reduction == "max" else values[-1:]


def _max_pool(node, context, x):  # noqa: ARG001
    if not node.heads:
        return naive.max_pool(x, node.kernel, node.stride, node.padding, node.columns)
    steps, height, width, channels = x.shape
    planes = [part.reshape(steps, height * width, -1, 1) for part in np.split(x, node.heads, axis=3)]
    pooled = [naive.max_pool(plane, node.kernel, node.stride, node.padding) for plane in planes]
    return np.concatenate(pooled, axis=2).reshape(steps, height, width, channels)


def _sum_pool(node, context, x):  # noqa: ARG001
    values = x.astype(np.int64) if x.dtype == bool else x
    return naive.window_sums(values, node.kernel, node.stride, node.padding, node.columns)


def _average_pool(node, context, x):
    sums = naive.window_sums(_real(context, x), node.kernel, node.stride, node.padding, node.columns)
    return sums / context.dtype(node.kernel * (node.columns or (node.kernel,))[0])


def spans(inner, outer):
    """Return begin and end of the windows of adaptive pooling along an axis."""
    return [(math.floor(i * inner / outer), math.ceil((i + 1) * inner / outer)) for i in range(outer)]


def copies(node, x):
    """Return whether each window of an adaptive pool holds one position."""
    sides = zip(x.shape[1:3], (node.height, node.width), strict=True)
    return all(end - begin == 1 for side in sides for begin, end in spans(*side))


def _adaptive_pool(node, context, x):
    values = x if copies(node, x) else _real(context, x)
    rows, columns = spans(x.shape[1], node.height), spans(x.shape[2], node.width)
    out = np.empty((len(x), node.height, node.width, x.shape[3]), values.dtype)
    for i, (top, bottom) in enumerate(rows):
        for j, (left, right) in enumerate(columns):
            window = values[:, top:bottom, left:right]
            if copies(node, x):
                out[:, i, j] = window[:, 0, 0]
            else:
                out[:, i, j] = window.sum(axis=(1, 2)) / context.dtype((bottom - top) * (right - left))
    return out


def _pad(node, context, x):
    steps, height, width, channels = x.shape
    pad = node.padding
    out = np.empty((steps, height + 2 * pad, width + 2 * pad, channels), context.dtype)
    out[:] = context.weights["border"]
    out[:, pad:-pad, pad:-pad] = _real(context, x)
    return out


def _flatten(node, context, x):  # noqa: ARG001
    return x.transpose(0, 3, 1, 2).reshape(len(x), 1, 1, -1)


def _vote(node, context, x):
    groups = _real(context, x).reshape(*x.shape[:3], -1, node.voters)
    return groups.sum(axis=4) / context.dtype(node.voters)


def _add(node, context, left, right):  # noqa: ARG001
    if left.dtype.kind in "bi" and right.dtype.kind in "bi" and len(set(context.units)) == 1:
        return left.astype(np.int64) + right.astype(np.int64)
    return _real(context, left) + _real(context, right, 1)


def _mask(node, context, x, mask):  # noqa: ARG001
    out = np.zeros_like(x)
    size = 1 if mask.shape[1:3] == (1, 1) and mask.shape[3] == x.shape[3] else x.shape[3] // mask.shape[3]
    for c in range(x.shape[3]):
        out[..., c] = x[..., c] & mask[..., c // size]
    return out


def _head_sum(node, context, x):  # noqa: ARG001
    return np.stack([part.sum(axis=3) for part in np.split(x, node.heads, axis=3)], axis=3)


def heads_of(x, heads):
    """Return maps [T, H, W, C] as [T, heads, N, C / heads]."""
    return x.reshape(len(x), -1, heads, x.shape[3] // heads).transpose(0, 2, 1, 3)


def _attention(node, context, *qkv):
    q, k, v = (heads_of(x.astype(np.int64), node.heads) for x in qkv)
    sums = q @ (k.swapaxes(2, 3) @ v)  # whole numbers
    scale = node.scale * math.prod(context.units)
    return sums.transpose(0, 2, 1, 3).reshape(qkv[2].shape).astype(context.dtype) * context.dtype(scale)


def _head_product(node, context, spikes, reals):
    named = heads_of(spikes, node.heads)
    steps = len(named)
    part = reals.reshape(len(reals), -1, node.heads, node.parts, reals.shape[3] // (node.heads * node.parts))
    matrix = _real(context, part[:, :, :, node.part], 1).transpose(0, 2, 3, 1)  # [T, heads, K, M]
    rows = matrix if node.rows == "channels" else matrix.swapaxes(2, 3)
    out = (named.astype(context.dtype) @ rows) * context.weights["scale"][:, np.newaxis, np.newaxis]
    return out.transpose(0, 2, 1, 3).reshape(steps, *spikes.shape[1:3], -1)


def _token_mean(node, context, x):  # noqa: ARG001
    sums = _real(context, x).sum(axis=(1, 2), keepdims=True)
    return sums / context.dtype(x.shape[1] * x.shape[2])


def _time_mean(node, context, x):  # noqa: ARG001
    return _real(context, x).sum(axis=0, keepdims=True) / context.dtype(len(x))


FORWARD = {
    "Conv2d": _conv,
    "Linear": _linear,
    "LIF": _lif,
    "MultiSpike": _multi_spike,
    "Neuron": _neuron,
    "Scale": _scale,
    "Concatenate": _concatenate,
    "Slice": lambda node, context, x: x[..., node.start : node.stop],  # noqa: ARG005
    "Delay": _delay,
    "TimeReduction": _time_reduction,
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "SumPool": _sum_pool,
    "AdaptiveAveragePool": _adaptive_pool,
    "Pad": _pad,
    "Flatten": _flatten,
    "Vote": _vote,
    "Add": _add,
    "And": lambda node, context, left, right: left & right,  # noqa: ARG005
    "IAnd": lambda node, context, left, right: left & ~right,  # noqa: ARG005
    "Mask": _mask,
    "HeadSum": _head_sum,
    "TokenSum": lambda node, context, x: x.sum(axis=(1, 2), keepdims=True),  # noqa: ARG005
    "SpikingSelfAttention": _attention,
    "HeadProduct": _head_product,
    "TokenMean": _token_mean,
    "TimeMean": _time_mean,
}
"""What each primitive emits: node, its weights and precision, and the maps of its sources."""
