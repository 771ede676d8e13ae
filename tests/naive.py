"""Slow and obvious twins of evsim's kernels, in NumPy alone: what the fast ones are held against."""

from __future__ import annotations

import numpy as np


def conv(x, weight, stride=(1, 1), padding=(0, 0), dilation=(1, 1), after=()):
    """Convolve maps x [T, H, W, C_in] with weight [kH, kW, C_in, C_out], tap by tap."""
    steps, height, width, _ = x.shape
    kh, kw, _, channels = weight.shape
    after = after or padding
    padded = np.pad(x, ((0, 0), (padding[0], after[0]), (padding[1], after[1]), (0, 0)))
    out_h = (height + padding[0] + after[0] - (kh - 1) * dilation[0] - 1) // stride[0] + 1
    out_w = (width + padding[1] + after[1] - (kw - 1) * dilation[1] - 1) // stride[1] + 1
    out = np.zeros((steps, out_h, out_w, channels), weight.dtype)
    for tap_y in range(kh):
        for tap_x in range(kw):
            y, z = tap_y * dilation[0], tap_x * dilation[1]
            seen = padded[:, y : y + out_h * stride[0] : stride[0], z : z + out_w * stride[1] : stride[1]]
            out += seen[:, :out_h, :out_w] @ weight[tap_y, tap_x]
    return out


def reached(active, kernel, stride, padding):
    """Count, for a boolean map [H, W] of inputs, the (input, output) pairs that a window joins."""
    ones = np.ones((*kernel, 1, 1))
    return int(conv(active[None, :, :, None].astype(float), ones, stride, padding).sum())


def lif(current, tau, threshold):
    """Return the spikes of currents [T, ...]: v += (x - v) / tau, a spike where v >= threshold, then v = 0."""
    v = np.zeros_like(current[0])
    spikes = []
    for x in current:
        v = v + (x - v) / current.dtype.type(tau)
        fired = v >= threshold
        v = np.where(fired, current.dtype.type(0), v)
        spikes.append(fired)
    return np.stack(spikes)


def max_pool(x, window, stride, padding, columns=None):
    """Pool maps x [T, H, W, C]; taps outside the map do not take part. `columns`: window, stride, padding there."""
    steps, height, width, channels = x.shape
    across = columns or (window, stride, padding)
    out_h = (height + 2 * padding - window) // stride + 1
    out_w = (width + 2 * across[2] - across[0]) // across[1] + 1
    out = np.zeros((steps, out_h, out_w, channels), x.dtype)
    for y in range(out_h):
        for z in range(out_w):
            top, left = y * stride - padding, z * across[1] - across[2]
            seen = x[:, max(0, top) : top + window, max(0, left) : left + across[0]]
            out[:, y, z] = seen.max(axis=(1, 2))
    return out


def attention(q, k, v, heads, scale):
    """Return scale * q (k^T v) of booleans [T, N, C], head by head, as floats."""
    steps, tokens, channels = q.shape
    size = channels // heads
    out = np.zeros((steps, tokens, channels))
    for t in range(steps):
        for h in range(heads):
            part = slice(h * size, (h + 1) * size)
            qh, kh, vh = (x[t, :, part].astype(float) for x in (q, k, v))
            out[t, :, part] = qh @ (kh.T @ vh) * scale
    return out


def attention_counts(q, k, v, heads):
    """Count the accumulates of both orders, [T, heads] each: q (k^T v), then (q k^T) v."""
    steps, _, channels = q.shape
    size = channels // heads
    counts = np.zeros((2, steps, heads), np.int64)
    for t in range(steps):
        for h in range(heads):
            part = slice(h * size, (h + 1) * size)
            qh, kh, vh = (x[t, :, part].astype(int) for x in (q, k, v))
            kv, qk = kh.T @ vh, qh @ kh.T
            counts[0, t, h] = kv.sum() + (qh @ (kv != 0)).sum()
            counts[1, t, h] = qk.sum() + ((qk != 0) @ vh).sum()
    return counts


def neurons(current, threshold, *, decay=None, rate=None, strict=False, soft=False):
    """Return the spikes of currents [T, ...]: ``v = decay v + x``, or ``v += (x - v) rate``."""
    v = np.zeros_like(current[0])
    spikes = []
    for x in current:
        v = v * current.dtype.type(decay) + x if rate is None else v + (x - v) * current.dtype.type(rate)
        fired = v > threshold if strict else v >= threshold
        v = np.where(fired, v - threshold if soft else current.dtype.type(0), v)
        spikes.append(fired)
    return np.stack(spikes)


def integers(current, levels, up=False, integrates=False):
    """Return the integers of currents [T, ...], rounded half to even or half up, with potentials or without."""
    v = np.zeros_like(current[0])
    emitted = []
    for x in current:
        v = v + x if integrates else x
        clamped = np.minimum(np.maximum(v, 0), levels)
        whole = np.floor(clamped)
        rest = clamped - whole
        above = rest > 0.5
        above |= (rest == 0.5) & (True if up else whole % 2 == 1)
        k = whole + above
        v = v - k
        emitted.append(k)
    return np.stack(emitted).astype(np.int32)


def window_sums(x, kernel, stride, padding, columns=None):
    """Sum maps x [T, H, W, C] over windows, positions outside the map as zeros; `columns` as of `max_pool`."""
    axes = ((kernel, stride, padding), columns or (kernel, stride, padding))
    padded = np.pad(x, ((0, 0), *((axis[2],) * 2 for axis in axes), (0, 0)))
    out_h, out_w = ((n + 2 * pad - size) // step + 1 for n, (size, step, pad) in zip(x.shape[1:3], axes, strict=True))
    out = np.zeros((len(x), out_h, out_w, x.shape[3]), x.dtype)
    for y in range(out_h):
        for z in range(out_w):
            top, left = y * stride, z * axes[1][1]
            out[:, y, z] = padded[:, top : top + kernel, left : left + axes[1][0]].sum(axis=(1, 2))
    return out


def membrane(currents, own, constants):
    """Run neurons of any equation on currents [T, ...]; `own` says which, `constants` holds its numbers as arrays.

    Returns spikes per timestep and neuron, potentials at each timestep's end, and all potentials that were compared.
    """
    of = constants
    v = np.zeros_like(currents[0]) + of["v_start"]
    i = np.zeros_like(currents[0])
    count = lambda v: (  # noqa: E731
        np.where(v > 0, np.minimum(np.floor(v / of["v_threshold"]), own.levels), 0) if own.levels
        else (v > of["v_threshold"] if own.strict else v >= of["v_threshold"])
    ).astype(currents.dtype)  # fmt: skip
    amount = lambda k: (  # noqa: E731
        k.astype(np.float32) * np.float32(of["v_threshold"]) if own.single else k * of["v_threshold"]
    )
    rest = lambda v, k: {  # noqa: E731
        "value": np.where(k != 0, of["v_reset"], v), "subtract": v - amount(k), "none": v
    }[own.reset]  # fmt: skip
    spikes, potentials, compared = [], [], []
    for x in currents:
        r = count(v) if own.reset_at != "now" else np.zeros_like(v)
        compared += [v] if own.reset_at != "now" else []
        v = rest(v, r) if own.reset_at == "before-charge" else v
        if own.synapse == "decay-add":
            i = s = of["syn"] * i + x
        elif own.synapse == "add-decay":
            i = s = of["syn"] * (i + x)
        elif own.synapse == "jump":
            s = i + x
            i = s - of["syn"] * s
        else:
            s = x
        d = of["gain"] * s
        by = (lambda change: change / of["leak"]) if own.divides else (lambda change: of["leak"] * change)
        if own.charge == "decay":
            v = of["leak"] * v + d
        elif own.charge == "relax":
            v = v + by((of["v_leak"] - v) + d)
        elif own.charge == "box":
            v = v + by((d + of["v_leak"]) - v)
        else:
            v = (v - by(v - of["v_leak"])) + d
        v = rest(v, r) if own.reset_at in ("after-charge", "both") else v
        compared.append(v)
        k = count(v)
        if own.reset_at in ("now", "both"):
            v = rest(v, k - r)
        if own.floored:
            v = np.maximum(v - of["v_floor"], 0) + of["v_floor"]
        spikes.append(k)
        potentials.append(v)
    return np.stack(spikes), np.stack(potentials), np.stack(compared)
