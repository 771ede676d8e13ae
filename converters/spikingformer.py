"""Spikingformer (arXiv 2304.11954): ImageNet, CIFAR and DVS tokenizers, standard and CML.

The residual stream is real-valued and read through LIF neurons, so every convolution but the first sees spikes.
CML (Conv-BN-MaxPool-LIF) pools real values before the neurons; its keys are those of the standard model.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from evsim.converters.checkpoint import Checkpoint
from evsim.converters.facts import Facts
from evsim.converters.inputs import input_spec, is_count
from evsim.converters.parts import Builder
from evsim.converters.renames import kinds
from evsim.errors import CheckpointError, OptionError
from evsim.network import Add, Input, Network, SpikingSelfAttention, TimeMean, TokenMean

FAMILY = "spikingformer"
SCALE = 0.125
ATTENTION_THRESHOLD = 0.5
UNUSED = ("norm1", "norm2")
"""LayerNorms that some checkpoints hold and no forward pass reads."""

PATCH_SIZES = {"4": "cifar", "16": "imagenet"}
"""Tokenizer by the side of the image patch that becomes one token."""

OLD_STAGES = ("proj_conv", "proj_conv1", "proj_conv2", "proj_conv3", "rpe_conv")
OLD_NORMS = ("proj_bn", "proj_bn1", "proj_bn2", "proj_bn3", "rpe_bn")


_BLOCK = kinds(
    "block.N.attn.q_conv block.N.attn.k_conv block.N.attn.v_conv",
    "block.N.attn.proj_conv block.N.mlp.mlp1_conv block.N.mlp.mlp2_conv head",
    "block.N.attn.q_bn block.N.attn.k_bn block.N.attn.v_bn "
    "block.N.attn.proj_bn block.N.mlp.mlp1_bn block.N.mlp.mlp2_bn",
)
KEYS = tuple(
    (
        *kinds(" ".join(f"patch_embed.{n}_conv" for n in names), "", " ".join(f"patch_embed.{n}_bn" for n in names)),
        *_BLOCK,
    )
    for names in (("proj", "proj1", "proj2", "proj3", "proj4"), ("block0", "block1", "block2", "block3", "block4"))
)
"""Kinds of keys of its forms, to say how near another checkpoint is."""


def recognises(shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether the keys can be Spikingformer's and no other family's."""
    return "block.0.mlp.mlp1_conv.weight" in shapes and (
        "patch_embed.proj4_conv.weight" in shapes or "patch_embed.block4_conv.weight" in shapes
    )


def fits(shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether the keys can be Spikingformer's, perhaps under the names that the oldest checkpoints have."""
    return recognises(shapes) or (
        "patch_embed.rpe_conv.weight" in shapes
        and len(shapes.get("block.0.mlp.fc1_conv.weight", ())) == 4
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
    stages = _stage_names(checkpoint)
    channels = shapes[f"patch_embed.{stages[0][1]}.weight"][1]
    tokenizer, variant = _tokenizer_and_variant(facts, stages[0][0] == "block0", channels)
    depth = 1 + max((int(m[1]) for m in (re.match(r"block\.(\d+)\.", key) for key in shapes) if m), default=-1)
    dim, classes = shapes[f"patch_embed.{stages[-1][1]}.weight"][0], shapes["head.weight"][0]
    facts.agree("dim", dim, *(("dim",) if facts.trusted else ()))
    facts.agree("depth", depth, *(("layer", "depths") if facts.trusted else ()))
    facts.agree("classes", classes, "num_classes")
    events = tokenizer == "dvs"
    heads = facts.find("heads", *(("num_heads",) if facts.trusted else ()), check=is_count)
    tau = facts.find(
        "tau", constant=(1.75 if variant == "cml" else 1.5) if events else 2.0,
        reason=f"constant of {FAMILY}, {tokenizer} tokenizer, {variant}", check=lambda t: 1.0 <= t < math.inf,
    )  # fmt: skip
    spec = input_spec(facts, tokenizer, channels, facts.trusted)
    builder = Builder(checkpoint)
    x = builder.add(Input("input", (), channels, spec.height, spec.width, "integers" if events else "real"))
    pooled = {3, 4} if tokenizer == "cifar" else {1, 2, 3, 4}
    for index, (name, conv, norm) in enumerate(stages):
        path = f"patch_embed.{name}"
        if index in pooled and variant == "cml":
            x = builder.pool(f"{path}_pool", x)
        if index:
            x = builder.lif(f"{path}_lif", x, tau)
        if index in pooled and variant == "standard":
            x = builder.pool(f"{path}_pool", x)
        x = builder.conv(f"{path}_conv", x, f"patch_embed.{conv}", f"patch_embed.{norm}", pad=1)
    facts.note("scale", SCALE, f"assumed: constant of {FAMILY}")
    facts.note("v_threshold", f"1.0, attn_lif {ATTENTION_THRESHOLD}", f"assumed: constants of {FAMILY}")
    for block in range(depth):
        x = _attention(builder, f"block.{block}.attn", x, heads, tau, "q(kv)" if tokenizer == "imagenet" else "(qk)v")
        x = _mlp(builder, f"block.{block}.mlp", x, tau)
    x = builder.add(TokenMean("token_mean", (x,)))
    x = builder.add(TimeMean("time_mean", (x,)))
    builder.linear("head", x, "head")
    name = f"{FAMILY}-{depth}-{dim}" + ("-cml" if variant == "cml" else "")
    return Network(name, FAMILY, variant, spec, tuple(builder.nodes), builder.finish(UNUSED))


def _stage_names(checkpoint: Checkpoint) -> list[tuple[str, str, str]]:
    """Name, key of the convolution and key of the BatchNorm of each stage of the tokenizer."""
    shapes = checkpoint.shapes
    if "patch_embed.rpe_conv.weight" in shapes:
        names = ("proj", "proj1", "proj2", "proj3", "proj4")
        stages = list(zip(names, OLD_STAGES, OLD_NORMS, strict=True))
    else:
        prefix = "block" if "patch_embed.block0_conv.weight" in shapes else "proj"
        first = "block0" if prefix == "block" else "proj"
        stages = [(n, f"{n}_conv", f"{n}_bn") for n in (first, *(f"{prefix}{i}" for i in range(1, 5)))]
    wanted = {f"patch_embed.{conv}.weight": 4 for _, conv, _ in stages} | {"head.weight": 2}
    for key, axes in wanted.items():
        if len(shapes.get(key, ())) != axes:
            found = f"has {key} of shape {list(shapes[key])}, not of {axes} axes" if key in shapes else f"lacks {key}"
            raise CheckpointError(f"{checkpoint.path} {found}; give the complete state_dict of a {FAMILY}")
    return stages


def _tokenizer_and_variant(facts: Facts, block_names: bool, channels: int) -> tuple[str, str]:
    """Find what the keys are; where they leave it open, option, preset and arguments decide.

    Keys named block0.. are the CIFAR tokenizer's, two input channels the DVS tokenizer's. Keys named proj.. of a
    standard model are the ImageNet tokenizer's, of CML they are either's.
    """
    if block_names or channels == 2:
        facts.agree("tokenizer", "cifar" if block_names else "dvs")
        return ("cifar" if block_names else "dvs"), _variant(facts)
    chosen, source = facts.told("tokenizer")
    patched = PATCH_SIZES.get(str(facts.args.get("patch_size"))) if facts.trusted else None
    said = f"args.patch_size is {facts.args.get('patch_size')}"
    if chosen == "dvs":
        raise OptionError(
            f"tokenizer dvs ({source}) contradicts the weights, which take {channels} channels, not 2: "
            "give --tokenizer imagenet or cifar"
        )
    if chosen is not None:
        tokenizer = str(chosen)
        facts.note("tokenizer", tokenizer, source + (f", though {said}" if patched not in (None, tokenizer) else ""))
    elif patched is not None:
        tokenizer = patched
        facts.note("tokenizer", tokenizer, f"from the checkpoint's args.patch_size {facts.args['patch_size']}")
    elif facts.told("variant")[0] == "cml" and 32 in (facts.options.image_size, facts.args.get("img_size")):
        raise OptionError("on images of 32 x 32 the keys of CML may be either tokenizer's: give --tokenizer cifar")
    elif facts.told("variant")[0] == "cml":
        tokenizer = "imagenet"
        facts.note("tokenizer", tokenizer, "assumed: CML has the same keys on ImageNet and CIFAR; --tokenizer cifar")
    else:
        tokenizer = "imagenet"
        facts.note("tokenizer", tokenizer, "from the keys, which are those of a standard ImageNet model")
    if tokenizer == "imagenet":
        return tokenizer, _variant(facts)
    if facts.told("variant")[0] not in (None, "cml"):
        raise OptionError("keys named proj..proj4 with the CIFAR tokenizer are the CML variant: give --variant cml")
    facts.note("variant", "cml", "from the keys: the standard CIFAR tokenizer has other names")
    return tokenizer, "cml"


def _variant(facts: Facts) -> str:
    return str(
        facts.find(
            "variant", constant="standard", reason="keys cannot tell; --variant cml if it pools before the LIF",
            check=lambda v: v in ("standard", "cml"),
        )
    )  # fmt: skip


def _attention(builder: Builder, path: str, x: str, heads: int, tau: float, order: str) -> str:
    """Append a block's attention and its residual addition."""
    spikes = builder.lif(f"{path}.proj_lif", x, tau)
    qkv = []
    for letter in "qkv":
        key = f"{path}.{letter}"
        conv = builder.conv(f"{key}_conv", spikes, f"{key}_conv", f"{key}_bn", "Conv1d")
        qkv.append(builder.lif(f"{key}_lif", conv, tau, "tokens"))
    ssa = builder.add(SpikingSelfAttention(f"{path}.ssa", tuple(qkv), heads, SCALE, order))  # type: ignore[arg-type]
    fired = builder.lif(f"{path}.attn_lif", ssa, tau, "tokens", ATTENTION_THRESHOLD)
    out = builder.conv(f"{path}.proj_conv", fired, f"{path}.proj_conv", f"{path}.proj_bn", "Conv1d")
    return builder.add(Add(f"{path}.add", (x, out)))


def _mlp(builder: Builder, path: str, x: str, tau: float) -> str:
    """Append a block's MLP and its residual addition; the oldest checkpoints say fc1 for mlp1."""
    old = f"{path}.fc1_conv.weight" in builder.checkpoint.shapes
    y = x
    for i in (1, 2):
        key = f"{path}.fc{i}" if old else f"{path}.mlp{i}"
        y = builder.lif(f"{path}.mlp{i}_lif", y, tau)
        y = builder.conv(f"{path}.mlp{i}_conv", y, f"{key}_conv", f"{key}_bn")
    return builder.add(Add(f"{path}.add", (x, y)))
