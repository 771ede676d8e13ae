"""Spikingformer (arXiv 2304.11954): ImageNet, CIFAR and DVS tokenizers, standard and CML.

The residual stream is real-valued and read through LIF neurons, so every convolution but the first sees spikes.
CML (Conv-BN-MaxPool-LIF) pools real values before the neurons; its keys are those of the standard model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from evsim.converters import literature
from evsim.converters.facts import Facts
from evsim.converters.family import Family
from evsim.converters.inputs import input_spec, is_count
from evsim.converters.parts import Builder
from evsim.converters.presets import Preset, published_sizes, vision_sizes
from evsim.converters.table import Form, Row
from evsim.errors import OptionError
from evsim.network import Add, Input, Network, SpikingSelfAttention, TimeMean, TokenMean

NAME = "spikingformer"
SCALE = 0.125
ATTENTION_THRESHOLD = 0.5

PATCH_SIZES = {"4": "cifar", "16": "imagenet"}
"""Tokenizer by the side of the image patch that becomes one token."""

WIDTHS = ("channels", "width1", "width2", "width3", "width4", "dim")
"""Sizes between which the convolutions of the tokenizer stand."""

STAGES = {"proj": ("proj", "proj1", "proj2", "proj3", "proj4"), "block": tuple(f"block{i}" for i in range(5))}
"""Names of the tokenizer's stages, by the form of the keys."""

OLD_STAGES = ("proj_conv", "proj_conv1", "proj_conv2", "proj_conv3", "rpe_conv")
"""Keys of the tokenizer in the oldest checkpoints; its nodes are named as today's."""


def _rows(stages: tuple[str, ...], old: bool = False) -> tuple[Row, ...]:
    """Return the table for these names of the tokenizer's stages; the oldest checkpoints say fc1 for mlp1."""
    rows = []
    for i, stage in enumerate(stages):
        shape = (WIDTHS[i + 1], WIDTHS[i], 3, 3)
        key = OLD_STAGES[i] if old else f"{stage}_conv"
        rows.append(Row(f"patch_embed.{stage}_conv", shape, key.replace("conv", "bn"), key=f"patch_embed.{key}"))
    block = "block.{depth}"
    rows += [Row(f"{block}.attn.{x}_conv", ("dim", "dim", 1), f"{x}_bn") for x in "qkv"]
    rows.append(Row(f"{block}.attn.proj_conv", ("dim", "dim", 1), "proj_bn", bias=True))
    for number, sides in (("1", ("hidden", "dim")), ("2", ("dim", "hidden"))):
        name = f"{'fc' if old else 'mlp'}{number}"
        key = f"{block}.mlp.{name}_conv"
        rows.append(Row(f"{block}.mlp.mlp{number}_conv", (*sides, 1, 1), f"{name}_bn", bias=True, key=key))
    return (*rows, Row("head", ("classes", "dim"), bias=True))


def _graph(builder: Builder, facts: Facts) -> Network:
    sizes = builder.sizes
    channels, depth, dim = sizes["channels"], sizes["depth"], sizes["dim"]
    tokenizer, variant = _tokenizer_and_variant(facts, builder.form.name == "block", channels)
    facts.agree("dim", dim, "dim")
    facts.agree("depth", depth, "layer", "depths")
    facts.agree("classes", sizes["classes"], anyway=("num_classes",))
    events = tokenizer == "dvs"
    heads = facts.find("heads", "num_heads", check=is_count)
    tau = facts.find(
        "tau", constant=(1.75 if variant == "cml" else 1.5) if events else 2.0,
        reason=f"constant of {NAME}, {tokenizer} tokenizer, {variant}", check=lambda t: 1.0 <= t < math.inf,
    )  # fmt: skip
    spec = input_spec(facts, tokenizer, channels)
    x = builder.add(Input("input", (), channels, spec.height, spec.width, "integers" if events else "real"))
    pooled = {3, 4} if tokenizer == "cifar" else {1, 2, 3, 4}
    for index, name in enumerate(STAGES["block" if builder.form.name == "block" else "proj"]):
        path = f"patch_embed.{name}"
        if index in pooled and variant == "cml":
            x = builder.pool(f"{path}_pool", x)
        if index:
            x = builder.lif(f"{path}_lif", x, tau)
        if index in pooled and variant == "standard":
            x = builder.pool(f"{path}_pool", x)
        x = builder.layer(f"{path}_conv", x, padding=1)
    facts.note("scale", SCALE, f"assumed: constant of {NAME}")
    facts.note("v_threshold", f"1.0, attn_lif {ATTENTION_THRESHOLD}", f"assumed: constants of {NAME}")
    for block in range(depth):
        x = _attention(builder, f"block.{block}.attn", x, heads, tau, "q(kv)" if tokenizer == "imagenet" else "(qk)v")
        x = _mlp(builder, f"block.{block}.mlp", x, tau)
    x = builder.add(TokenMean("token_mean", (x,)))
    x = builder.add(TimeMean("time_mean", (x,)))
    builder.layer("head", x)
    name = f"{NAME}-{depth}-{dim}" + ("-cml" if variant == "cml" else "")
    return Network(name, NAME, variant, spec, tuple(builder.nodes), builder.finish(FAMILY.unused))


def _tokenizer_and_variant(facts: Facts, block_names: bool, channels: int) -> tuple[str, str]:
    """Find what the keys are; where they leave it open, option, preset and arguments decide.

    Keys named block0.. are the CIFAR tokenizer's, two input channels the DVS tokenizer's. Keys named proj.. of a
    standard model are the ImageNet tokenizer's, of CML they are either's.
    """
    if block_names or channels == 2:
        tokenizer = "cifar" if block_names else "dvs"
        facts.agree("tokenizer", tokenizer)
        return tokenizer, _variant(facts)
    chosen, source = facts.stated("tokenizer")
    patched = PATCH_SIZES.get(str(facts.args.get("patch_size"))) if facts.trusted else None
    said = f"args.patch_size is {facts.args.get('patch_size')}"
    if chosen == "dvs":
        raise OptionError(
            f"tokenizer dvs ({source}) contradicts the weights, which take {channels} channels, not 2: "
            "give `tokenizer=imagenet` or cifar"
        )
    if chosen is not None:
        tokenizer = str(chosen)
        facts.note("tokenizer", tokenizer, source + (f", though {said}" if patched not in (None, tokenizer) else ""))
    elif patched is not None:
        tokenizer = patched
        facts.note("tokenizer", tokenizer, f"from the checkpoint's args.patch_size {facts.args['patch_size']}")
    elif facts.stated("variant")[0] == "cml" and 32 in (facts.options.image_size, facts.args.get("img_size")):
        raise OptionError("on images of 32 x 32 the keys of CML may be either tokenizer's: give `tokenizer=cifar`")
    elif facts.stated("variant")[0] == "cml":
        tokenizer = "imagenet"
        facts.note("tokenizer", tokenizer, "assumed: CML has the same keys on ImageNet and CIFAR; `tokenizer=cifar`")
    else:
        tokenizer = "imagenet"
        facts.note("tokenizer", tokenizer, "from the keys, which are those of a standard ImageNet model")
    if tokenizer == "imagenet":
        return tokenizer, _variant(facts)
    if facts.stated("variant")[0] not in (None, "cml"):
        raise OptionError("keys named proj..proj4 with the CIFAR tokenizer are the CML variant: give `variant=cml`")
    facts.note("variant", "cml", "from the keys: the standard CIFAR tokenizer has other names")
    return tokenizer, "cml"


def _variant(facts: Facts) -> str:
    return str(
        facts.find(
            "variant", constant="standard", reason="keys cannot tell; `variant=cml` if it pools before the LIF",
            check=lambda v: v in FAMILY.choices["variant"],
        )
    )  # fmt: skip


def _attention(builder: Builder, path: str, x: str, heads: int, tau: float, order: str) -> str:
    """Append a block's attention and its residual addition."""
    spikes = builder.lif(f"{path}.proj_lif", x, tau)
    qkv = []
    for letter in "qkv":
        conv = builder.layer(f"{path}.{letter}_conv", spikes)
        qkv.append(builder.lif(f"{path}.{letter}_lif", conv, tau, "tokens"))
    ssa = builder.add(SpikingSelfAttention(f"{path}.ssa", tuple(qkv), heads, SCALE, order))  # type: ignore[arg-type]
    fired = builder.lif(f"{path}.attn_lif", ssa, tau, "tokens", ATTENTION_THRESHOLD)
    out = builder.layer(f"{path}.proj_conv", fired)
    return builder.add(Add(f"{path}.add", (x, out)))


def _mlp(builder: Builder, path: str, x: str, tau: float) -> str:
    """Append a block's MLP and its residual addition."""
    y = x
    for i in (1, 2):
        y = builder.lif(f"{path}.mlp{i}_lif", y, tau)
        y = builder.layer(f"{path}.mlp{i}_conv", y)
    return builder.add(Add(f"{path}.add", (x, y)))


def _sizes(preset: Preset) -> tuple[str, Mapping[str, int]]:
    block = preset.tokenizer == "cifar" and preset.variant == "standard"
    return "block" if block else "proj", vision_sizes(preset)


FAMILY = Family(
    name=NAME,
    title="Spikingformer",
    literature=literature.SPIKINGFORMER,
    forms=(
        Form("proj", _rows(STAGES["proj"])),
        Form("block", _rows(STAGES["block"])),
        Form("old", _rows(STAGES["proj"], old=True), shared="Spikformer"),
    ),
    graph=_graph,
    sizes=_sizes,
    presets=published_sizes(NAME) | published_sizes(NAME, "cml"),
    models={"spikingformer": True, "vitsnn": True},
    choices={"variant": ("standard", "cml"), "tokenizer": ("imagenet", "cifar", "dvs"), "neuron": ("lif",)},
    unused=("norm1", "norm2", "block.{depth}.norm1", "block.{depth}.norm2"),
    fires_like=lambda lif: lif,
)
