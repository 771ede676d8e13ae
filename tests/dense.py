"""A network run densely, in NumPy alone: what evsim's layers, kernels and counters are held against.

Nothing of evsim is imported. A network is data here: nodes have a type's name, fields and inputs. A new primitive is a
function in `FORWARD`, and one in `COUNTS` or `OTHER`.
"""

from __future__ import annotations

from types import SimpleNamespace

import naive
import numpy as np


def run(network, source, timesteps, dtype=np.float64):
    """Return what every node emits, and how near each LIF came to its threshold.

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
        Name to [T, H, W, C], or [1, H, W, C] of what is emitted once, after the last timestep.
    margins
        Name of a LIF to the least distance of a potential to the threshold.
    """
    maps, margins = {}, {}
    for node in network.nodes:
        kind = type(node).__name__
        if kind == "Input":
            frames = source if source.ndim == 4 else np.repeat(source[np.newaxis], timesteps, axis=0)
            maps[node.name] = np.moveaxis(frames, 1, -1).astype(np.int64 if node.kind == "integers" else dtype)
            continue
        own = {key: network.weights[f"{node.name}.{key}"].astype(dtype) for key in node.parameters()}
        context = SimpleNamespace(weights=own, dtype=dtype, margins=margins)
        maps[node.name] = FORWARD[kind](node, context, *(maps[name] for name in node.inputs))
    return maps, margins


def _real(x, dtype):
    return x.astype(dtype)


def _affine(sums, own):
    sums = sums + own.get("bias", sums.dtype.type(0))
    return sums * own["bn_scale"] + own["bn_shift"] if "bn_scale" in own else sums


def _conv(node, context, x):
    sums = naive.conv(_real(x, context.dtype), context.weights["weight"], node.stride, node.padding)
    return _affine(sums, context.weights)


def _linear(node, context, x):  # noqa: ARG001 - all take the same
    return _affine(_real(x, context.dtype) @ context.weights["weight"], context.weights)


def _lif(node, context, x):
    tau, threshold = context.dtype(node.tau), context.dtype(node.v_threshold)
    v = np.zeros(x.shape[1:], context.dtype)
    spikes, least = [], np.inf
    for current in _real(x, context.dtype):
        v = v + (current - v) / tau
        least = min(least, float(np.abs(v - threshold).min()))
        fired = v >= threshold
        v = np.where(fired, context.dtype(0), v)
        spikes.append(fired)
    context.margins[node.name] = least
    return np.stack(spikes)


def _max_pool(node, context, x):  # noqa: ARG001
    return naive.max_pool(x, node.kernel, node.stride, node.padding)


def _add(node, context, left, right):  # noqa: ARG001
    if left.dtype.kind in "bi" and right.dtype.kind in "bi":
        return left.astype(np.int64) + right.astype(np.int64)
    return _real(left, context.dtype) + _real(right, context.dtype)


def _attention(node, context, *qkv):
    steps, height, width, channels = qkv[0].shape
    q, k, v = (x.reshape(steps, height * width, channels) for x in qkv)
    sums = naive.attention(q, k, v, node.heads, 1.0)  # whole numbers
    return sums.astype(context.dtype).reshape(qkv[0].shape) * context.dtype(node.scale)


def _token_mean(node, context, x):  # noqa: ARG001
    sums = _real(x, context.dtype).sum(axis=(1, 2), keepdims=True)
    return sums / context.dtype(x.shape[1] * x.shape[2])


def _time_mean(node, context, x):  # noqa: ARG001
    return _real(x, context.dtype).sum(axis=0, keepdims=True) / context.dtype(len(x))


FORWARD = {
    "Conv2d": _conv,
    "Linear": _linear,
    "LIF": _lif,
    "MaxPool": _max_pool,
    "Add": _add,
    "SpikingSelfAttention": _attention,
    "TokenMean": _token_mean,
    "TimeMean": _time_mean,
}
"""What each primitive emits: node, its weights and precision, and the maps of its sources."""


def counts(network, maps, timesteps):
    """Return, by brute force, what evsim counts: rows by name, each field by name; and what has no row.

    A field is an array over timesteps; what happens once happens at the last.
    """
    rows, other = {}, dict.fromkeys(("residual_adds", "pool_comparisons", "mean_adds"), np.zeros(timesteps, np.int64))
    for node in network.nodes:
        kind = type(node).__name__
        inputs = [maps[name] for name in node.inputs]
        if kind in COUNTS:
            fields = COUNTS[kind](node, maps[node.name], *inputs)
            rows[node.name] = {name: _placed(values, timesteps) for name, values in fields.items()}
        elif kind in OTHER:
            key, amounts = OTHER[kind](node, maps[node.name], *inputs)
            other[key] = other[key] + _placed(np.asarray(amounts, np.int64), timesteps)
    return rows, other


def _placed(values, timesteps):
    """Return values per timestep, those of the last alone behind zeros; other values as they are."""
    if not isinstance(values, np.ndarray) or len(values) == timesteps:
        return values
    return np.concatenate([np.zeros((timesteps - 1, *values.shape[1:]), np.int64), values])


def _each(x):
    """Sum each timestep's values."""
    return x.reshape(len(x), -1).sum(axis=1).astype(np.int64)


def _full(x, amount):
    return np.full(len(x), amount, np.int64)


def _synapses(node, out, x):
    kernel, stride, padding = getattr(node, "kernel", (1, 1)), getattr(node, "stride", (1, 1)), (0, 0)
    padding = getattr(node, "padding", padding)
    ones = np.ones((*kernel, 1, 1))
    whole = x if x.dtype.kind in "bi" else np.zeros_like(x)
    reach = lambda values: (  # noqa: E731 - (input, output position) pairs, each as often as its value, times outputs
        _each(naive.conv(values.sum(axis=-1, keepdims=True).astype(float), ones, stride, padding)) * node.out_channels
    )
    nonzero, spikes = reach(x != 0), x.dtype == bool
    nothing = np.zeros(len(x), np.int64)
    binary = bool(((x == 0) | (x == 1)).all())
    fields = {
        "input_size": _full(x, x[0].size),
        "input_nonzeros": _each(x != 0),
        "input_sum": _each(whole),
        "sops": nonzero if spikes else nothing,
        "macs": nothing if spikes else nonzero,
        "bias_adds": _full(x, out[0].size * (node.bias or node.batch_norm)),
        "binary_samples": int(binary),
        "binary_nonzeros": int((x != 0).sum()) * binary,
    }
    return fields | ({"acs_unrolled": reach(x)} if x.dtype.kind == "i" else {})


def _attention_counts(node, out, *qkv):  # noqa: ARG001
    q, k, v = (x.reshape(len(x), -1, x.shape[-1]) for x in qkv)
    kv, qk = naive.attention_counts(q, k, v, node.heads)
    taken, left = (kv, qk) if node.order == "q(kv)" else (qk, kv)
    return {
        "input_size": _full(q, 3 * q[0].size),
        "sops_per_head": taken,
        "sops_other_order_per_head": left,
        "input_nonzeros": sum(_each(x) for x in qkv),
    }


def _lif_counts(node, out, x):  # noqa: ARG001
    return {"input_size": _full(x, x[0].size), "spikes": _each(out), "neuron_updates": _full(x, x[0].size)}


COUNTS = {
    "Conv2d": _synapses,
    "Linear": _synapses,
    "SpikingSelfAttention": _attention_counts,
    "LIF": _lif_counts,
}
"""What is counted in the row of a primitive: node, the map that it emits, and those of its sources."""


def _comparisons(node, out, x):
    inside = np.ones((1, *x.shape[1:3], 1))
    window = np.ones((node.kernel, node.kernel, 1, 1))
    taps = naive.conv(inside, window, (node.stride,) * 2, (node.padding,) * 2).sum()
    return "pool_comparisons", _full(out, (int(taps) - out[0, ..., 0].size) * x.shape[-1])


OTHER = {
    "MaxPool": _comparisons,
    "Add": lambda node, out, *sources: ("residual_adds", _full(out, out[0].size)),  # noqa: ARG005
    "TokenMean": lambda node, out, x: ("mean_adds", _full(out, x[0].size - x.shape[-1])),  # noqa: ARG005
    "TimeMean": lambda node, out, x: ("mean_adds", _full(x, x[0].size)),  # noqa: ARG005
}
"""What is counted without a row: its key, and how many per timestep."""
