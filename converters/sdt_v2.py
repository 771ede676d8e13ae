"""Spike-driven Transformer V2, Meta-SpikeFormer (BICLab/Spike-Driven-Transformer-V2, classification/models.py).

The residual stream is real-valued and read through LIF neurons throughout. Two layers would read real values all the
same: RepConv, which is written as three convolutions and is one of 3 x 3, and the pointwise convolution behind each
depthwise one. RepConv is folded unless `fold` says no. The depthwise pair stays apart: folded to a dense 7 x 7 it
would cost more than it does apart, at all but the lowest rates.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import partial

from evsim.converters import literature
from evsim.converters.affine import normalised, parts_of
from evsim.converters.facts import Facts
from evsim.converters.family import Family
from evsim.converters.folding import average, stack, weighted
from evsim.converters.inputs import Published, input_spec, is_count, mae_crop
from evsim.converters.parts import Builder
from evsim.converters.presets import IMAGENET, Preset
from evsim.converters.table import Form, Row
from evsim.errors import OptionError
from evsim.network import Add, Input, Network, SpikingSelfAttention, TimeMean, TokenMean
from evsim.primitives import Pad

NAME = "sdt-v2"
TAU = 2.0
ATTENTION_THRESHOLD = 0.5
SCALE = 0.125
MLP_RATIO = 4
DEPTHS = (6, 2)
"""Blocks of the third and the fourth stage in all published models."""

STEM = (("1_1", ("1_1",)), ("1_2", ("1_2",)), ("2", ("2_1", "2_2")))
"""Downsampling layers of the convolutional stages, with the blocks behind each."""

WIDTHS = {
    "1_1": "width0",
    "1_2": "width1",
    "2": "width2",
    "2_1": "width2",
    "2_2": "width2",
    "3": "width3",
    "4": "width4",
}
"""Size of the table that counts the channels of a downsampling layer or block."""


def downsampling(name: str, source: str, kernel: int = 3) -> Row:
    """Return the row of a downsampling layer, which V3 shares."""
    path = f"downsample{name}"
    return Row(f"{path}.encode_conv", (WIDTHS[name], source, kernel, kernel), "encode_bn", bias=True)


def _rows(kd: bool) -> tuple[Row, ...]:
    rows = list(_stem_rows())
    for stage in (3, 4):
        width, path = f"width{stage}", f"block{stage}.{{depth{stage}}}"
        if stage == 4:
            rows.append(downsampling("4", "width3"))
        for x in ("q", "k", "v", "proj"):
            body, outer = f"{path}.attn.{x}_conv.0.body", f"{path}.attn.{x}_conv.1"
            rows.append(Row(f"{body}.0", (width, width, 1, 1), "1.bn"))
            rows.append(Row(f"{body}.2.0", (width, 1, 3, 3)))
            rows.append(Row(f"{body}.2.1", (width, width, 1, 1), "2", outer=outer))
        hidden = f"hidden{stage}"
        rows.append(Row(f"{path}.mlp.fc1_conv", (hidden, width, 1), "fc1_bn", bias=True))
        rows.append(Row(f"{path}.mlp.fc2_conv", (width, hidden, 1), "fc2_bn", bias=True))
    heads = ("head", "head_kd") if kd else ("head",)
    return (*rows, *(Row(head, ("classes", "width4"), bias=True) for head in heads))


def _stem_rows() -> Iterator[Row]:
    source, kernel = "channels", 7
    for name, blocks in STEM:
        yield downsampling(name, source, kernel)
        source, kernel = WIDTHS[name], 3
        for block in blocks:
            path, width, inner, wide = f"ConvBlock{block}.0", source, f"inner{block}", f"wide{block}"
            yield Row(f"{path}.Conv.pwconv1", (inner, width, 1, 1), "bn1")
            yield Row(f"{path}.Conv.dwconv", (inner, 1, 7, 7))
            yield Row(f"{path}.Conv.pwconv2", (width, inner, 1, 1), "bn2")
            yield Row(f"{path}.conv1", (wide, width, 3, 3), "bn1")
            yield Row(f"{path}.conv2", (width, wide, 3, 3), "bn2")
    yield downsampling("3", source)


def _graph(builder: Builder, facts: Facts) -> Network:
    sizes = builder.sizes
    widths = tuple(sizes[f"width{i}"] for i in (1, 2, 3, 4))
    channels, depth, kd = sizes["channels"], sizes["depth3"] + sizes["depth4"], builder.form.name == "kd"
    facts.agree("tokenizer", "imagenet")
    facts.find("variant", constant="standard", reason="its only one", check=lambda v: v == "standard")
    facts.agree("dim", widths[-1])
    facts.agree("widths", widths)
    facts.agree("depth", depth)
    facts.agree("classes", sizes["classes"], anyway=("nb_classes",))
    facts.note("head", "mean of head and head_kd" if kd else "one", "from the keys")
    heads = facts.find("heads", "num_heads", check=is_count)
    tau = facts.find("tau", constant=TAU, reason=f"constant of {NAME}", check=lambda t: 1.0 <= t < math.inf)
    spec = input_spec(facts, "imagenet", channels, Published(crop=mae_crop))
    facts.note("scale", SCALE, f"assumed: constant of {NAME}")
    facts.note("v_threshold", f"1.0, attn_lif {ATTENTION_THRESHOLD}", f"assumed: constants of {NAME}")
    fold = facts.folds()
    x = builder.add(Input("input", (), channels, spec.height, spec.width, "real"))
    for name, blocks in STEM:
        x = _downsample(builder, name, x, tau)
        for block in blocks:
            x = _conv_block(builder, f"ConvBlock{block}.0", x, sizes[f"inner{block}"], tau)
    for stage in (3, 4):
        x = _downsample(builder, str(stage), x, tau)
        for path in (f"block{stage}.{i}" for i in range(sizes[f"depth{stage}"])):
            x = _attention(builder, f"{path}.attn", x, sizes[f"width{stage}"], heads, tau, fold)
            x = _mlp(builder, f"{path}.mlp", x, tau)
    x = builder.add(TokenMean("token_mean", (x,)))
    x = builder.lif("lif", x, tau, "rows", view=(widths[-1],))
    x = _readout(builder, x, kd, fold)
    builder.add(TimeMean("time_mean", (x,)))
    weights = builder.finish(FAMILY.unused)
    return Network(f"{NAME}-{depth}-{widths[2]}", NAME, "standard", spec, tuple(builder.nodes), weights)


def _downsample(builder: Builder, name: str, x: str, tau: float) -> str:
    path = f"downsample{name}"
    if name != "1_1":
        x = builder.lif(f"{path}.encode_lif", x, tau)
    return builder.layer(f"{path}.encode_conv", x, 1 if name == "4" else 2, 3 if name == "1_1" else 1)


def _conv_block(builder: Builder, path: str, x: str, inner: int, tau: float) -> str:
    """Append a separable and a dense pair of convolutions, each with its residual addition."""
    y = builder.layer(f"{path}.Conv.pwconv1", builder.lif(f"{path}.Conv.lif1", x, tau))
    y = builder.layer(f"{path}.Conv.dwconv", builder.lif(f"{path}.Conv.lif2", y, tau), padding=3, groups=inner)
    x = builder.add(Add(f"{path}.Conv.add", (x, builder.layer(f"{path}.Conv.pwconv2", y))))
    y = builder.layer(f"{path}.conv1", builder.lif(f"{path}.lif1", x, tau), padding=1)
    y = builder.layer(f"{path}.conv2", builder.lif(f"{path}.lif2", y, tau), padding=1)
    return builder.add(Add(f"{path}.add", (x, y)))


def _attention(builder: Builder, path: str, x: str, width: int, heads: int, tau: float, fold: bool) -> str:
    spikes = builder.lif(f"{path}.head_lif", x, tau)
    qkv = tuple(
        builder.lif(f"{path}.{n}_lif", _rep_conv(builder, f"{path}.{n}_conv", spikes, width, fold), tau) for n in "qkv"
    )
    ssa = builder.add(SpikingSelfAttention(f"{path}.ssa", qkv, heads, SCALE, "q(kv)"))
    fired = builder.lif(f"{path}.attn_lif", ssa, tau, "tokens", ATTENTION_THRESHOLD)
    return builder.add(Add(f"{path}.add", (x, _rep_conv(builder, f"{path}.proj_conv", fired, width, fold))))


def _rep_conv(builder: Builder, path: str, x: str, width: int, fold: bool) -> str:
    """Append a RepConv with the BatchNorm behind it: one convolution, or three with what pads between them."""
    pointwise, depthwise, last = parts = tuple(f"{path}.0.body.{part}" for part in ("0", "2.0", "2.1"))
    if fold:
        return stack(builder, path, x, parts, "RepConv into one convolution of 3 x 3 each", padding=1)
    x = builder.layer(pointwise, x)
    # the border is what the BatchNorm makes of 0, not 0
    norm = builder.layers[pointwise].norm
    border = (parts_of(norm), partial(normalised, (norm,), (), "bn_shift"))
    x = builder.made(Pad(f"{path}.0.body.1.pad", (x,), width), {"border": border})
    return builder.layer(last, builder.layer(depthwise, x, groups=width))


def _mlp(builder: Builder, path: str, x: str, tau: float) -> str:
    y = builder.layer(f"{path}.fc1_conv", builder.lif(f"{path}.fc1_lif", x, tau, "tokens"))
    y = builder.layer(f"{path}.fc2_conv", builder.lif(f"{path}.fc2_lif", y, tau, "tokens"))
    return builder.add(Add(f"{path}.add", (x, y)))


def _readout(builder: Builder, x: str, kd: bool, fold: bool) -> str:
    """Append the head; with distillation the mean of two, which read the same spikes."""
    if not kd:
        return builder.layer("head", x)
    if fold:
        return average(builder, "head", x, ("head_kd",), "head and head_kd into one of their mean weights")
    return builder.add(Add("head_mean", (weighted(builder, "head", x, 0.5), weighted(builder, "head_kd", x, 0.5))))


def _sizes(preset: Preset) -> tuple[str, Mapping[str, int]]:
    widths = dict(zip(("width1", "width2", "width3", "width4"), preset.widths, strict=False))
    if len(preset.widths) != 4 or preset.widths[0] % 2 or any(width % preset.heads for width in preset.widths[2:]):
        raise OptionError(
            f"widths {preset.widths} are not those of four stages, the first even, the last two multiples of "
            f"{preset.heads} heads"
        )
    if preset.depth != sum(DEPTHS):
        raise OptionError(f"{NAME} has {sum(DEPTHS)} blocks with attention, got depth {preset.depth}")
    widths["width0"] = preset.widths[0] // 2
    blocks = [block for _, blocks in STEM for block in blocks]
    inner = {f"inner{block}": 2 * widths[WIDTHS[block]] for block in blocks}
    wide = {f"wide{block}": MLP_RATIO * widths[WIDTHS[block]] for block in blocks}
    hidden = {f"hidden{stage}": MLP_RATIO * widths[f"width{stage}"] for stage in (3, 4)}
    depths = {f"depth{stage}": depth for stage, depth in zip((3, 4), DEPTHS, strict=True)}
    return "standard", {"channels": 3, **widths, **inner, **wide, **hidden, **depths, "classes": preset.classes}


PLACES = {
    "attn.head_lif": "attn.proj_lif",
    "mlp.fc1_lif": "mlp.mlp1_lif",
    "mlp.fc2_lif": "mlp.mlp2_lif",
}
"""LIF of a block to Spikingformer's at the same place, where the names differ."""

STEM_PLACES = {"1_1": 1, "1_2": 2, "2": 3, "2_1": 3, "2_2": 3, "3": 4, "4": 4}


def _fires_like(lif: str) -> str:
    """Return the neurons of Spikingformer that stand at the same place; those of the readout as before an MLP."""
    block, _, place = lif.partition(".")
    if block.startswith("block"):
        number, _, place = place.partition(".")
        index = int(number) + (DEPTHS[0] if block == "block4" else 0)
        return f"block.{index}.{PLACES.get(place, place)}"
    if not place:
        return f"block.{sum(DEPTHS) - 1}.mlp.mlp1_lif"
    return f"patch_embed.proj{STEM_PLACES[block.removeprefix('ConvBlock').removeprefix('downsample')]}_lif"


FAMILY = Family(
    name=NAME,
    title="Spike-driven Transformer V2",
    literature=literature.SDT_V2,
    forms=(Form("kd", _rows(kd=True)), Form("standard", _rows(kd=False))),
    graph=_graph,
    sizes=_sizes,
    presets={
        f"{NAME}-8-{widths[2]}-imagenet": Preset(
            "imagenet", widths[3], sum(DEPTHS), 8, 4, 1000, 224, NAME, mean=IMAGENET[0], std=IMAGENET[1], widths=widths
        )
        for widths in ((96, 192, 384, 480), (128, 256, 512, 640), (192, 384, 768, 960))
    },
    models={f"metaspikformer_8_{dim}": False for dim in (384, 512, 768)},
    choices={"variant": ("standard",), "tokenizer": ("imagenet",), "neuron": ("lif",)},
    fires_like=_fires_like,
)
