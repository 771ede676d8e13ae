"""A plain NumPy forward of convolutional spiking networks, module by module as PyTorch names them, and their goldens.

It knows nothing of evsim: a network is a list of modules (name, kind, options), run in float64 over all timesteps.
"""

from __future__ import annotations

import numpy as np

EPS = 1e-5
KINDS = {"conv": 4, "linear": 2}


def sequence(path, kinds, gap=()):
    """Return modules numbered as nn.Sequential numbers them."""
    return [(f"{path}.{i}", kind) for i, kind in enumerate(kinds) if i not in gap]


def parameters(rng, modules, shapes, bias=(), plif=False):
    """Return a random state_dict of these modules: shapes of weights by name; those named in `bias` have one.

    BatchNorm and biases are such that neurons fire now and then.
    """
    state, width = {}, 0
    for name, kind in modules:
        if kind in KINDS:
            shape = shapes[name]
            width = shape[0]
            spread = 2.0 if kind == "conv" or name in bias else 8.0
            state[f"{name}.weight"] = rng.normal(0, spread / np.sqrt(np.prod(shape[1:])), shape)
            if name in bias:
                state[f"{name}.bias"] = rng.normal(1.0, 0.8, width)
        elif kind == "bn":
            state[f"{name}.weight"] = rng.uniform(0.8, 1.6, width)
            state[f"{name}.bias"] = rng.normal(1.0, 0.8, width)
            state[f"{name}.running_mean"] = rng.normal(0.5, 0.3, width)
            state[f"{name}.running_var"] = rng.uniform(0.3, 1.0, width)
            state[f"{name}.num_batches_tracked"] = np.array(7)
        elif kind == "neuron" and plif:
            state[f"{name}.w"] = np.array(rng.normal(0, 0.7))
    return {key: np.asarray(v, np.float32 if v.dtype.kind == "f" else v.dtype) for key, v in state.items()}


def convolved(x, weight, stride=1, padding=None):
    """[T, C, H, W] by [O, C, k, k]: the map, and how many products with what is not 0 lie within the image."""
    side = weight.shape[2]
    pad = side // 2 if padding is None else padding
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (side, side), (2, 3))[:, :, ::stride, ::stride]
    return np.einsum("tchwij,ocij->tohw", windows, weight.astype(np.float64)), int((windows != 0).sum()) * len(weight)


def normalised(x, state, name):
    """BatchNorm in evaluation."""
    gain, shift, mean, var = (
        np.asarray(state[f"{name}.{part}"], np.float64)[:, None, None]
        for part in ("weight", "bias", "running_mean", "running_var")
    )
    return (x - mean) / np.sqrt(var + EPS) * gain + shift


def fired(x, rule):
    """Spikes of [T, ...]; `rule` returns potential from (v, x) before the threshold, and says what fires."""
    integrate, fires = rule
    spikes, v = np.zeros_like(x), np.zeros_like(x[0])
    for t in range(len(x)):
        v = integrate(v, x[t])
        spikes[t] = fires(v)
        v = np.where(spikes[t] > 0, 0.0, v)
    return spikes


def rule_of(neuron, tau=2.0, threshold=1.0, w=None):
    """Return the rule of SpikingJelly's IF, LIF and PLIF neurons."""
    if neuron == "if":
        return (lambda v, x: v + x), (lambda v: v >= threshold)
    if neuron == "plif":
        rate = 1.0 / (1.0 + np.exp(-np.float64(w)))
        return (lambda v, x: v + (x - v) * rate), (lambda v: v >= threshold)
    return (lambda v, x: v + (x - v) / tau), (lambda v: v >= threshold)


def pooled(x, window):
    """Pool 2 x 2, rows and columns left over dropped."""
    h, w = x.shape[2] // 2 * 2, x.shape[3] // 2 * 2
    parts = x[:, :, :h, :w].reshape(*x.shape[:2], h // 2, 2, w // 2, 2)
    return window(parts, axis=(3, 5))


def adapted(x, side=7):
    """Adaptive average pooling."""
    n = x.shape[2]
    spans = [(i * n // side, -(-(i + 1) * n // side)) for i in range(side)]
    return np.stack([
        np.stack([x[:, :, a:b, c:d].mean(axis=(2, 3)) for c, d in spans], axis=-1) for a, b in spans
    ], axis=-2)  # fmt: skip


def forward(modules, state, x, neuron="lif", pool="max", once=False, **options):
    """Run modules on [T, C, H, W]; return the last one's mean over T, spikes by neuron, counts by layer."""
    spikes, counts = {}, {}
    x = np.asarray(x, np.float64)
    for name, kind in modules:
        if kind == "conv":
            reads = x[:1] if once and not counts else x
            y, counts[name] = convolved(reads, state[f"{name}.weight"])
            x = np.repeat(y, len(x) // len(y), axis=0)
            if f"{name}.bias" in state:
                x = x + state[f"{name}.bias"].astype(np.float64)[:, None, None]
        elif kind == "bn":
            x = normalised(x, state, name)
        elif kind == "neuron":
            x = spikes[name] = fired(x, rule_of(neuron, w=state.get(f"{name}.w"), **options))
        elif kind == "pool":
            x = pooled(x, np.max if pool == "max" else np.mean)
        elif kind == "adaptive":
            x = adapted(x)
        elif kind == "flatten":
            x = x.reshape(len(x), -1)
        elif kind == "linear":
            weight = state[f"{name}.weight"].astype(np.float64)
            counts[name] = int((x != 0).sum()) * len(weight)
            x = x @ weight.T + (state[f"{name}.bias"].astype(np.float64) if f"{name}.bias" in state else 0.0)
        elif kind == "vote":
            x = x.reshape(len(x), -1, 10).mean(axis=2)
    return x.mean(axis=0), spikes, counts


def check(simulate, network, sample, oracle):
    """Hold runs of both schedules, on 1 and 3 threads, against an oracle's logits, spikes and counts."""
    logits, spikes, counts = oracle
    assert all(0 < train.mean() < 1 for train in spikes.values()), {k: v.mean() for k, v in spikes.items()}
    for schedule, threads in (("layer", 1), ("time", 3)):
        run = simulate(network, sample, precision="float64", record_spikes=True, schedule=schedule, threads=threads)
        np.testing.assert_allclose(run.logits, logits, rtol=0, atol=1e-9)
        assert run.spikes.keys() == spikes.keys()
        for name, train in spikes.items():
            packed, shape = run.spikes.packed[name]
            assert shape == train.shape, name
            assert np.array_equal(packed, np.packbits(train.astype(bool))), name
        for name, count in counts.items():
            row = run.counts.layer(name)
            assert int((row.sops + row.macs).sum()) == count, name
