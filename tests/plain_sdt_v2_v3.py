"""Spike-driven Transformer V2 and V3 as plain NumPy: forward passes over [T, H, W, C] that import no evsim.

Nothing is folded: RepConv runs as the three convolutions and three BatchNorms that it is written as.
"""

from __future__ import annotations

import naive
import numpy as np

EPS = 1e-5
BLOCKS = (("1_1", ("1_1",)), ("1_2", ("1_2",)), ("2", ("2_1", "2_2")))


def random_state(form, sizes, seed=0):
    """Return a random state_dict of a key table, as a training would leave it: most neurons fire now and then."""
    rng, state = np.random.default_rng(seed), {}
    for layer in form.layers(sizes):
        shape = layer.sized(sizes)
        scaled = layer.initial is not None
        spread = np.sqrt(2.0 / np.prod(shape[1:]))
        state[layer.weight] = rng.uniform(0.5, 1.5, shape) if scaled else rng.normal(0.0, spread, shape)
        if layer.bias:
            state[f"{layer.key}.bias"] = rng.normal(0.0, 0.2, shape[0])
        for norm in layer.norms:
            state[f"{norm}.weight"] = rng.uniform(1.0, 2.0, shape[0])
            state[f"{norm}.bias"] = rng.normal(0.4, 0.5, shape[0])
            state[f"{norm}.running_mean"] = rng.normal(0.0, 0.2, shape[0])
            state[f"{norm}.running_var"] = rng.uniform(0.5, 1.5, shape[0])
    return {key: value.astype(np.float32) for key, value in state.items()}


class Plain:
    """Runs layers of a state_dict in float64, and keeps what every layer of neurons emits, [T, H, W, C]."""

    def __init__(self, state, levels=0, norm=1.0, up=False, integrates=False):
        self.state = {key: np.asarray(value, np.float64) for key, value in state.items()}
        self.levels, self.norm_by, self.up, self.integrates = levels, norm, up, integrates
        self.emitted = {}

    def conv(self, name, x, *norms, stride=1, padding=0):
        """Convolve, of each channel its own where the weight is depthwise, and normalise."""
        weight = self.state[f"{name}.weight"]
        weight = weight.reshape(*weight.shape, *(1,) * (4 - weight.ndim)).transpose(2, 3, 1, 0)
        if weight.shape[2] < x.shape[3]:
            parts = [
                naive.conv(x[..., [c]], weight[..., [c]], (stride,) * 2, (padding,) * 2) for c in range(x.shape[3])
            ]
            y = np.concatenate(parts, axis=3)
        else:
            y = naive.conv(x, weight, (stride,) * 2, (padding,) * 2)
        y = y + self.state.get(f"{name}.bias", 0.0)
        for norm in norms:
            y = self.norm(norm, y)
        return y

    def norm(self, name, y):
        """Normalise."""
        gain, shift, mean, var = (self.state[f"{name}.{p}"] for p in ("weight", "bias", "running_mean", "running_var"))
        return (y - mean) / np.sqrt(var + EPS) * gain + shift

    def fire(self, name, x, threshold=1.0, norm=None):
        """Return what neurons emit: spikes, or integers over a norm."""
        if not self.levels:
            self.emitted[name] = naive.lif(x, 2.0, threshold)
            return self.emitted[name].astype(np.float64)
        self.emitted[name] = naive.integers(x, self.levels, self.up, self.integrates)
        return self.emitted[name] / (norm or self.norm_by)

    def attend(self, q, k, v, heads, scale):
        """Return q k^T v of each head's channels, where v may have more than q and k."""
        steps, height, width, _ = q.shape
        rows = [x.reshape(steps, height * width, heads, -1).transpose(0, 2, 1, 3) for x in (q, k, v)]
        y = rows[0] @ rows[1].swapaxes(2, 3) @ rows[2] * scale
        return y.transpose(0, 2, 1, 3).reshape(steps, height, width, -1)

    def down(self, name, x, word):
        """Run a downsampling layer."""
        path, first = f"downsample{name}", name == "1_1"
        x = x if first else self.fire(f"{path}.encode_{word}", x)
        return self.conv(
            f"{path}.encode_conv", x, f"{path}.encode_bn", stride=1 if name == "4" else 2, padding=3 if first else 1
        )

    def mlp(self, path, x, word):
        """Run an MLP."""
        y = self.conv(f"{path}.fc1_conv", self.fire(f"{path}.fc1_{word}", x), f"{path}.fc1_bn")
        return self.conv(f"{path}.fc2_conv", self.fire(f"{path}.fc2_{word}", y), f"{path}.fc2_bn")

    def linear(self, name, x):
        """Run a head on [T, 1, 1, C]."""
        return x[:, 0, 0] @ self.state[f"{name}.weight"].T + self.state[f"{name}.bias"]

    def depth(self, stage):
        """Return the number of blocks."""
        return len({key.split(".")[1] for key in self.state if key.startswith(f"block{stage}.")})


def v2(state, frames, heads):
    """Return what neurons of V2 emit, and its logits."""
    p, x = Plain(state), frames

    def rep(path, y):
        body = f"{path}.0.body"
        y = p.conv(f"{body}.0", y, f"{body}.1.bn")
        border = p.norm(f"{body}.1.bn", np.zeros(y.shape[3]))
        steps, height, width, channels = y.shape
        padded = np.broadcast_to(border, (steps, height + 2, width + 2, channels)).copy()
        padded[:, 1:-1, 1:-1] = y
        return p.conv(f"{body}.2.1", p.conv(f"{body}.2.0", padded), f"{body}.2.2", f"{path}.1")

    for name, blocks in BLOCKS:
        x = p.down(name, x, "lif")
        for path in (f"ConvBlock{block}.0" for block in blocks):
            y = p.conv(f"{path}.Conv.pwconv1", p.fire(f"{path}.Conv.lif1", x), f"{path}.Conv.bn1")
            y = p.conv(f"{path}.Conv.dwconv", p.fire(f"{path}.Conv.lif2", y), padding=3)
            x = x + p.conv(f"{path}.Conv.pwconv2", y, f"{path}.Conv.bn2")
            y = p.conv(f"{path}.conv1", p.fire(f"{path}.lif1", x), f"{path}.bn1", padding=1)
            x = x + p.conv(f"{path}.conv2", p.fire(f"{path}.lif2", y), f"{path}.bn2", padding=1)
    for stage in (3, 4):
        x = p.down(str(stage), x, "lif")
        for path in (f"block{stage}.{i}" for i in range(p.depth(stage))):
            a = f"{path}.attn"
            s = p.fire(f"{a}.head_lif", x)
            qkv = [p.fire(f"{a}.{n}_lif", rep(f"{a}.{n}_conv", s)) for n in "qkv"]
            x = x + rep(f"{a}.proj_conv", p.fire(f"{a}.attn_lif", p.attend(*qkv, heads, 0.125), 0.5))
            x = x + p.mlp(f"{path}.mlp", x, "lif")
    x = p.fire("lif", x.mean(axis=(1, 2), keepdims=True))
    logits = p.linear("head", x)
    if "head_kd.weight" in state:
        logits = (logits + p.linear("head_kd", x)) / 2
    return p.emitted, logits.mean(axis=0)


def v3(state, frames, heads, levels=4, norm=4.0):
    """Return what neurons of V3 emit, in whatever form, and its logits."""
    large = "block3.0.attn.q_conv.0.conv1.0.weight" in state
    recurrent = "block3.0.layer_scale3" in state
    p, x = Plain(state, levels, norm, up=large, integrates=recurrent), frames
    word = "lif" if large else "spike"

    def scaled(path, number, y):
        return y * p.state.get(f"{path}.layer_scale{number}", 1.0)

    def separable(path, y, kernel):
        y = p.conv(f"{path}.pwconv1.0", p.fire(f"{path}.spike1", y), f"{path}.pwconv1.1")
        y = p.conv(f"{path}.dwconv.0", p.fire(f"{path}.spike2", y), f"{path}.dwconv.1", padding=kernel // 2)
        return p.conv(f"{path}.pwconv2.0", p.fire(f"{path}.spike3", y), f"{path}.pwconv2.1")

    def project(path, y):
        if not large:
            return p.conv(f"{path}.0", y, f"{path}.1")
        y = p.conv(f"{path}.0.conv1.0", y, f"{path}.0.conv1.1")
        return p.conv(f"{path}.0.conv2.0", y, f"{path}.0.conv2.1", f"{path}.1")

    for name, blocks in BLOCKS:
        x = p.down(name, x, word)
        for path in (f"ConvBlock{block}.0" for block in blocks):
            x = x if large else x + separable(f"{path}.Conv", x, 7)
            neurons, keys = ("neuron", ".0.0") if large else ("spike", "")
            y = x
            for i in (1, 2):
                bn = f"{path}.conv{i}.0.1" if large else f"{path}.bn{i}"
                y = p.conv(f"{path}.conv{i}{keys}", p.fire(f"{path}.{neurons}{i}", y), bn, padding=1)
            x = x + y
    for stage in (3,) if large else (3, 4):
        x = p.down(str(stage), x, word)
        for path in (f"block{stage}.{i}" for i in range(p.depth(stage))):
            a, first = f"{path}.attn", 1 if large else 2
            x = x if large else x + scaled(path, 1, separable(f"{path}.conv", x, 3))
            s = p.fire(f"{a}.head_{word}", x)
            qkv = [p.fire(f"{a}.{n}_{word}", project(f"{a}.{n}_conv", s)) for n in "qkv"]
            factor = 0.125 if large else 2.0 * (qkv[0].shape[3] // heads) ** -0.5
            y = project(f"{a}.proj_conv", p.fire(f"{a}.attn_{word}", p.attend(*qkv, heads, factor)))
            x = x + scaled(path, first, y)
            x = x + scaled(path, first + 1, p.mlp(f"{path}.mlp", x, word))
    mean = x.mean(axis=(1, 2), keepdims=True)
    if not large:
        return p.emitted, p.linear("head", p.fire("spike", mean, norm=1.0)).mean(axis=0)
    logits = p.linear("head", mean)
    if "head_kd.weight" in state:
        logits = (logits + p.linear("head_kd", p.fire("lif", mean, norm=1.0))) / 2
    return p.emitted, logits.mean(axis=0)
