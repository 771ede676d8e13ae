"""More networks built by hand from a checkpoint's arrays: ResNets, a CSNN, erosion, integers, products of real rows."""

from __future__ import annotations

import numpy as np
from by_hand import Maker

from evsim.primitives import (
    Add,
    And,
    Flatten,
    HeadProduct,
    Input,
    Mask,
    MaxPool,
    MultiSpike,
    SpikingSelfAttention,
    TimeMean,
    TokenMean,
    TokenSum,
    Vote,
)

IF = {"decay_input": False, "decay": 1.0}
MEM_UPDATE = {"decay_input": False, "decay": 0.25, "strict": True}


def sew_resnet(state, size=64):
    """Return SEW-ResNet-18 with SpikingJelly's keys, ADD, first convolution once."""
    m = Maker(state)
    x = m.add(Input("input", (), 3, size, size, "real"))
    x = m.lif("sn1", m.conv("conv1", x, "bn1", 2, 3, repeated=True), **IF)
    x = m.add(MaxPool("maxpool", (x,)))
    for layer in (1, 2, 3, 4):
        for block in (0, 1):
            p, stride = f"layer{layer}.{block}.", 2 if layer > 1 and block == 0 else 1
            y = m.lif(f"{p}sn1", m.conv(f"{p}conv1", x, f"{p}bn1", stride, 1), **IF)
            y = m.lif(f"{p}sn2", m.conv(f"{p}conv2", y, f"{p}bn2", 1, 1), **IF)
            if stride == 2:
                x = m.lif(f"{p}downsample_sn", m.conv(f"{p}downsample.0", x, f"{p}downsample.1", 2), **IF)
            x = m.add(Add(f"{p}add", (y, x)))
    x = m.add(TokenMean("avgpool", (x,)))
    m.add(TimeMean("time_mean", (m.linear("fc", x),)))
    return m.network(size)


def ms_resnet(state, size=64):
    """Return MS-ResNet-18."""
    m = Maker(state)
    x = m.add(Input("input", (), 3, size, size, "real"))
    x = m.conv("conv1.0", x, "conv1.1.bn", 2, 3)
    for stage in (2, 3, 4, 5):
        for block in (0, 1):
            p, stride = f"conv{stage}_x.{block}.", 2 if block == 0 else 1
            r = f"{p}residual_function."
            y = m.conv(f"{r}1", m.lif(f"{r}0", x, 0.5, **MEM_UPDATE), f"{r}2.bn", stride, 1)
            y = m.conv(f"{r}4", m.lif(f"{r}3", y, 0.5, **MEM_UPDATE), f"{r}5.bn", 1, 1)
            if stride == 2:
                x = m.conv(f"{p}shortcut.0", x, f"{p}shortcut.1.bn", 2)
            x = m.add(Add(f"{p}add", (y, x)))
    x = m.add(TokenMean("pool", (m.lif("mem_update", x, 0.5, **MEM_UPDATE),)))
    m.linear("fc", m.add(TimeMean("time_mean", (x,))))
    return m.network(size, timesteps=6)


def csnn(state, size=128):
    """Return SpikingJelly's DVSGestureNet."""
    m = Maker(state)
    x = m.add(Input("input", (), 2, size, size, "integers"))
    for i in range(5):
        x = m.conv(f"conv_fc.{4 * i}", x, f"conv_fc.{4 * i + 1}", 1, 1)
        x = m.add(MaxPool(f"conv_fc.{4 * i + 3}", (m.lif(f"conv_fc.{4 * i + 2}", x),), 2, 2, 0))
    x = m.add(Flatten("conv_fc.20", (x,)))
    x = m.lif("conv_fc.23", m.linear("conv_fc.22", x), layout="rows", view=(512,))
    x = m.lif("conv_fc.26", m.linear("conv_fc.25", x), layout="rows", view=(110,))
    m.add(TimeMean("time_mean", (m.add(Vote("conv_fc.27", (x,))),)))
    return m.network(size, 2, kind="events")


def sdt_cifar10dvs(state, size=64, heads=4, depth=2, stat="0011"):
    """Return Spike-driven Transformer V1 in dvs mode."""
    m = Maker(state)
    x = m.add(Input("input", (), 2, size, size, "integers"))
    p = "patch_embed."
    for stage, pools in zip(("", "1", "2"), stat[:3], strict=True):
        x = m.lif(f"{p}proj_lif{stage}", m.conv(f"{p}proj_conv{stage}", x, f"{p}proj_bn{stage}", 1, 1))
        if pools == "1":
            x = m.add(MaxPool(f"{p}pool{stage}", (x,)))
    feature = m.conv(f"{p}proj_conv3", x, f"{p}proj_bn3", 1, 1)
    if stat[3] == "1":
        feature = m.add(MaxPool(f"{p}pool3", (feature,)))
    x = m.conv(f"{p}rpe_conv", m.lif(f"{p}proj_lif3", feature), f"{p}rpe_bn", 1, 1)
    x = m.add(Add(f"{p}add", (x, feature)))
    for i in range(depth):
        a, b = f"block.{i}.attn", f"block.{i}.mlp."
        s = m.lif(f"{a}.shortcut_lif", x)
        q, k, v = (m.lif(f"{a}.{n}_lif", m.conv(f"{a}.{n}_conv", s, f"{a}.{n}_bn")) for n in "qkv")
        k, v = (m.add(MaxPool(f"{n}_erode", (n,), 3, 1, 1)) for n in (k, v))
        kv = m.add(And(f"{a}.kv", (k, v)))
        eroded = m.add(MaxPool(f"{a}.kv_erode", (kv,), 3, 1, 1, heads))
        pairs = (("kv_after_erode_summed", eroded), ("mask_spikes", f"{a}.talking_heads_lif"),
                 ("masked_q_spikes", f"{a}.mask"), ("proj_input_spikes", f"{a}.x_erode"))  # fmt: skip
        total = m.add(TokenSum(a, (eroded,), heads, (("q_spikes", q), ("kv_coincidences", kv), *pairs)))
        width = m.state[f"{a}.q_conv.weight"].shape[0] // heads
        mask = m.lif(f"{a}.talking_heads_lif", total, 0.5, "tokens", view=(heads, 1, width))
        y = m.add(MaxPool(f"{a}.x_erode", (m.add(Mask(f"{a}.mask", (q, mask))),), 3, 1, 1, heads))
        x = m.add(Add(f"{a}.add", (m.conv(f"{a}.proj_conv", y, f"{a}.proj_bn"), x)))
        h = m.conv(f"{b}fc1_conv", m.lif(f"{b}fc1_lif", x), f"{b}fc1_bn")
        h = m.conv(f"{b}fc2_conv", m.lif(f"{b}fc2_lif", h), f"{b}fc2_bn")
        x = m.add(Add(f"{b}add", (h, x)))
    x = m.lif("head_lif", m.add(TokenMean("token_mean", (x,))), layout="rows", view=(m.state["head.weight"].shape[1],))
    m.add(TimeMean("time_mean", (m.linear("head", x),)))
    return m.network(size, 2, kind="events")


def spikingresformer(state, size=64):
    """Return SpikingResformer in its form for ImageNet, with three stages of the golden's heads and patches."""
    m = Maker(state)
    x = m.add(Input("input", (), 3, size, size, "real"))
    x = m.add(MaxPool("prologue.2", (m.conv("prologue.0", x, "prologue.1.bn", 2, 3),)))
    blocks = ((0, 1, 4, (0,)), (1, 2, 2, (1,)), (2, 4, 1, (1, 3)))
    side = size // 4
    for stage, heads, patch, starts in blocks:
        if stage:
            p = f"layers.{stage}.0."
            x = m.conv(f"{p}conv", m.lif(f"{p}activation", x), f"{p}norm.bn", 2, 1)
            side //= 2
        for start in starts:
            x = _dssa(m, f"layers.{stage}.{start}", x, heads, patch, (side // patch) ** 2, side**2)
            x = _feed_forward(m, f"layers.{stage}.{start + 1}.", x)
    m.add(TimeMean("time_mean", (m.linear("classifier", m.add(TokenMean("avgpool", (x,)))),)))
    return m.network(size)


def _dssa(m, p, x, heads, patch, rows, tokens):
    z = m.lif(f"{p}.activation_in", x)
    y = m.conv(f"{p}.W", z, f"{p}.norm.bn", patch)
    size = m.state[f"{p}.W.weight"].shape[1] // heads
    rates = [np.asarray(m.state[f"{p}.firing_rate_{of}"], np.float64).reshape(-1) for of in ("x", "attn")]
    m.weights[f"{p}.matmul1.scale"] = 1.0 / np.sqrt(rates[0] * size)
    m.weights[f"{p}.matmul2.scale"] = 1.0 / np.sqrt(rates[1] * rows)
    a = m.add(HeadProduct(f"{p}.matmul1", (z, y), heads, "channels", 0))
    a = m.lif(f"{p}.activation_attn", a, layout="tokens", view=(heads, rows, tokens))
    a = m.add(HeadProduct(f"{p}.matmul2", (a, y), heads, "tokens", 1))
    out = m.conv(f"{p}.Wproj", m.lif(f"{p}.activation_out", a), f"{p}.norm_proj.bn")
    return m.add(Add(f"{p}.add", (out, x)))


def _feed_forward(m, p, x):
    u = m.conv(f"{p}up.1", m.lif(f"{p}up.0", x), f"{p}up.2.bn")
    weight = m.state[f"{p}conv.0.1.weight"]
    groups = weight.shape[0] // weight.shape[1]
    y = m.conv(f"{p}conv.0.1", m.lif(f"{p}conv.0.0", u), f"{p}conv.0.2.bn", 1, 1, groups)
    u = m.add(Add(f"{p}conv.add", (y, u)))
    return m.add(Add(f"{p}add", (m.conv(f"{p}down.1", m.lif(f"{p}down.0", u), f"{p}down.2.bn"), x)))


def sdt_v3(state, size=64, heads=2):
    """Return Spike-driven Transformer V3, base, in the golden's depth."""
    m = Maker(state)
    x = m.add(Input("input", (), 3, size, size, "real"))

    def spike(name, source, norm=4.0, layout="map", **other):
        """Append integer neurons of 4 levels."""
        return m.add(MultiSpike(name, (source,), 4, norm, layout=layout, **other))

    def separable(p, source, kernel):
        """Append pointwise, depthwise and pointwise convolution with their residual addition."""
        y = m.conv(f"{p}pwconv1.0", spike(f"{p}spike1", source), f"{p}pwconv1.1")
        y = spike(f"{p}spike2", y)
        groups = m.state[f"{p}dwconv.0.weight"].shape[0]
        y = m.conv(f"{p}dwconv.0", y, f"{p}dwconv.1", 1, kernel // 2, groups)
        y = m.conv(f"{p}pwconv2.0", spike(f"{p}spike3", y), f"{p}pwconv2.1")
        return m.add(Add(f"{p}add", (source, y)))

    for down, blocks in (("1_1", "1_1"), ("1_2", "1_2"), ("2", "2_1 2_2"), ("3", "")):
        d = f"downsample{down}."
        read = x if down == "1_1" else spike(f"{d}encode_spike", x)
        x = m.conv(f"{d}encode_conv", read, f"{d}encode_bn", 2, 3 if down == "1_1" else 1)
        for block in blocks.split():
            p = f"ConvBlock{block}.0."
            x = separable(f"{p}Conv.", x, 7)
            y = m.conv(f"{p}conv1", spike(f"{p}spike1", x), f"{p}bn1", 1, 1)
            y = m.conv(f"{p}conv2", spike(f"{p}spike2", y), f"{p}bn2", 1, 1)
            x = m.add(Add(f"{p}add", (x, y)))
    for stage, depth in ((3, 6), (4, 2)):
        if stage == 4:
            x = m.conv("downsample4.encode_conv", spike("downsample4.encode_spike", x), "downsample4.encode_bn", 1, 1)
        for i in range(depth):
            p = f"block{stage}.{i}."
            x = separable(f"{p}conv.", x, 3)
            s, a = spike(f"{p}attn.head_spike", x), f"{p}attn."
            q, k, v = (spike(f"{a}{n}_spike", m.conv(f"{a}{n}_conv.0", s, f"{a}{n}_conv.1")) for n in "qkv")
            width = m.state[f"{a}q_conv.0.weight"].shape[0] // heads
            y = m.add(SpikingSelfAttention(f"{a}ssa", (q, k, v), heads, 2 * width**-0.5, "(qk)v"))
            y = m.conv(f"{a}proj_conv.0", spike(f"{a}attn_spike", y, layout="tokens"), f"{a}proj_conv.1")
            x = m.add(Add(f"{a}add", (x, y)))
            b = f"{p}mlp."
            h = m.conv(f"{b}fc1_conv", spike(f"{b}fc1_spike", x, layout="tokens"), f"{b}fc1_bn")
            h = m.conv(f"{b}fc2_conv", spike(f"{b}fc2_spike", h, layout="tokens"), f"{b}fc2_bn")
            x = m.add(Add(f"{b}add", (x, h)))
    width = m.state["head.weight"].shape[1]
    x = spike("spike", m.add(TokenMean("token_mean", (x,))), 1.0, "rows", view=(width,))
    m.add(TimeMean("time_mean", (m.linear("head", x),)))
    return m.network(size, timesteps=1)
