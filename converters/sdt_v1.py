"""Spike-driven Transformer V1 (arXiv 2307.01694): images and events, LIF or PLIF, with and without dvs mode.

A membrane shortcut, as Spikingformer's, and attention without products: k AND v, summed over the tokens of a channel,
makes neurons fire that let the channel of q through. In dvs mode a max-pool 3 x 3 widens k and v on their maps, and
k AND v and the masked q on the plane of each head's tokens and channels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from evsim.converters import literature
from evsim.converters.facts import Facts
from evsim.converters.family import Family
from evsim.converters.inputs import Published, input_spec
from evsim.converters.parts import Builder
from evsim.converters.presets import CIFAR10, IMAGENET, Preset, vision_sizes
from evsim.converters.table import Form, Row, named
from evsim.errors import CheckpointError
from evsim.network import Network
from evsim.primitives import Add, And, Input, Mask, MaxPool, TimeMean, TokenMean, TokenSum

NAME = "sdt-v1"
TAU = 2.0
ATTENTION_THRESHOLD = 0.5
IMAGENET_CROP = 0.95

SIZES = {"cifar": 32}
"""Image size by tokenizer; event models are published in two."""

RESIDUAL_RATE = 0.15
"""Rate of the neurons that read the mean over the tokens of the residual stream, for which none is published."""

STAGES = ("", "1", "2", "3")

DVS_MODE = ("cifar10-dvs", "cifar10-dvs-tet")
"""Data sets on which alone the authors' script turns the dvs mode on."""

CIFAR100 = ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761))
"""Mean and standard deviation of CIFAR-100's channels in the authors' files."""


def _rows() -> Iterator[Row]:
    """Yield the table; nothing reads the weights of `talking_heads`, whose shape alone tells the heads."""
    widths = ("channels", "width1", "width2", "width3", "dim")
    for stage, i in enumerate(STAGES):
        yield Row(f"patch_embed.proj_conv{i}", (widths[stage + 1], widths[stage], 3, 3), f"proj_bn{i}")
    yield Row("patch_embed.rpe_conv", ("dim", "dim", 3, 3), "rpe_bn")
    block = "block.{depth}"
    for x in ("q", "k", "v", "proj"):
        yield Row(f"{block}.attn.{x}_conv", ("dim", "dim", 1, 1), f"{x}_bn", bias=x == "proj")
    yield Row(f"{block}.attn.talking_heads", ("heads", "heads", 1))
    yield Row(f"{block}.mlp.fc1_conv", ("hidden", "dim", 1, 1), "fc1_bn", bias=True)
    yield Row(f"{block}.mlp.fc2_conv", ("dim", "hidden", 1, 1), "fc2_bn", bias=True)
    yield Row("head", ("classes", "dim"), bias=True)


def _graph(builder: Builder, facts: Facts) -> Network:
    sizes = builder.sizes
    channels, depth, dim, heads = (sizes[name] for name in ("channels", "depth", "dim", "heads"))
    facts.find("variant", constant="standard", reason="its only one", check=lambda v: v == "standard")
    facts.agree("dim", dim, "dim")
    facts.agree("depth", depth, "layer", "depths")
    facts.agree("classes", sizes["classes"], anyway=("num_classes",))
    facts.agree("heads", heads, "num_heads")
    ratio = sizes["hidden"] / dim
    facts.agree("mlp_ratio", int(ratio) if ratio.is_integer() else ratio)
    neuron = "plif" if any(key.endswith("_lif.w") for key in builder.checkpoint.shapes) else "lif"
    facts.agree("neuron", neuron, "spike_mode")
    pooling = facts.find("pooling_stat", "pooling_stat", check=lambda stat: stat in FAMILY.choices["pooling_stat"])
    dvs_mode = _dvs_mode(facts)
    tokenizer = _tokenizer(facts, channels, pooling)
    tau = TAU
    if neuron == "lif":
        tau = facts.find("tau", constant=TAU, reason=f"constant of {NAME}", check=lambda t: 1.0 <= t < math.inf)
    else:
        facts.refuse("means nothing for PLIF neurons, whose time constants are trained", "tau")
    crop = IMAGENET_CROP if tokenizer == "imagenet" else None
    spec = input_spec(facts, tokenizer, channels, Published(SIZES, crop=crop))
    facts.note("v_threshold", f"1.0, talking_heads_lif {ATTENTION_THRESHOLD}", f"assumed: constants of {NAME}")
    kind = "integers" if tokenizer == "dvs" else "real"
    x = builder.add(Input("input", (), channels, spec.height, spec.width, kind))  # type: ignore[arg-type]
    x = _patch_embed(builder, x, tau, pooling)
    for block in range(depth):
        path = f"block.{block}"
        x = _attention(builder, f"{path}.attn", x, tau, dvs_mode)
        x = _mlp(builder, f"{path}.mlp", x, tau)
    x = builder.add(TokenMean("token_mean", (x,)))
    x = builder.lif("head_lif", x, tau, "rows", view=(dim,))
    builder.add(TimeMean("time_mean", (builder.layer("head", x),)))
    _check_neurons(builder, neuron)
    weights = builder.finish(FAMILY.unused)
    return Network(f"{NAME}-{depth}-{dim}", NAME, "standard", spec, tuple(builder.nodes), weights)


def _dvs_mode(facts: Facts) -> bool:
    """Return whether attention pools: told, or by the data set as the authors' script turns it on."""
    data = facts.args.get("dataset")
    reason = f"args.dataset is {data}" if data else "off in all published models but those of CIFAR10-DVS"
    mode: bool = facts.find(
        "dvs_mode", "dvs_mode", constant=str(data).lower() in DVS_MODE, reason=reason, check=lambda m: type(m) is bool
    )
    return mode


def _tokenizer(facts: Facts, channels: int, pooling: str) -> str:
    """Return which data set's input it takes: two channels are events; pictures are ImageNet's or CIFAR's."""
    if channels == 2:
        facts.agree("tokenizer", "dvs")
        return "dvs"
    data = str(facts.args.get("dataset") or "")
    if data and facts.trusted:
        likely, reason = "cifar" if "cifar" in data.lower() else "imagenet", f"args.dataset is {data}"
    else:
        likely = "cifar" if pooling == "0011" else "imagenet"
        reason = f"the published models that pool {pooling} are {likely}'s"
        if pooling not in ("0011", "1111"):
            reason = "no published model of images pools so"
    tokenizer: str = facts.find("tokenizer", constant=likely, reason=reason, check=lambda t: t in ("imagenet", "cifar"))
    return tokenizer


def _patch_embed(builder: Builder, x: str, tau: float, pooling: str) -> str:
    """Append the tokenizer: three stages pool spikes, the last real values, from which the shortcut goes."""
    path = "patch_embed"
    for i, pools in zip(STAGES, pooling, strict=True):
        x = builder.layer(f"{path}.proj_conv{i}", x, padding=1)
        if i != STAGES[-1]:
            x = builder.lif(f"{path}.proj_lif{i}", x, tau)
        if pools == "1":
            x = builder.pool(f"{path}.maxpool{i}", x)
    fired = builder.lif(f"{path}.proj_lif3", x, tau)
    return builder.add(Add(f"{path}.add", (x, builder.layer(f"{path}.rpe_conv", fired, padding=1))))


def _attention(builder: Builder, path: str, x: str, tau: float, dvs_mode: bool) -> str:
    """Append spike-driven self-attention, whose row shows what meets and what is let through, and the shortcut."""
    heads, width = builder.sizes["heads"], builder.sizes["dim"] // builder.sizes["heads"]
    fired = builder.lif(f"{path}.shortcut_lif", x, tau)
    q, k, v = (
        builder.lif(f"{path}.{letter}_lif", builder.layer(f"{path}.{letter}_conv", fired), tau) for letter in "qkv"
    )

    def pool(letters: str, spikes: str, plane_of_heads: int = 0) -> str:
        """Append the pool of dvs mode; without it return the spikes as they are."""
        node = MaxPool(f"{path}.{letters}_pool", (spikes,), 3, 1, 1, plane_of_heads)
        return builder.add(node) if dvs_mode else spikes

    k, v = pool("k", k), pool("v", v)
    both = builder.add(And(f"{path}.kv", (k, v)))
    summed = pool("kv", both, heads)
    mask, masked = f"{path}.talking_heads_lif", f"{path}.mask"
    read = f"{path}.x_pool" if dvs_mode else masked
    shown = (
        ("k_spikes", k), ("v_spikes", v), ("q_spikes", q), ("kv_coincidences", both), ("kv_after_erode_summed", summed),
        ("mask_spikes", mask), ("masked_q_spikes", masked), ("proj_input_spikes", read),
    )  # fmt: skip
    total = builder.add(TokenSum(path, (summed,), heads, shown))
    builder.lif(mask, total, tau, "tokens", ATTENTION_THRESHOLD, (heads, 1, width))
    pool("x", builder.add(Mask(masked, (q, mask))), heads)
    return builder.add(Add(f"{path}.add", (x, builder.layer(f"{path}.proj_conv", read))))


def _mlp(builder: Builder, path: str, x: str, tau: float) -> str:
    """Append a block's MLP; one that does not widen adds the shortcut to its first layer too and goes on from there."""
    hidden = builder.layer(f"{path}.fc1_conv", builder.lif(f"{path}.fc1_lif", x, tau))
    if builder.sizes["hidden"] == builder.sizes["dim"]:
        x = hidden = builder.add(Add(f"{path}.res", (x, hidden)))
    y = builder.layer(f"{path}.fc2_conv", builder.lif(f"{path}.fc2_lif", hidden, tau))
    return builder.add(Add(f"{path}.add", (x, y)))


def _check_neurons(builder: Builder, neuron: str) -> None:
    """Refuse a checkpoint that has the time constants of some neurons alone: the authors' models have all or none."""
    missing = [f"{node.name}.w" for node in builder.nodes if getattr(node, "parametric", None) is False]
    if neuron == "plif" and missing:
        raise CheckpointError(f"{builder.checkpoint.path} lacks {named(missing)}; give the complete state_dict")


def _sizes(preset: Preset) -> tuple[str, Mapping[str, int]]:
    sizes = vision_sizes(preset)
    del sizes["width4"]
    return NAME, sizes | {"heads": preset.heads, "hidden": preset.mlp_ratio * preset.dim}


def _presets() -> Iterator[tuple[str, Preset]]:
    """Yield what the authors publish; their file for ImageNet that is named 10_384 says a dimension of 512."""

    def images(tokenizer: str, dim: int, depth: int, classes: int, stats: tuple[tuple[float, ...], ...]) -> Preset:
        imagenet = tokenizer == "imagenet"
        size, pooling = (224, "1111") if imagenet else (32, "0011")
        return Preset(
            tokenizer, dim, depth, 8, 4, classes, size, NAME, mean=stats[0], std=stats[1], pooling_stat=pooling,
            dvs_mode=False,
        )  # fmt: skip

    for depth, dim in ((8, 384), (6, 512), (8, 512), (10, 512), (8, 768)):
        yield f"{depth}-{dim}", images("imagenet", dim, depth, 1000, IMAGENET)
    for dim in (256, 512):
        yield f"2-{dim}-cifar10", images("cifar", dim, 2, 10, CIFAR10)
        yield f"2-{dim}-cifar100", images("cifar", dim, 2, 100, CIFAR100)
    yield "2-256-cifar10dvs", Preset("dvs", 256, 2, 8, 10, 10, 64, NAME, pooling_stat="0011", dvs_mode=True)
    yield "2-256-dvs128", Preset("dvs", 256, 2, 8, 16, 11, 128, NAME, pooling_stat="0111", dvs_mode=False)


def _fires_like(lif: str) -> str | float:
    """Return the neurons of Spikingformer that stand at the same place, which has none behind the mean over tokens."""
    if lif == "head_lif":
        return RESIDUAL_RATE
    stage = lif.removeprefix("patch_embed.proj_lif")
    if stage != lif:
        return f"patch_embed.proj{int(stage or 0) + 1}_lif"
    for own, like in (("shortcut_lif", "proj_lif"), ("fc1_lif", "mlp1_lif"), ("fc2_lif", "mlp2_lif")):
        lif = lif.replace(own, like)
    return lif


FAMILY = Family(
    name=NAME,
    title="Spike-driven Transformer",
    literature=literature.SDT_V1,
    forms=(Form(NAME, tuple(_rows())),),
    graph=_graph,
    sizes=_sizes,
    presets={f"sdt-{name}": preset for name, preset in _presets()},
    models={"sdt": False},
    choices={
        "variant": ("standard",), "tokenizer": ("imagenet", "cifar", "dvs"), "neuron": ("lif", "plif"),
        "pooling_stat": tuple(f"{stages:04b}" for stages in range(16)), "dvs_mode": (True, False),
    },
    unused=(
        "block.{depth}.attn.talking_heads", "block.{depth}.attn.attn_lif", "patch_embed.rpe_lif",
    ),
    fires_like=_fires_like,
    residual_rate=RESIDUAL_RATE,
)  # fmt: skip
