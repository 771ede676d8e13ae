"""Spikingformer (arXiv 2304.11954): ImageNet, CIFAR and DVS tokenizers, standard and CML.

The residual stream is real-valued and read through LIF neurons, so every convolution but the first sees spikes.
CML (Conv-BN-MaxPool-LIF) pools real values before the neurons; its keys are those of the standard model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from evsim.converters.checkpoint import Checkpoint
from evsim.converters.facts import Facts
from evsim.converters.inputs import input_spec
from evsim.converters.parts import Builder
from evsim.errors import CheckpointError, OptionError
from evsim.network import Add, Input, Network, SpikingSelfAttention, TimeMean, TokenMean

FAMILY = "spikingformer"
SCALE = 0.125
ATTENTION_THRESHOLD = 0.5
UNUSED = ("norm1", "norm2")
"""LayerNorms that some checkpoints hold and no forward pass reads."""

OLD_STAGES = ("proj_conv", "proj_conv1", "proj_conv2", "proj_conv3", "rpe_conv")
OLD_NORMS = ("proj_bn", "proj_bn1", "proj_bn2", "proj_bn3", "rpe_bn")


def recognises(shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether the keys can be Spikingformer's and no other family's."""
    return "block.0.mlp.mlp1_conv.weight" in shapes and (
        "patch_embed.proj4_conv.weight" in shapes or "patch_embed.block4_conv.weight" in shapes
    )


def fits(shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether the keys can be Spikingformer's, perhaps under the names that the oldest checkpoints have."""
    return recognises(shapes) or (
        "block.0.mlp.fc1_conv.weight" in shapes
        and "patch_embed.rpe_conv.weight" in shapes
        and len(shapes["block.0.mlp.fc1_conv.weight"]) == 4
    )


def convert(checkpoint: Checkpoint, facts: Facts) -> Network:
    """Build the network.

    Raises
    ------
    CheckpointError, OptionError, NetworkError
        If keys are missing, unknown or misshapen, or a fact is unknown or contradicts them.
    """
    shapes = checkpoint.shapes
    stages = _stage_names(shapes)
    first = shapes[f"patch_embed.{stages[0][1]}.weight"]
    tokenizer = _tokenizer(facts, stages, first)
    variant = facts.find(
        "variant", constant="standard", reason="keys cannot tell; --variant cml if it pools before the LIF",
        check=lambda v: v in ("standard", "cml"),
    )  # fmt: skip
    if tokenizer == "cifar" and stages[0][0] == "proj" and variant != "cml":
        raise OptionError("keys named proj..proj4 with the CIFAR tokenizer are the CML variant: give --variant cml")
    depth = 1 + max((int(m[1]) for m in (re.match(r"block\.(\d+)\.", key) for key in shapes) if m), default=-1)
    dim = shapes[f"patch_embed.{stages[-1][1]}.weight"][0]
    trusted = facts.args.get("model") in (FAMILY, "vitsnn")
    facts.agree("dim", dim, *(("dim",) if trusted else ()))
    facts.agree("depth", depth, *(("layer", "depths") if trusted else ()))
    events = tokenizer == "dvs"
    heads = facts.find("heads", *(("num_heads",) if trusted else ()), check=lambda h: isinstance(h, int) and h > 0)
    tau = facts.find(
        "tau", constant=(1.75 if variant == "cml" else 1.5) if events else 2.0,
        reason=f"constant of {FAMILY}, {tokenizer} tokenizer, {variant}", check=lambda t: t >= 1.0,
    )  # fmt: skip
    spec = input_spec(facts, tokenizer, first[1], trusted)
    builder = Builder(checkpoint)
    x = builder.add(Input("input", (), first[1], spec.height, spec.width, "integers" if events else "real"))
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
    facts.note("classes", shapes["head.weight"][0], "from the keys")
    name = f"{FAMILY}-{depth}-{dim}" + ("-cml" if variant == "cml" else "")
    return Network(name, FAMILY, variant, spec, tuple(builder.nodes), builder.finish(UNUSED))


def _stage_names(shapes: Mapping[str, tuple[int, ...]]) -> list[tuple[str, str, str]]:
    """Name, key of the convolution and key of the BatchNorm of each stage of the tokenizer."""
    if "patch_embed.rpe_conv.weight" in shapes:
        names = ("proj", "proj1", "proj2", "proj3", "proj4")
        stages = list(zip(names, OLD_STAGES, OLD_NORMS, strict=True))
    else:
        prefix = "block" if "patch_embed.block0_conv.weight" in shapes else "proj"
        first = "block0" if prefix == "block" else "proj"
        stages = [(n, f"{n}_conv", f"{n}_bn") for n in (first, *(f"{prefix}{i}" for i in range(1, 5)))]
    missing = [conv for _, conv, _ in stages if f"patch_embed.{conv}.weight" not in shapes]
    missing += [] if "head.weight" in shapes else ["head"]
    if missing:
        raise CheckpointError(f"the checkpoint lacks weights of {', '.join(missing)}; give the complete state_dict")
    return stages


def _tokenizer(facts: Facts, stages: list[tuple[str, str, str]], first: tuple[int, ...]) -> str:
    """Find which tokenizer the keys are; an option may only decide where they leave it open."""
    by_keys = "cifar" if stages[0][0] == "block0" else "dvs" if first[1] == 2 else None
    if by_keys is None and facts.args.get("patch_size") == 4:
        by_keys, source = "cifar", "from the checkpoint's args.patch_size"
    else:
        source = "from the keys"
    chosen = facts.options.tokenizer
    if chosen is not None and chosen not in ("imagenet", "cifar", "dvs"):
        raise OptionError(f"--tokenizer must be imagenet, cifar or dvs, got {chosen}")
    if by_keys is None:
        return str(
            facts.find("tokenizer", constant="imagenet", reason="its key names; --tokenizer cifar if CML on CIFAR")
        )
    if chosen not in (None, by_keys):
        raise OptionError(f"--tokenizer {chosen} contradicts the checkpoint, whose tokenizer is {by_keys}")
    facts.note("tokenizer", by_keys, source)
    return by_keys


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
