"""What evsim counts of a network, by brute force over the maps that a dense run gives (`dense.py`), in NumPy alone."""

from __future__ import annotations

import naive
import numpy as np
from dense import copies, heads_of, spans


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
            for name, watched in getattr(node, "operations", ()):
                fields["operations"][name] = _each(maps[watched])
            rows[node.name] = {name: _placed(values, timesteps) for name, values in fields.items()}
        elif kind in OTHER:
            for key, amounts in OTHER[kind](node, maps[node.name], *inputs).items():
                other[key] = other.get(key, 0) + _placed(np.asarray(amounts, np.int64), timesteps)
    return rows, other


def _placed(values, timesteps):
    """Return values per timestep, those of the last alone behind zeros; other values as they are."""
    if isinstance(values, dict):
        return {name: _placed(each, timesteps) for name, each in values.items()}
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
    padding, after = getattr(node, "padding", padding), getattr(node, "padding_after", ())
    ones, groups, apart = np.ones((*kernel, 1, 1)), getattr(node, "groups", 1), getattr(node, "dilation", (1, 1))
    if getattr(node, "repeated", False):  # it runs once, at the first timestep
        x = np.concatenate([x[:1], np.zeros_like(x[1:])])
    runs = np.arange(len(x)) < (1 if getattr(node, "repeated", False) else len(x))
    whole = x if x.dtype.kind in "bi" else np.zeros_like(x)
    reach = lambda values: (  # noqa: E731 - (input, output position) pairs, each as often as its value, times outputs
        _each(naive.conv(values.sum(axis=-1, keepdims=True).astype(float), ones, stride, padding, apart, after))
        * node.out_channels
        // groups
    )
    nonzero, spikes = reach(x != 0), x.dtype == bool
    nothing = np.zeros(len(x), np.int64)
    binary = bool(((x == 0) | (x == 1)).all())
    fields = {
        "input_size": _full(x, x[0].size) * runs,
        "input_nonzeros": _each(x != 0),
        "input_sum": _each(whole),
        "sops": nonzero if spikes else nothing,
        "macs": nothing if spikes else nonzero,
        "bias_adds": _full(x, out[0].size * (node.bias or node.batch_norm)) * runs,
        "binary_samples": int(binary),
        "binary_nonzeros": int((x != 0).sum()) * binary,
    }
    return fields | ({"acs_unrolled": reach(x)} if x.dtype.kind == "i" else {})


def _pairs(q, k, v):
    """Return what both products of each timestep and head add up: q (k v), (q k) v, and values [T, heads]."""
    on = [np.sign(x) for x in (q, k, v)]
    kv, qk = on[1].swapaxes(2, 3) @ on[2], on[0] @ on[1].swapaxes(2, 3)
    by_kv = kv.sum(axis=(2, 3)) + (on[0] @ np.sign(kv)).sum(axis=(2, 3))
    by_qk = qk.sum(axis=(2, 3)) + (np.sign(qk) @ on[2]).sum(axis=(2, 3))
    values = [x.sum(axis=(2, 3)) for x in (k.swapaxes(2, 3) @ v, q @ k.swapaxes(2, 3), q @ (k.swapaxes(2, 3) @ v))]
    return by_kv, by_qk, values


def _attention_counts(node, out, *qkv):
    graded = qkv[0].dtype != bool
    by_kv, by_qk, (kv, qk, both) = _pairs(*(heads_of(x.astype(np.int64), node.heads) for x in qkv))
    first = node.order == "q(kv)"
    fields = {
        "attention": "ssa",
        "input_size": _full(out, sum(x[0].size for x in qkv)),
        "sops_per_head": by_kv if first else by_qk,
        "sops_other_order_per_head": by_qk if first else by_kv,
        "input_nonzeros": sum(_each(x != 0) for x in qkv),
        "sops_unrolled_per_head": None,
        "operations": {},
    }
    if graded:
        fields["sops_unrolled_per_head"] = (kv if first else qk) + both
        sums = {"value_weighted_qk_pairs": qk.sum(axis=1), "value_weighted_qkv": both.sum(axis=1)}
        fields["operations"] = sums
    return fields


def _alone(attention, x, sops, operations):
    """Return the counts of attention that has no order of products."""
    return {
        "attention": attention,
        "input_size": _full(x, x[0].size),
        "sops_per_head": sops,
        "sops_other_order_per_head": None,
        "input_nonzeros": _each(x),
        "sops_unrolled_per_head": None,
        "operations": operations,
    }


def _sum_counts(attention):
    return lambda node, out, x: _alone(attention, x, heads_of(x, node.heads).sum(axis=(2, 3)), {})  # noqa: ARG005


def _head_product_counts(node, out, spikes, reals):
    length = reals.shape[1] * reals.shape[2]
    length = length if node.rows == "channels" else reals.shape[3] // (node.heads * node.parts)
    assert out.shape[3] == node.heads * length
    sops = heads_of(spikes, node.heads).sum(axis=(2, 3)) * length
    return _alone("dssa", spikes, sops, {"accumulates": sops})


def _lif_counts(node, out, x):
    kind = "if" if not node.decay_input and node.decay == 1.0 else "lif"
    return _neuron_counts("plif" if node.parametric else kind, out, x) | {"nonzeros": None}


def _any_neuron_counts(node, out, x):
    leaks = node.charge != "decay" or "leak" in node.by_channel + node.by_neuron or node.leak != 1.0
    silent = node.emits == "potential"
    kind = ("li" if leaks else "integrator") if silent else "lif" if leaks else "if"
    if node.synapse != "none":
        kind = "cuba-li" if silent else "cuba-lif"
    emitted = np.zeros_like(x, int) if node.emits == "potential" else out
    graded = node.levels and not silent
    return _neuron_counts(kind, emitted, x) | {"nonzeros": _each(emitted > 0) if graded else None}


def _multi_spike_counts(node, out, x):
    return _neuron_counts("i-if" if node.integrates else "i-lif", out, x) | {"nonzeros": _each(out > 0)}


def _neuron_counts(neuron, out, x):
    return {
        "neuron": neuron,
        "input_size": _full(x, x[0].size),
        "spikes": _each(out),
        "neuron_updates": _full(x, x[0].size),
    }


COUNTS = {
    "Conv2d": _synapses,
    "Linear": _synapses,
    "SpikingSelfAttention": _attention_counts,
    "HeadSum": _sum_counts("token-qk"),
    "TokenSum": _sum_counts("sdsa"),
    "HeadProduct": _head_product_counts,
    "LIF": _lif_counts,
    "MultiSpike": _multi_spike_counts,
    "Neuron": _any_neuron_counts,
}
"""What is counted in the row of a primitive: node, the map that it emits, and those of its sources."""


def _less_one(node, inner, outer):
    """Return the taps inside a map of all windows of a channel, less one for each window."""
    axes = zip((node.kernel, node.stride, node.padding), node.columns or (node.kernel, node.stride, node.padding),
               strict=True)  # fmt: skip
    kernel, stride, padding = axes
    taps = naive.conv(np.ones((1, *inner, 1)), np.ones((*kernel, 1, 1)), stride, padding).sum()
    return int(taps) - outer[0] * outer[1]


def _comparisons(node, out, x):
    if node.heads:
        plane = (x.shape[1] * x.shape[2], x.shape[3] // node.heads)
        return {"pool_comparisons": _full(out, _less_one(node, plane, plane) * node.heads)}
    return {"pool_comparisons": _full(out, _less_one(node, x.shape[1:3], out.shape[1:3]) * x.shape[3])}


def _pool_adds(node, out, x):
    return {"pool_adds": _full(out, _less_one(node, x.shape[1:3], out.shape[1:3]) * x.shape[3])}


def _adaptive_adds(node, out, x):
    if copies(node, x):
        return {}
    rows, columns = spans(x.shape[1], node.height), spans(x.shape[2], node.width)
    adds = sum((bottom - top) * (right - left) - 1 for top, bottom in rows for left, right in columns)
    return {"pool_adds": _full(out, adds * x.shape[3])}


def _scaled(node, out, x):  # noqa: ARG001
    arrays = node.by_channel + node.by_neuron
    scales, shifts = "scale" in arrays or node.scale != 1, "shift" in arrays or node.shift != 0
    each = _full(out, out[0].size)
    return ({"scale_multiplies": each} if scales else {}) | ({"scale_adds": each} if shifts else {})


def _reduced(node, out, x):  # noqa: ARG001
    key = {"sum": "mean_adds", "max": "pool_comparisons", "last": None}[node.reduction]
    return {key: _full(x, x[0].size)} if key else {}


def _gates(node, out, *sources):  # noqa: ARG001
    return {"spike_gates": _full(out, out[0].size)}


OTHER = {
    "MaxPool": _comparisons,
    "AveragePool": _pool_adds,
    "SumPool": _pool_adds,
    "AdaptiveAveragePool": _adaptive_adds,
    "Pad": lambda node, out, x: {},  # noqa: ARG005
    "Flatten": lambda node, out, x: {},  # noqa: ARG005
    "Slice": lambda node, out, x: {},  # noqa: ARG005
    "Delay": lambda node, out, x: {},  # noqa: ARG005
    "Concatenate": lambda node, out, *sources: {},  # noqa: ARG005
    "Scale": _scaled,
    "TimeReduction": _reduced,
    "And": _gates,
    "IAnd": _gates,
    "Mask": _gates,
    "Add": lambda node, out, *sources: {"residual_adds": _full(out, out[0].size)},  # noqa: ARG005
    "Vote": lambda node, out, x: {"mean_adds": _full(out, x[0].size - out[0].size)},  # noqa: ARG005
    "TokenMean": lambda node, out, x: {"mean_adds": _full(out, x[0].size - x.shape[-1])},  # noqa: ARG005
    "TimeMean": lambda node, out, x: {"mean_adds": _full(x, x[0].size)},  # noqa: ARG005
}
"""What is counted without a row: how many per timestep, by their key."""
