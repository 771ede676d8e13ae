"""Spikformer (arXiv 2209.15425): ImageNet, CIFAR (linear layers) and DVS forms.

Its residual adds spikes to spikes, so q, k, v and fc1 read small integers (up to ``2 * depth + 1``): graded spikes, not
0/1. In its ImageNet and DVS forms its keys are those of the authors' oldest Spikingformer checkpoints too, so only the
option `family` can tell; the linear layers of the CIFAR form decide by themselves.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

from evsim.converters import literature
from evsim.converters.facts import Facts
from evsim.converters.family import Family
from evsim.converters.inputs import input_spec, is_count
from evsim.converters.parts import Builder
from evsim.converters.presets import Preset, published_sizes, vision_sizes
from evsim.converters.table import Form, Row
from evsim.network import Add, Input, Network, SpikingSelfAttention, TimeMean, TokenMean

NAME = "spikformer"
TAU = 2.0
ATTENTION_THRESHOLD = 0.5
SCALES = {"imagenet": 0.125, "cifar": 0.125, "dvs": 0.25}
"""Factor on q k^T v, by tokenizer."""

STAGES = ("", "1", "2", "3")
Layout = Literal["map", "tokens", "rows"]

RESIDUAL_RATE = 0.15
"""Rate of the neurons whose spikes go to the residual stream, which Spikingformer lacks. With it, integers counted as
events, Spikformer-8-512 comes near the 19.14 G AC that its published 18.82 mJ imply (``evsim paper`` prints them)."""


def _rows(kind: str, attention: tuple[int, ...], mlp: tuple[int, ...]) -> tuple[Row, ...]:
    """Return the table for layers named `kind`, whose kernels have these sizes; linear layers all have a bias."""
    widths = ("channels", "width1", "width2", "width3", "width4")
    rows = [
        Row(f"patch_embed.proj_conv{i}", (widths[int(i or 0) + 1], widths[int(i or 0)], 3, 3), f"proj_bn{i}")
        for i in STAGES
    ]
    rows.append(Row("patch_embed.rpe_conv", ("dim", "width4", 3, 3), "rpe_bn"))
    block = "block.{depth}"
    for x in ("q", "k", "v", "proj"):
        bias = kind == "linear" or x == "proj"
        rows.append(Row(f"{block}.attn.{x}_{kind}", ("dim", "dim", *attention), f"{x}_bn", bias))
    rows.append(Row(f"{block}.mlp.fc1_{kind}", ("hidden", "dim", *mlp), "fc1_bn", bias=True))
    rows.append(Row(f"{block}.mlp.fc2_{kind}", ("dim", "hidden", *mlp), "fc2_bn", bias=True))
    return (*rows, Row("head", ("classes", "dim"), bias=True))


def _graph(builder: Builder, facts: Facts) -> Network:
    sizes = builder.sizes
    channels, depth, dim = sizes["channels"], sizes["depth"], sizes["dim"]
    # linear layers are CIFAR's, two input channels or a Conv1d in the MLP those of DVS
    tokenizer = "dvs" if builder.form.name == "imagenet" and channels == 2 else builder.form.name
    facts.agree("tokenizer", tokenizer)
    facts.find("variant", constant="standard", reason="its only one", check=lambda v: v == "standard")
    facts.agree("dim", dim, "dim")
    facts.agree("depth", depth, "layer", "depths")
    facts.agree("classes", sizes["classes"], anyway=("num_classes",))
    heads = facts.find("heads", "num_heads", check=is_count)
    tau = facts.find("tau", constant=TAU, reason=f"constant of {NAME}", check=lambda t: 1.0 <= t < math.inf)
    spec = input_spec(facts, tokenizer, channels)
    scale = SCALES[tokenizer]
    facts.note("scale", scale, f"assumed: constant of {NAME}, {tokenizer}")
    facts.note("v_threshold", f"1.0, attn_lif {ATTENTION_THRESHOLD}", f"assumed: constants of {NAME}")
    kind = "integers" if tokenizer == "dvs" else "real"
    x = builder.add(Input("input", (), channels, spec.height, spec.width, kind))  # type: ignore[arg-type]
    x = _patch_embed(builder, x, tau, {"2", "3"} if tokenizer == "cifar" else set(STAGES))
    layouts: dict[str, Layout] = {"imagenet": "map", "cifar": "rows", "dvs": "tokens"}
    for block in range(depth):
        path = f"block.{block}"
        x = _attention(builder, f"{path}.attn", x, heads, scale, tau, layouts[tokenizer])
        x = _mlp(builder, f"{path}.mlp", x, tau, layouts[tokenizer])
    x = builder.add(TokenMean("token_mean", (x,)))
    x = builder.add(TimeMean("time_mean", (x,)))
    builder.layer("head", x)
    weights = builder.finish(FAMILY.unused)
    return Network(f"{NAME}-{depth}-{dim}", NAME, "standard", spec, tuple(builder.nodes), weights)


def _patch_embed(builder: Builder, x: str, tau: float, pooled: set[str]) -> str:
    """Append the tokenizer; return its sum of spikes, 0 to 2."""
    path = "patch_embed"
    for i in STAGES:
        x = builder.layer(f"{path}.proj_conv{i}", x, padding=1)
        x = builder.lif(f"{path}.proj_lif{i}", x, tau)
        if i in pooled:
            x = builder.pool(f"{path}.proj_pool{i}", x)
    position = builder.layer(f"{path}.rpe_conv", x, padding=1)
    position = builder.lif(f"{path}.rpe_lif", position, tau)
    return builder.add(Add(f"{path}.add", (x, position)))


def _attention(builder: Builder, path: str, x: str, heads: int, scale: float, tau: float, layout: Layout) -> str:
    """Append a block's attention and its residual addition."""
    inner: Layout = "rows" if layout == "rows" else "tokens"
    qkv = tuple(_fire(builder, f"{path}.{letter}", x, tau, inner) for letter in "qkv")
    order: Literal["q(kv)", "(qk)v"] = "q(kv)" if layout == "map" else "(qk)v"
    ssa = builder.add(SpikingSelfAttention(f"{path}.ssa", qkv, heads, scale, order))
    fired = builder.lif(f"{path}.attn_lif", ssa, tau, inner, ATTENTION_THRESHOLD)
    return builder.add(Add(f"{path}.add", (x, _fire(builder, f"{path}.proj", fired, tau, layout))))


def _mlp(builder: Builder, path: str, x: str, tau: float, layout: Layout) -> str:
    """Append a block's MLP and its residual addition."""
    hidden = _fire(builder, f"{path}.fc1", x, tau, layout)
    return builder.add(Add(f"{path}.add", (x, _fire(builder, f"{path}.fc2", hidden, tau, layout))))


def _fire(builder: Builder, path: str, x: str, tau: float, layout: Layout) -> str:
    """Append a linear layer (rows) or 1x1 convolution, its BatchNorm and its neurons."""
    x = builder.layer(f"{path}_linear" if layout == "rows" else f"{path}_conv", x)
    return builder.lif(f"{path}_lif", x, tau, layout)


def _sizes(preset: Preset) -> tuple[str, Mapping[str, int]]:
    return preset.tokenizer, vision_sizes(preset)


def _fires_like(lif: str) -> str | float:
    """Return the neurons of Spikingformer that stand at the same place; these stand behind the convolutions."""
    if lif.endswith(("rpe_lif", "attn.proj_lif", "fc2_lif")):
        return RESIDUAL_RATE
    stage = lif.removeprefix("patch_embed.proj_lif")
    if stage != lif:
        return f"patch_embed.proj{int(stage or 0) + 1}_lif"
    return lif.replace("fc1_lif", "mlp2_lif")


FAMILY = Family(
    name=NAME,
    title="Spikformer",
    literature=literature.SPIKFORMER,
    forms=(
        Form("imagenet", _rows("conv", (1,), (1, 1)), shared="the oldest Spikingformer checkpoints"),
        Form("dvs", _rows("conv", (1,), (1,)), shared="the oldest Spikingformer checkpoints"),
        Form("cifar", _rows("linear", (), ())),
    ),
    graph=_graph,
    sizes=_sizes,
    presets=published_sizes(NAME),
    models={"spikformer": False},
    choices={"variant": ("standard",), "tokenizer": ("imagenet", "cifar", "dvs"), "neuron": ("lif",)},
    unused=(
        "norm1", "norm2", "pos_embed", "norm",
        *(f"block.{{depth}}.{name}" for name in ("norm1", "norm2", "pos_embed", "norm")),
    ),
    fires_like=_fires_like,
    residual_rate=RESIDUAL_RATE,
)  # fmt: skip
