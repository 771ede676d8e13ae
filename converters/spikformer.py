"""Spikformer (arXiv 2209.15425): ImageNet, CIFAR (linear layers) and DVS forms.

Its residual adds spikes to spikes, so q, k, v and fc1 read small integers (up to ``2 * depth + 1``): graded spikes, not
0/1. In its ImageNet and DVS forms its keys are those of the authors' oldest
Spikingformer checkpoints too, so only ``--family`` can tell; the linear layers of the CIFAR form decide by themselves.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Literal

from evsim.converters.checkpoint import Checkpoint
from evsim.converters.facts import Facts
from evsim.converters.inputs import input_spec, is_count
from evsim.converters.parts import Builder
from evsim.converters.renames import kinds
from evsim.errors import CheckpointError, OptionError
from evsim.network import Add, Input, Network, SpikingSelfAttention, TimeMean, TokenMean

FAMILY = "spikformer"
TAU = 2.0
ATTENTION_THRESHOLD = 0.5
SCALES = {"imagenet": 0.125, "cifar": 0.125, "dvs": 0.25}
"""Factor on q k^T v, by tokenizer."""

UNUSED = ("norm1", "norm2", "pos_embed", "norm")
"""Parameters that public checkpoints hold and no forward pass reads."""

STAGES = ("", "1", "2", "3")
Layout = Literal["map", "tokens", "rows"]


_PATCH = kinds(
    " ".join(f"patch_embed.proj_conv{i}" for i in STAGES) + " patch_embed.rpe_conv",
    "",
    " ".join(f"patch_embed.proj_bn{i}" for i in STAGES) + " patch_embed.rpe_bn",
)
_NORMS = (
    "block.N.attn.q_bn block.N.attn.k_bn block.N.attn.v_bn block.N.attn.proj_bn block.N.mlp.fc1_bn block.N.mlp.fc2_bn"
)
_QKV = "block.N.attn.q_{0} block.N.attn.k_{0} block.N.attn.v_{0}"
_REST = "block.N.attn.proj_{0} block.N.mlp.fc1_{0} block.N.mlp.fc2_{0} head"
KEYS = (
    (*_PATCH, *kinds(_QKV.format("conv"), _REST.format("conv"), _NORMS)),
    (*_PATCH, *kinds("", f"{_QKV} {_REST}".format("linear"), _NORMS)),
)
"""Kinds of keys of its forms, to say how near another checkpoint is."""


def recognises(shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether the keys can be Spikformer's and no other family's: the CIFAR form."""
    return "patch_embed.rpe_conv.weight" in shapes and "block.0.attn.q_linear.weight" in shapes


def fits(shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether the keys can be Spikformer's."""
    return recognises(shapes) or (
        "patch_embed.rpe_conv.weight" in shapes
        and "block.0.mlp.fc1_conv.weight" in shapes
        and len(shapes.get("block.0.attn.q_conv.weight", ())) == 3
    )


def convert(checkpoint: Checkpoint, facts: Facts) -> Network:
    """Build the network.

    Raises
    ------
    CheckpointError, OptionError, NetworkError
        If keys are missing, unknown or misshapen, or a fact is unknown or contradicts them.
    """
    shapes = checkpoint.shapes
    _complete(checkpoint)
    channels = shapes["patch_embed.proj_conv.weight"][1]
    tokenizer = _tokenizer(facts, shapes, channels)
    if facts.options.variant == "cml":
        raise OptionError(f"--variant cml is none of {FAMILY}'s, which has standard alone; leave the option out")
    facts.find("variant", constant="standard", reason="its only one", check=lambda v: v == "standard")
    depth = 1 + max((int(m[1]) for m in (re.match(r"block\.(\d+)\.", key) for key in shapes) if m), default=-1)
    dim = shapes["patch_embed.rpe_conv.weight"][0]
    trusted = facts.trusted
    facts.agree("dim", dim, *(("dim",) if trusted else ()))
    facts.agree("depth", depth, *(("layer", "depths") if trusted else ()))
    facts.agree("classes", shapes["head.weight"][0], "num_classes")
    heads = facts.find("heads", *(("num_heads",) if trusted else ()), check=is_count)
    tau = facts.find("tau", constant=TAU, reason=f"constant of {FAMILY}", check=lambda t: 1.0 <= t < math.inf)
    spec = input_spec(facts, tokenizer, channels, trusted)
    scale = SCALES[tokenizer]
    facts.note("scale", scale, f"assumed: constant of {FAMILY}, {tokenizer}")
    facts.note("v_threshold", f"1.0, attn_lif {ATTENTION_THRESHOLD}", f"assumed: constants of {FAMILY}")
    builder = Builder(checkpoint)
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
    builder.linear("head", x, "head")
    name = f"{FAMILY}-{depth}-{dim}"
    return Network(name, FAMILY, "standard", spec, tuple(builder.nodes), builder.finish(UNUSED))


def _complete(checkpoint: Checkpoint) -> None:
    needed = [*(f"patch_embed.proj_conv{i}.weight" for i in STAGES), "patch_embed.rpe_conv.weight", "head.weight"]
    missing = [key for key in needed if key not in checkpoint.shapes]
    if missing:
        raise CheckpointError(f"{checkpoint.path} lacks {', '.join(missing)}; give the complete state_dict")
    first = checkpoint.shapes["patch_embed.proj_conv.weight"]
    if len(first) != 4:
        raise CheckpointError(
            f"{checkpoint.path}: patch_embed.proj_conv.weight has shape {list(first)}, wanted [D/8, C, 3, 3]"
        )


def _tokenizer(facts: Facts, shapes: Mapping[str, tuple[int, ...]], channels: int) -> str:
    """Find the form by the keys: linear layers are CIFAR's, two input channels or a Conv1d MLP those of DVS."""
    if "block.0.attn.q_linear.weight" in shapes:
        found = "cifar"
    else:
        found = "dvs" if channels == 2 or len(shapes["block.0.mlp.fc1_conv.weight"]) == 3 else "imagenet"
    facts.agree("tokenizer", found)
    return found


def _patch_embed(builder: Builder, x: str, tau: float, pooled: set[str]) -> str:
    """Append the tokenizer; return its sum of spikes, 0 to 2."""
    path = "patch_embed"
    for i in STAGES:
        x = builder.conv(f"{path}.proj_conv{i}", x, f"{path}.proj_conv{i}", f"{path}.proj_bn{i}", pad=1)
        x = builder.lif(f"{path}.proj_lif{i}", x, tau)
        if i in pooled:
            x = builder.pool(f"{path}.proj_pool{i}", x)
    position = builder.conv(f"{path}.rpe_conv", x, f"{path}.rpe_conv", f"{path}.rpe_bn", pad=1)
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
    if layout == "rows":
        x = builder.linear(f"{path}_linear", x, f"{path}_linear", f"{path}_bn")
    else:
        flat = len(builder.shape(f"{path}_conv.weight")) == 3
        x = builder.conv(f"{path}_conv", x, f"{path}_conv", f"{path}_bn", "Conv1d" if flat else "Conv2d")
    return builder.lif(f"{path}_lif", x, tau, layout)
