"""Spike-driven Transformer V3, E-SpikeFormer (BICLab/Spike-Driven-Transformer-V3): base, large and HAR-DVS forms.

Its neurons emit integers 0..D and know no time: an integer k stands for k spikes in D virtual timesteps, and for the
value k / D. Base and large round halves differently, and halves do come out of attention. The HAR-DVS form runs over
timesteps, and its neurons keep what they did not emit.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from evsim.converters import literature
from evsim.converters.facts import Facts
from evsim.converters.family import Family
from evsim.converters.folding import stack, weighted
from evsim.converters.inputs import Published, input_spec, is_count
from evsim.converters.parts import Builder
from evsim.converters.presets import IMAGENET, Preset
from evsim.converters.sdt_v2 import DEPTHS, MLP_RATIO, STEM, WIDTHS, downsampling
from evsim.converters.table import Form, Row
from evsim.errors import OptionError
from evsim.inputspec import InputSpec
from evsim.network import Add, Input, Network, SpikingSelfAttention, TimeMean, TokenMean
from evsim.primitives import MultiSpike

NAME = "sdt-v3"
LEVELS = 4
"""D of all published models."""

LARGE_SCALE = 0.125
VALUE_RATIO = 4
"""Channels of v, in those of q, in the base form."""

STACKED = 1.5
"""Channels between the two convolutions of the large form's RepConv, in those around them."""


def _base_rows(scaled: bool) -> tuple[Row, ...]:
    rows = list(_stem_rows(_separable_and_dense))
    for stage in (3, 4):
        width, path = f"width{stage}", f"block{stage}.{{depth{stage}}}"
        if stage == 4:
            rows.append(downsampling("4", "width3"))
        rows += _separable(f"{path}.conv", width, f"inner{stage}", 3)
        value = f"value{stage}"
        for x, (outputs, inputs) in {
            "q": (width, width), "k": (width, width), "v": (value, width), "proj": (width, value),
        }.items():  # fmt: skip
            rows.append(Row(f"{path}.attn.{x}_conv.0", (outputs, inputs, 1, 1), "1"))
        rows += _mlp_rows(path, width, f"hidden{stage}")
        if scaled:
            rows += [_scale(path, i, width) for i in (1, 2, 3)]
    return (*rows, Row("head", ("classes", "width4"), bias=True))


def _large_rows(kd: bool) -> tuple[Row, ...]:
    rows, path = list(_stem_rows(_dense)), "block3.{depth3}"
    for x in ("q", "k", "v", "proj"):
        parts, inner = f"{path}.attn.{x}_conv", f"stacked_{x}"
        rows.append(Row(f"{parts}.0.conv1.0", (inner, "width3", 1), "1"))
        rows.append(Row(f"{parts}.0.conv2.0", ("width3", inner, 1), "1", outer=f"{parts}.1"))
    rows += _mlp_rows(path, "width3", "hidden3")
    rows += [_scale(path, i, "width3") for i in (1, 2)]
    heads = ("head", "head_kd") if kd else ("head",)
    return (*rows, *(Row(head, ("classes", "width3"), bias=True) for head in heads))


def _scale(path: str, number: int, width: str) -> Row:
    """Return the row of a factor on each channel of what a block adds to the stream."""
    part = f"layer_scale{number}"
    return Row(f"{path}.{part}", (width,), key=path, part=part, initial=1.0)


def _stem_rows(block_rows: Callable[[str, str], Iterator[Row]]) -> Iterator[Row]:
    source, kernel = "channels", 7
    for name, blocks in STEM:
        yield downsampling(name, source, kernel)
        source, kernel = WIDTHS[name], 3
        for block in blocks:
            yield from block_rows(block, source)
    yield downsampling("3", source)


def _separable_and_dense(block: str, width: str) -> Iterator[Row]:
    path, wide = f"ConvBlock{block}.0", f"wide{block}"
    yield from _separable(f"{path}.Conv", width, f"inner{block}", 7)
    yield Row(f"{path}.conv1", (wide, width, 3, 3), "bn1")
    yield Row(f"{path}.conv2", (width, wide, 3, 3), "bn2")


def _dense(block: str, width: str) -> Iterator[Row]:
    path, wide = f"ConvBlock{block}.0", f"wide{block}"
    yield Row(f"{path}.conv1.0.0", (wide, width, 3, 3), "1", bias=True)
    yield Row(f"{path}.conv2.0.0", (width, wide, 3, 3), "1", bias=True)


def _separable(path: str, width: str, inner: str, kernel: int) -> Iterator[Row]:
    yield Row(f"{path}.pwconv1.0", (inner, width, 1, 1), "1")
    yield Row(f"{path}.dwconv.0", (inner, 1, kernel, kernel), "1")
    yield Row(f"{path}.pwconv2.0", (width, inner, 1, 1), "1")


def _mlp_rows(path: str, width: str, hidden: str) -> Iterator[Row]:
    yield Row(f"{path}.mlp.fc1_conv", (hidden, width, 1), "fc1_bn", bias=True)
    yield Row(f"{path}.mlp.fc2_conv", (width, hidden, 1), "fc2_bn", bias=True)


@dataclass(frozen=True)
class _Maker:
    """Appends nodes of one form: what its neurons are like (fields of `MultiSpike`), and the word that names them."""

    builder: Builder
    neurons: Mapping[str, object]
    word: str
    heads: int
    fold: bool

    def spike(self, name: str, x: str, layout: str = "map", **other: object) -> str:
        """Append integer neurons; `other` fields in place of the form's."""
        fields = {**self.neurons, "layout": layout, **other}
        return self.builder.add(MultiSpike(name, (x,), **fields))  # type: ignore[arg-type]

    def downsample(self, name: str, x: str) -> str:
        """Append a downsampling layer."""
        path = f"downsample{name}"
        if name != "1_1":
            x = self.spike(f"{path}.encode_{self.word}", x)
        return self.builder.layer(f"{path}.encode_conv", x, 1 if name == "4" else 2, 3 if name == "1_1" else 1)

    def separable(self, path: str, x: str, inner: int, kernel: int, scale: str = "") -> str:
        """Append pointwise, depthwise and pointwise convolution, each behind neurons, and the residual addition."""
        y = self.builder.layer(f"{path}.pwconv1.0", self.spike(f"{path}.spike1", x))
        y = self.spike(f"{path}.spike2", y)
        y = self.builder.layer(f"{path}.dwconv.0", y, padding=kernel // 2, groups=inner)
        y = self.builder.layer(f"{path}.pwconv2.0", self.spike(f"{path}.spike3", y), scale=scale)
        return self.builder.add(Add(f"{path}.add", (x, y)))

    def dense(self, path: str, x: str, names: tuple[str, str] = ("conv1", "conv2")) -> str:
        """Append two 3 x 3 convolutions, each behind neurons, and the residual addition."""
        word = "spike" if self.word == "spike" else "neuron"
        y = self.builder.layer(f"{path}.{names[0]}", self.spike(f"{path}.{word}1", x), padding=1)
        y = self.builder.layer(f"{path}.{names[1]}", self.spike(f"{path}.{word}2", y), padding=1)
        return self.builder.add(Add(f"{path}.add", (x, y)))

    def attention(self, path: str, x: str, layout: str, factor: float, scale: str) -> str:
        """Append attention and its residual addition; the base form's maps, or the large form's tokens."""
        spikes = self.spike(f"{path}.head_{self.word}", x, layout)
        qkv = tuple(
            self.spike(f"{path}.{n}_{self.word}", self.project(f"{path}.{n}_conv", spikes), layout) for n in "qkv"
        )
        order: Literal["q(kv)", "(qk)v"] = "(qk)v" if layout == "map" else "q(kv)"
        y = self.builder.add(SpikingSelfAttention(f"{path}.ssa", qkv, self.heads, factor, order))
        y = self.project(f"{path}.proj_conv", self.spike(f"{path}.attn_{self.word}", y, "tokens"), scale)
        return self.builder.add(Add(f"{path}.add", (x, y)))

    def project(self, path: str, x: str, scale: str = "") -> str:
        """Append q, k, v or the projection: one convolution, or the large form's two, folded or apart."""
        if self.word == "spike":
            return self.builder.layer(f"{path}.0", x, scale=scale)
        parts = f"{path}.0.conv1.0", f"{path}.0.conv2.0"
        if self.fold:
            return stack(self.builder, path, x, parts, "RepConv into one convolution of 1 x 1 each", scale=scale)
        return self.builder.layer(parts[1], self.builder.layer(parts[0], x), scale=scale)

    def mlp(self, path: str, x: str, scale: str) -> str:
        """Append the MLP and its residual addition."""
        y = self.builder.layer(f"{path}.fc1_conv", self.spike(f"{path}.fc1_{self.word}", x, "tokens"))
        y = self.builder.layer(f"{path}.fc2_conv", self.spike(f"{path}.fc2_{self.word}", y, "tokens"), scale=scale)
        return self.builder.add(Add(f"{path}.add", (x, y)))


def _graph(builder: Builder, facts: Facts) -> Network:
    sizes = builder.sizes
    form = builder.form.name.removesuffix("-kd")
    stages = (3,) if form == "large" else (3, 4)
    widths = tuple(sizes[f"width{i}"] for i in (1, 2, *stages))
    depth = sum(sizes[f"depth{stage}"] for stage in stages)
    facts.agree("variant", form)
    facts.agree("dim", widths[-1])
    facts.agree("widths", widths)
    facts.agree("depth", depth)
    facts.agree("classes", sizes["classes"], anyway=("nb_classes",))
    heads = facts.find("heads", "num_heads", check=is_count)
    neurons = _neurons(facts, form)
    spec = _spec(facts, form, sizes["channels"])
    make = _Maker(builder, neurons, "lif" if form == "large" else "spike", heads, facts.folds())
    kind = "integers" if spec.kind == "events" else "real"
    x = builder.add(Input("input", (), spec.channels, spec.height, spec.width, kind))  # type: ignore[arg-type]
    for name, blocks in STEM:
        x = make.downsample(name, x)
        for block in blocks:
            path = f"ConvBlock{block}.0"
            if form == "large":
                x = make.dense(path, x, ("conv1.0.0", "conv2.0.0"))
            else:
                x = make.separable(f"{path}.Conv", x, sizes[f"inner{block}"], 7)
                x = make.dense(path, x)
    for stage in stages:
        x = make.downsample(str(stage), x)
        width = sizes[f"width{stage}"]
        for path in (f"block{stage}.{block}" for block in range(sizes[f"depth{stage}"])):
            scales = [f"{path}.layer_scale{i}" if form != "base" else "" for i in (1, 2, 3)]
            if form == "large":
                x = make.attention(f"{path}.attn", x, "tokens", LARGE_SCALE, scales[0])
                x = make.mlp(f"{path}.mlp", x, scales[1])
            else:
                x = make.separable(f"{path}.conv", x, sizes[f"inner{stage}"], 3, scales[0])
                x = make.attention(f"{path}.attn", x, "map", 2.0 * (width / heads) ** -0.5, scales[1])
                x = make.mlp(f"{path}.mlp", x, scales[2])
    mean = builder.add(TokenMean("token_mean", (x,)))
    builder.add(TimeMean("time_mean", (_readout(make, mean, form, widths[-1]),)))
    weights = builder.finish(FAMILY.unused)
    return Network(f"{NAME}-{depth}-{widths[-1]}", NAME, form, spec, tuple(builder.nodes), weights)


def _neurons(facts: Facts, form: str) -> Mapping[str, object]:
    """Return what all neurons of a form are like, but for the norm of those of the readout."""
    facts.refuse("means nothing for integer neurons", "tau")
    levels = facts.find("levels", constant=LEVELS, reason="D of the published models", check=is_count)
    positive = lambda n: 0.0 < n < math.inf  # noqa: E731
    if form == "har-dvs":
        # 8 in one published model and 1 in another: nothing to assume
        norm = facts.find("norm", check=positive)
    else:
        norm = facts.find("norm", constant=float(levels), reason="the `levels`, as published", check=positive)
    rounding = "half-up" if form == "large" else "half-even"
    facts.note("rounding", rounding, f"assumed: constant of the {form} form")
    if form == "har-dvs":
        facts.note("neuron", "integer, integrates and is reset by what it emits", "assumed: constant of the form")
        facts.note("layer_scale", "1 on conv, 2 on attn, 3 on mlp", "assumed: the order of execution")
    scale = LARGE_SCALE if form == "large" else "2 / sqrt(channels of q / heads)"
    facts.note("scale", scale, f"assumed: constant of the {form} form")
    return {"levels": levels, "norm": float(norm), "rounding": rounding, "integrates": form == "har-dvs"}


def _spec(facts: Facts, form: str, channels: int) -> InputSpec:
    """Return the input: an image at one timestep, or frames of events over several."""
    if form == "har-dvs":
        facts.agree("tokenizer", "dvs")
        return input_spec(facts, "dvs", channels, Published({}))
    facts.agree("tokenizer", "imagenet")
    spec = input_spec(facts, "imagenet", channels, Published(crop=_crop, timesteps=1))
    if spec.timesteps != 1:
        raise OptionError(
            f"{NAME} sees an image once, for its integers stand for time, but timesteps is {spec.timesteps}; "
            "give `timesteps=1`"
        )
    return spec


def _crop(size: int) -> float:
    """Return the share of a picture that the authors' evaluation keeps: 224 of 232, of large images all."""
    return 224 / 232 if size <= 224 else 1.0


def _readout(make: _Maker, mean: str, form: str, width: int) -> str:
    """Append the head: on integers; in the large form on the mean itself, and a second on integers if there is one."""
    builder, own = make.builder, {"norm": 1.0, "view": (width,)}
    if form != "large":
        return builder.layer("head", make.spike("spike", mean, "rows", **own))
    if "head_kd" not in builder.layers:
        return builder.layer("head", mean)
    integers = make.spike("lif", mean, "rows", **own)
    return builder.add(
        Add("head_mean", (weighted(builder, "head", mean, 0.5), weighted(builder, "head_kd", integers, 0.5)))
    )


def _sizes(preset: Preset) -> tuple[str, Mapping[str, int]]:
    large = preset.variant == "large"
    stages = (1, 2, 3) if large else (1, 2, 3, 4)
    if len(preset.widths) != len(stages) or preset.widths[0] % 2 or preset.dim % preset.heads:
        raise OptionError(
            f"widths {preset.widths} are not those of {len(stages)} stages, the first even, the last a multiple of "
            f"{preset.heads} heads"
        )
    if not large and preset.depth != sum(DEPTHS):
        raise OptionError(f"{NAME} {preset.variant} has {sum(DEPTHS)} blocks with attention, got depth {preset.depth}")
    sizes = {f"width{stage}": width for stage, width in zip(stages, preset.widths, strict=True)}
    sizes["width0"] = preset.widths[0] // 2
    for block in (block for _, blocks in STEM for block in blocks):
        width = sizes[WIDTHS[block]]
        sizes |= {f"wide{block}": MLP_RATIO * width} | ({} if large else {f"inner{block}": 2 * width})
    for stage, depth in zip((3, 4), (preset.depth,) if large else DEPTHS, strict=False):
        width = sizes[f"width{stage}"]
        sizes |= {f"depth{stage}": depth, f"hidden{stage}": MLP_RATIO * width}
        if not large:
            sizes |= {f"inner{stage}": 2 * width, f"value{stage}": VALUE_RATIO * width}
    if large:
        sizes |= {f"stacked_{x}": int(STACKED * preset.dim) for x in ("q", "k", "v", "proj")}
    channels = 2 if preset.variant == "har-dvs" else 3
    return preset.variant, {"channels": channels, **sizes, "classes": preset.classes}


def _preset(widths: tuple[int, ...], depth: int, variant: str, assumed: tuple[str, ...] = ()) -> Preset:
    return Preset(
        "imagenet", widths[-1], depth, 8, 1, 1000, 224, NAME, variant, *IMAGENET, assumed=assumed, widths=widths
    )


BASE = {
    "t": (24, 48, 96, 128),
    "s": (32, 64, 128, 192),
    "m": (48, 96, 192, 240),
    "l": (64, 128, 256, 360),
}
"""Widths of the base form by the letter of its published models."""

PLACES = {"attn.head": "attn.proj", "mlp.fc1": "mlp.mlp1", "mlp.fc2": "mlp.mlp2"}
"""Neurons of a block to Spikingformer's at the same place, where the names differ."""

STEM_PLACES = {"1_1": 1, "1_2": 2, "2": 3, "2_1": 3, "2_2": 3, "3": 4, "4": 4}


def _fires_like(neurons: str) -> str:
    """Return the neurons of Spikingformer at the same place: the integers' mean, in their greatest, is its rate."""
    block, _, rest = neurons.partition(".")
    number, _, place = rest.partition(".")
    if not rest:  # the readout
        return f"block.{sum(DEPTHS) - 1}.mlp.mlp1_lif"
    if not block.startswith("block"):
        return f"patch_embed.proj{STEM_PLACES[block.removeprefix('ConvBlock').removeprefix('downsample')]}_lif"
    if place.startswith("conv."):
        return "patch_embed.proj4_lif"
    place = re.sub("_(spike|lif)$", "", place)
    return f"block.{int(number) + (DEPTHS[0] if block == 'block4' else 0)}.{PLACES.get(place, place)}_lif"


FAMILY = Family(
    name=NAME,
    title="Spike-driven Transformer V3",
    literature=literature.SDT_V3,
    forms=(
        Form("large-kd", _large_rows(kd=True)),
        Form("large", _large_rows(kd=False)),
        Form("har-dvs", _base_rows(scaled=True)),
        Form("base", _base_rows(scaled=False)),
    ),
    graph=_graph,
    sizes=_sizes,
    presets={
        **{f"{NAME}-{letter}-imagenet": _preset(widths, sum(DEPTHS), "base") for letter, widths in BASE.items()},
        f"{NAME}-12-768-imagenet": _preset((196, 384, 768), 12, "large", ("heads",)),
    },
    models={**{f"efficient_spiking_transformer_{letter}": False for letter in BASE}, "spikformer12_768": False},
    choices={"variant": ("base", "large", "har-dvs"), "tokenizer": ("imagenet", "dvs"), "levels": (), "norm": ()},
    fires_like=_fires_like,
)
