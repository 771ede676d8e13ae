"""Networks of other families built by hand from a checkpoint's arrays: SDT V1 and QKFormer on ImageNet."""

from __future__ import annotations

import numpy as np

from evsim.inputspec import InputSpec
from evsim.network import Network
from evsim.primitives import (
    LIF,
    Add,
    And,
    Conv2d,
    HeadSum,
    Input,
    Linear,
    Mask,
    MaxPool,
    SpikingSelfAttention,
    TimeMean,
    TokenMean,
    TokenSum,
)

EPS = 1e-5


class Maker:
    """Collects nodes and their weights from a state dict of arrays."""

    def __init__(self, state):
        self.state, self.nodes, self.weights = state, [], {}

    def add(self, node):
        """Append a node and return its name."""
        self.nodes.append(node)
        return node.name

    def conv(self, name, source, norm=None, stride=1, padding=0, groups=1, key=None, repeated=False):
        """Append a convolution, of tokens or of maps, with the BatchNorm of that name."""
        weight = np.asarray(self.state[f"{key or name}.weight"])
        weight = weight.reshape(*weight.shape, *(1,) * (4 - weight.ndim))
        out, inner, *kernel = weight.shape
        bias = f"{key or name}.bias" in self.state
        self.weights[f"{name}.weight"] = np.ascontiguousarray(weight.transpose(2, 3, 1, 0))
        if bias:
            self.weights[f"{name}.bias"] = np.asarray(self.state[f"{key or name}.bias"])
        if norm:
            self._norm(name, norm)
        return self.add(Conv2d(
            name, (source,), inner * groups, out, tuple(kernel), (stride,) * 2, (padding,) * 2, bias, bool(norm),
            groups=groups, repeated=repeated,
        ))  # fmt: skip

    def _norm(self, name, norm):
        gain, shift, mean, var = (
            np.asarray(self.state[f"{norm}.{part}"], np.float64)
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        scale = gain / np.sqrt(var + EPS)
        self.weights[f"{name}.bn_scale"], self.weights[f"{name}.bn_shift"] = scale, shift - mean * scale

    def linear(self, name, source):
        """Append a linear layer with bias."""
        weight = np.asarray(self.state[f"{name}.weight"])
        self.weights[f"{name}.weight"] = np.ascontiguousarray(weight.T)
        bias = f"{name}.bias" in self.state
        if bias:
            self.weights[f"{name}.bias"] = np.asarray(self.state[f"{name}.bias"])
        return self.add(Linear(name, (source,), weight.shape[1], weight.shape[0], bias))

    def lif(self, name, source, threshold=1.0, layout="map", **other):
        """Append neurons."""
        return self.add(LIF(name, (source,), 2.0, threshold, layout, **other))

    def network(self, size, channels=3, timesteps=4, kind="image"):
        """Return the network on an image of that size."""
        stats = ((0.5,) * channels, (0.5,) * channels) if kind == "image" else ((), ())
        spec = InputSpec(kind, channels, size, size, timesteps, *stats)
        return Network("by hand", "", "", spec, tuple(self.nodes), self.weights)


def sdt_imagenet(state, size=64, heads=4, depth=2):
    """Return Spike-driven Transformer V1 with pools after all stages."""
    m = Maker(state)
    x = m.add(Input("input", (), 3, size, size, "real"))
    p = "patch_embed."
    for stage in ("", "1", "2"):
        x = m.conv(f"{p}proj_conv{stage}", x, f"{p}proj_bn{stage}", 1, 1)
        x = m.lif(f"{p}proj_lif{stage}", x)
        x = m.add(MaxPool(f"{p}pool{stage}", (x,)))
    x = m.conv(f"{p}proj_conv3", x, f"{p}proj_bn3", 1, 1)
    feature = m.add(MaxPool(f"{p}pool3", (x,)))
    x = m.lif(f"{p}proj_lif3", feature)
    x = m.add(Add(f"{p}add", (m.conv(f"{p}rpe_conv", x, f"{p}rpe_bn", 1, 1), feature)))
    for i in range(depth):
        a, b = f"block.{i}.attn", f"block.{i}.mlp."
        s = m.lif(f"{a}.shortcut_lif", x)
        q, k, v = (m.lif(f"{a}.{n}_lif", m.conv(f"{a}.{n}_conv", s, f"{a}.{n}_bn")) for n in "qkv")
        kv = m.add(And(f"{a}.kv", (k, v)))
        mask, masked = f"{a}.talking_heads_lif", f"{a}.mask"
        pairs = (
            ("k_spikes", k), ("v_spikes", v), ("q_spikes", q), ("kv_coincidences", kv), ("kv_after_erode_summed", kv),
            ("mask_spikes", mask), ("masked_q_spikes", masked), ("proj_input_spikes", masked),
        )  # fmt: skip
        total = m.add(TokenSum(a, (kv,), heads, pairs))
        width = m.state[f"{a}.q_conv.weight"].shape[0] // heads
        m.lif(mask, total, 0.5, "tokens", view=(heads, 1, width))
        m.add(Mask(masked, (q, mask)))
        x = m.add(Add(f"{a}.add", (m.conv(f"{a}.proj_conv", masked, f"{a}.proj_bn"), x)))
        h = m.conv(f"{b}fc1_conv", m.lif(f"{b}fc1_lif", x), f"{b}fc1_bn")
        h = m.conv(f"{b}fc2_conv", m.lif(f"{b}fc2_lif", h), f"{b}fc2_bn")
        x = m.add(Add(f"{b}add", (h, x)))
    x = m.lif("head_lif", m.add(TokenMean("token_mean", (x,))), layout="rows", view=(m.state["head.weight"].shape[1],))
    m.add(TimeMean("time_mean", (m.linear("head", x),)))
    return m.network(size)


def qkformer_imagenet(state, size=64, heads=6, depth=5):
    """Return QKFormer's form for ImageNet."""
    m = Maker(state)
    x = m.add(Input("input", (), 3, size, size, "real"))

    def embed(path, name, source, pool=False, residual=False):
        """Append one convolution of a patch embedding, its pool and its neurons."""
        stride, padding = (2, 0) if residual else (1, 1)
        y = m.conv(f"{path}.{name}_conv", source, f"{path}.{name}_bn", stride, padding)
        if pool:
            y = m.add(MaxPool(f"{path}.{name}_pool", (y,)))
        return m.lif(f"{path}.{name}_lif", y)

    e = "patch_embed1"
    first = embed(e, "proj", x, pool=True)
    y = embed(e, "proj2", embed(e, "proj1", first, pool=True))
    x = m.add(Add(f"{e}.add", (y, embed(e, "proj_res", first, residual=True))))
    for stage, blocks in ((1, 1), (2, 2), (3, depth - 3)):
        if stage > 1:
            e = f"patch_embed{stage}"
            y = embed(e, "proj4", embed(e, "proj3", x, pool=True))
            x = m.add(Add(f"{e}.add", (y, embed(e, "proj_res", x, residual=True))))
        for i in range(blocks):
            x = _attention(m, f"stage{stage}.{i}", x, heads, stage < 3)
            b = f"stage{stage}.{i}.mlp."
            h = m.lif(f"{b}fc1_lif", m.conv(f"{b}fc1_conv", x, f"{b}fc1_bn"))
            h = m.lif(f"{b}fc2_lif", m.conv(f"{b}fc2_conv", h, f"{b}fc2_bn"))
            x = m.add(Add(f"{b}add", (x, h)))
    x = m.add(TimeMean("time_mean", (m.add(TokenMean("token_mean", (x,))),)))
    m.linear("head", x)
    return m.network(size)


def _attention(m, block, x, heads, by_token):
    """Append QKFormer's token attention or its spiking self-attention, and its residual addition."""
    a = f"{block}.{'tssa' if by_token else 'attn'}"

    def project(n):
        """Append q, k or v."""
        return m.lif(f"{a}.{n}_lif", m.conv(f"{a}.{n}_conv", x, f"{a}.{n}_bn"), layout="tokens")

    q, k = project("q"), project("k")
    if by_token:
        tokens, mask, masked = m.state, f"{a}.attn_lif", f"{a}.mask"
        pairs = (("q_spikes", q), ("mask_spikes", mask), ("k_spikes", k), ("masked_k_spikes", masked))
        total = m.add(HeadSum(a, (q,), heads, pairs))
        tokens = {"stage1": 256, "stage2": 64}[block.partition(".")[0]]
        m.lif(mask, total, 0.5, "tokens", view=(heads, 1, tokens))
        spikes = m.add(Mask(masked, (k, mask)))
    else:
        product = m.add(SpikingSelfAttention(f"{a}.ssa", (q, k, project("v")), heads))
        spikes = m.lif(f"{a}.attn_lif", product, 0.5, "tokens")
    y = m.conv(f"{a}.proj_conv", spikes, f"{a}.proj_bn")
    y = m.lif(f"{a}.proj_lif", y, layout="map" if by_token else "tokens")
    return m.add(Add(f"{a}.add", (x, y)))
