"""QKFormer and Spike-driven Transformer V1 as plain NumPy: forward passes over [T, H, W, C] that import no evsim."""

from __future__ import annotations

import naive
import numpy as np

EPS = 1e-5


class Plain:
    """Runs layers of a state_dict in float64, and keeps the spikes of every layer of neurons."""

    def __init__(self, state):
        self.state = {key: np.asarray(value, np.float64) for key, value in state.items()}
        self.spikes = {}

    def conv(self, name, x, norm, stride=1, padding=0):
        """Convolve, and normalise."""
        weight = self.state[f"{name}.weight"]
        weight = weight.reshape(*weight.shape, *(1,) * (4 - weight.ndim)).transpose(2, 3, 1, 0)
        y = naive.conv(x.astype(np.float64), weight, (stride,) * 2, (padding,) * 2)
        y = y + self.state.get(f"{name}.bias", 0.0)
        gain, shift, mean, var = (self.state[f"{norm}.{p}"] for p in ("weight", "bias", "running_mean", "running_var"))
        return (y - mean) / np.sqrt(var + EPS) * gain + shift

    def lif(self, name, x, threshold=1.0):
        """Fire; a trained w stands for the time constant."""
        w = self.state.get(f"{name}.w")
        rate = 0.5 if w is None else 1.0 / (1.0 + np.exp(-float(w)))
        fired = naive.neurons(x.astype(np.float64), threshold, rate=rate)
        self.spikes[name] = fired
        return fired

    def head(self, x):
        """Return the logits of the mean over timesteps and tokens."""
        return x.mean(axis=(0, 1, 2)) @ self.state["head.weight"].T + self.state["head.bias"]


def qkformer(state, frames, heads):
    """Return spikes and logits of QKFormer, whatever its form, on frames [T, H, W, C]."""
    p, x = Plain(state), frames
    imagenet, dvs = "patch_embed1.proj2_conv.weight" in state, "patch_embed1.proj3_conv.weight" in state
    imagenet = imagenet and not dvs
    if imagenet:
        first = [("proj", 2), ("proj1", 2), ("proj2", 1)]
        residual, stride = "proj", 2
    elif dvs:
        first = [("proj", 1), ("proj1", 2), ("proj2", 2), ("proj3", 2)]
        residual, stride = "proj1", 4
    else:
        first, residual, stride = [("proj", 1), ("proj1", 1)], "proj", 1
    later = [("proj3", 2), ("proj4", 1)] if imagenet else [("proj" if dvs else "proj3", 1), ("proj4", 2)]
    for stage in range(1, 3 if dvs else 4):
        path = f"patch_embed{stage}"
        at = {"": x}
        for name, pooled in first if stage == 1 else later:
            x = p.conv(f"{path}.{name}_conv", x, f"{path}.{name}_bn", 1, 1)
            x = naive.max_pool(x, 3, 2, 1) if pooled == 2 else x
            x = at[name] = p.lif(f"{path}.{name}_lif", x)
        source, step = (residual, stride) if stage == 1 else ("", 2)
        r = p.lif(f"{path}.proj_res_lif", p.conv(f"{path}.proj_res_conv", at[source], f"{path}.proj_res_bn", step))
        x = x.astype(int) + r
        block = 0
        while any(key.startswith(f"stage{stage}.{block}.") for key in state):
            x = _qkformer_block(p, f"stage{stage}.{block}", x, heads)
            block += 1
    return p.spikes, p.head(x)


def _qkformer_block(p, path, x, heads):
    """Run token attention or self-attention, and the MLP."""
    kind = next(kind for kind in ("tssa", "ssa", "attn") if f"{path}.{kind}.q_conv.weight" in p.state)
    a = f"{path}.{kind}"

    def fire(name, y):
        """Run a 1x1 convolution and its neurons."""
        return p.lif(f"{name}_lif", p.conv(f"{name}_conv", y, f"{name}_bn"))

    q, k = fire(f"{a}.q", x), fire(f"{a}.k", x)
    steps, height, width, channels = q.shape
    if kind == "tssa":
        total = q.reshape(steps, height, width, heads, -1).sum(axis=-1)
        mask = p.lif(f"{a}.attn_lif", total, 0.5)
        through = k & np.repeat(mask, channels // heads, axis=-1)
    else:
        rows = [part.reshape(steps, -1, channels) for part in (q, k, fire(f"{a}.v", x))]
        through = p.lif(f"{a}.attn_lif", naive.attention(*rows, heads, 0.125).reshape(q.shape), 0.5)
    x = x + fire(f"{a}.proj", through)
    fc1, fc2 = ("mlp1", "mlp2") if f"{path}.mlp.mlp1_conv.weight" in p.state else ("fc1", "fc2")
    return x + fire(f"{path}.mlp.{fc2}", fire(f"{path}.mlp.{fc1}", x))


def sdt(state, frames, heads, pooling, dvs_mode):
    """Return spikes and logits of Spike-driven Transformer V1 on frames [T, H, W, C]."""
    p, x = Plain(state), frames
    for i, pools in zip(("", "1", "2", "3"), pooling, strict=True):
        x = p.conv(f"patch_embed.proj_conv{i}", x, f"patch_embed.proj_bn{i}", 1, 1)
        x = x if i == "3" else p.lif(f"patch_embed.proj_lif{i}", x)
        x = naive.max_pool(x, 3, 2, 1) if pools == "1" else x
    fired = p.lif("patch_embed.proj_lif3", x)
    x = x + p.conv("patch_embed.rpe_conv", fired, "patch_embed.rpe_bn", 1, 1)
    block = 0
    while f"block.{block}.attn.q_conv.weight" in state:
        x = _sdt_block(p, f"block.{block}", x, heads, dvs_mode)
        block += 1
    fired = p.lif("head_lif", x.mean(axis=(1, 2), keepdims=True))
    return p.spikes, p.head(fired)


def _sdt_block(p, path, x, heads, dvs_mode):
    """Run attention without products, and the MLP, which adds the shortcut twice where it does not widen."""
    a, m = f"{path}.attn", f"{path}.mlp"
    s = p.lif(f"{a}.shortcut_lif", x)
    q, k, v = (p.lif(f"{a}.{n}_lif", p.conv(f"{a}.{n}_conv", s, f"{a}.{n}_bn")) for n in "qkv")
    steps, height, width, channels = q.shape

    def planes(y):
        """Pool the plane of tokens and channels of each head."""
        each = y.reshape(steps, height * width, heads, -1).transpose(2, 0, 1, 3)
        pooled = np.stack([naive.max_pool(one[..., None], 3, 1, 1)[..., 0] for one in each])
        return pooled.transpose(1, 2, 0, 3).reshape(y.shape)

    if dvs_mode:
        k, v = naive.max_pool(k, 3, 1, 1), naive.max_pool(v, 3, 1, 1)
    kv = planes(k & v) if dvs_mode else k & v
    mask = p.lif(f"{a}.talking_heads_lif", kv.sum(axis=(1, 2), keepdims=True), 0.5)
    y = planes(q & mask) if dvs_mode else q & mask
    x = x + p.conv(f"{a}.proj_conv", y, f"{a}.proj_bn")
    h = p.conv(f"{m}.fc1_conv", p.lif(f"{m}.fc1_lif", x), f"{m}.fc1_bn")
    if h.shape[-1] == channels:
        x = h = x + h
    return x + p.conv(f"{m}.fc2_conv", p.lif(f"{m}.fc2_lif", h), f"{m}.fc2_bn")
