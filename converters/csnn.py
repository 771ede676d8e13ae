"""The convolutional networks of the PLIF paper (arXiv 2007.05785), as SpikingJelly and their authors wrote them.

Convolutions of 3x3 with BatchNorm and neurons, most with a pool behind; then two linear layers with neurons, ten of the
last voting for each class. The keys come in five namings, each for any number of layers:

- ``conv_fc.N``: `parametric_lif_net` of SpikingJelly 0.0.0.0.14 and later;
- ``convN``, ``bnN``, ``fcN``: the same of 0.0.0.0.12;
- ``conv.N``, ``fc.N``: the authors' on event data, and SpikingJelly's example classify_dvsg of its time;
- ``conv.N.0``, ``fc.N.0``: that example's form for CUDA;
- ``static_conv.N``, ``conv.N``, ``fc.N``: the authors' on images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt
from typing import Literal

from evsim.converters import literature
from evsim.converters.facts import CHOICES, Facts
from evsim.converters.family import Family
from evsim.converters.inputs import Published, input_spec
from evsim.converters.neurons import find_neurons
from evsim.converters.parts import Builder
from evsim.converters.presets import Preset
from evsim.converters.table import Form, Row
from evsim.errors import CheckpointError, OptionError
from evsim.network import Input, MaxPool, Network, TimeMean
from evsim.primitives import AveragePool, Flatten, Vote

NAME = "csnn"
VOTERS = 10
Naming = Literal["conv_fc", "numbered", "authors", "cuda", "static"]

CIFAR = (False, False, True, False, False, True)
"""Where CIFAR-10's net has pools; all others have one behind every convolution."""

MOST_LAYERS = 7
"""Convolutions with a pool behind each: of 128 x 128 positions the last leaves one."""

TOKENIZERS = {1: "mnist", 2: "dvs", 3: "cifar"}
SIZES = {"mnist": (28,), "dvs": (34, 128), "cifar": (32,)}
MNIST = ((0.1307,), (0.3081,))
FASHION = ((0.2860,), (0.3530,))
CIFAR10 = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
STATISTICS = {"mnist": MNIST, "cifar": CIFAR10}
"""Mean and standard deviation of the authors' scripts."""


@dataclass(frozen=True)
class Stage:
    """Names of a convolution, its BatchNorm (a sibling of its key), its neurons, and the pool if one can follow."""

    conv: str
    norm: str
    neurons: str
    pool: str = ""


@dataclass(frozen=True)
class Net:
    """One network under one naming: what its modules are named, which layers have a bias."""

    naming: Naming
    stages: tuple[Stage, ...]
    linears: tuple[tuple[str, str], tuple[str, str]]
    flatten: str
    vote: str
    conv_bias: bool = False
    linear_bias: bool = True

    def rows(self) -> tuple[Row, ...]:
        """Return the key table."""
        rows, source = [], "channels"
        for i, stage in enumerate(self.stages):
            width = f"width{i + 1}"
            rows.append(Row(stage.conv, (width, source, 3, 3), stage.norm, self.conv_bias))
            source = width
        (first, _), (second, _) = self.linears
        rows.append(Row(first, ("hidden", "flat"), bias=self.linear_bias))
        return (*rows, Row(second, ("voters", "hidden"), bias=self.linear_bias))

    def neurons(self) -> tuple[str, ...]:
        """Return the names of all layers of neurons."""
        return (*(stage.neurons for stage in self.stages), *(neurons for _, neurons in self.linears))


def _conv_fc(pooled: tuple[bool, ...]) -> Net:
    stages, number = _sequence("conv_fc", pooled, 0)
    linears = tuple((f"conv_fc.{number + i}", f"conv_fc.{number + i + 1}") for i in (2, 5))
    return Net("conv_fc", stages, linears, f"conv_fc.{number}", f"conv_fc.{number + 7}")  # type: ignore[arg-type]


def _numbered(layers: int) -> Net:
    """Return the naming of 0.0.0.0.12; its nets for DVS recordings of 128 x 128 have biases, the others have none."""
    stages = tuple(Stage(f"conv{i}", f"bn{i}", f"sn{i}", f"pool{i}") for i in range(1, layers + 1))
    linears = (f"fc{layers + 1}", f"sn{layers + 1}"), (f"fc{layers + 2}", f"sn{layers + 2}")
    return Net("numbered", stages, linears, "flatten", "voting", conv_bias=layers in (4, 5))


def _authors(pooled: tuple[bool, ...]) -> Net:
    stages, _ = _sequence("conv", pooled, 0)
    return Net("authors", stages, (("fc.2", "fc.3"), ("fc.5", "fc.6")), "fc.0", "boost", linear_bias=False)


def _cuda(layers: int) -> Net:
    stages = tuple(Stage(f"conv.{3 * i}.0", "1", f"conv.{3 * i + 1}", f"conv.{3 * i + 2}") for i in range(layers))
    return Net("cuda", stages, (("fc.2.0", "fc.3"), ("fc.5.0", "fc.6")), "fc.0", "vote", linear_bias=False)


def _static(pooled: tuple[bool, ...], second: int) -> Net:
    """Return the authors' nets on images; `second` is the number of the second linear layer."""
    first = Stage("static_conv.0", "1", "conv.0", "conv.1" if pooled[0] else "")
    stages, _ = _sequence("conv", pooled[1:], 1 + pooled[0])
    linears = ("fc.2", "fc.3"), (f"fc.{second}", f"fc.{second + 1}")
    return Net("static", (first, *stages), linears, "fc.0", "boost", linear_bias=False)


def _sequence(path: str, pooled: tuple[bool, ...], number: int) -> tuple[tuple[Stage, ...], int]:
    """Return stages in a row under one path, and the number behind them."""
    stages = []
    for pool in pooled:
        names = [f"{path}.{number + i}" for i in range(4)]
        stages.append(Stage(names[0], str(number + 1), names[2], names[3] if pool else ""))
        number += 3 + pool
    return tuple(stages), number


LAYERS = range(MOST_LAYERS, 1, -1)
"""The most first: the authors' keys of fewer layers are among those of more."""

NETS: dict[str, Net] = {
    **{f"conv_fc-{n}": _conv_fc((True,) * n) for n in LAYERS},
    "conv_fc-cifar": _conv_fc(CIFAR),
    **{f"numbered-{n}": _numbered(n) for n in LAYERS},
    "static-cifar": _static(CIFAR, 4),
    "static-mnist": _static((True, True), 5),
    **{f"cuda-{n}": _cuda(n) for n in LAYERS},
    **{f"authors-{n}": _authors((True,) * n) for n in LAYERS},
}
"""Form of the key table to the network."""

FIRST = {net.stages[0].neurons for net in NETS.values()}
"""Neurons behind the first convolution."""


def _graph(builder: Builder, facts: Facts) -> Network:
    sizes, net = builder.sizes, NETS[builder.form.name]
    tokenizer = TOKENIZERS.get(sizes["channels"])
    if tokenizer is None:
        raise CheckpointError(
            f"{builder.checkpoint.path}: {net.stages[0].conv} reads {sizes['channels']} channels, but a {NAME} reads "
            "an image of 1 or 3, or events of 2; give another `family`"
        )
    depth = len(net.stages)
    facts.agree("tokenizer", tokenizer)
    facts.agree("dim", sizes["width1"])
    facts.agree("depth", depth)
    facts.agree("classes", sizes["voters"] // VOTERS)
    facts.refuse(f"means nothing for {NAME}", "heads")
    neurons = find_neurons(facts, builder)
    pool = facts.find(
        "pool", constant="max", reason="as in SpikingJelly, and in all but an ablation of the authors",
        check=lambda kind: kind in CHOICES["pool"],
    )  # fmt: skip
    pooled = tuple(bool(stage.pool) for stage in net.stages)
    if net.naming == "numbered" and tokenizer == "cifar":
        pooled = CIFAR if depth == len(CIFAR) else pooled
    first = _first_conv(facts, net, tokenizer)
    side = isqrt(sizes["flat"] // max(sizes[f"width{depth}"], 1))
    size = _published_size(facts, tokenizer, side, sum(pooled))
    spec = input_spec(facts, tokenizer, sizes["channels"], Published({tokenizer: size}, STATISTICS.get(tokenizer)))
    if spec.height >> sum(pooled) != side:
        raise OptionError(
            f"of an image of {spec.height} x {spec.height} the pools leave {spec.height >> sum(pooled)} x "
            f"{spec.height >> sum(pooled)} positions, but {net.linears[0][0]} reads {side} x {side}; give "
            f"`image_size={size}`"
        )
    kind: Literal["integers", "real"] = "integers" if tokenizer == "dvs" else "real"
    x = builder.add(Input("input", (), spec.channels, spec.height, spec.width, kind))
    for i, (stage, pools) in enumerate(zip(net.stages, pooled, strict=True)):
        x = builder.layer(stage.conv, x, padding=1, repeated=i == 0 and first == "once")
        x = neurons.append(builder, stage.neurons, x)
        if pools:
            window = MaxPool if pool == "max" else AveragePool
            x = builder.add(window(stage.pool, (x,), 2, 2, 0))
    x = builder.add(Flatten(net.flatten, (x,)))
    for (linear, fired), outputs in zip(net.linears, ("hidden", "voters"), strict=True):
        x = builder.layer(linear, x)
        x = neurons.append(builder, fired, x, "rows", (sizes[outputs],))
    builder.add(TimeMean("time_mean", (builder.add(Vote(net.vote, (x,), VOTERS)),)))
    weights = builder.finish(FAMILY.unused)
    if net.naming in ("authors", "static"):
        builder.notes.append(f"logits are means over T; the authors' code adds up: {spec.timesteps} times as much")
    return Network(f"{NAME}-{depth}-{sizes['width1']}", NAME, net.naming, spec, tuple(builder.nodes), weights)


def _first_conv(facts: Facts, net: Net, tokenizer: str) -> str:
    """Return whether the first convolution runs once on an image, or at every timestep."""
    if tokenizer == "dvs":
        facts.refuse("means nothing for a model of events", "first_conv")
        return "every-step"
    once = net.naming != "conv_fc"
    rule: str = facts.find(
        "first_conv", constant="once" if once else "every-step",
        reason="as the authors and SpikingJelly 0.0.0.0.12" if once else "as SpikingJelly 0.0.0.0.14",
        check=lambda rule: rule in CHOICES["first_conv"],
    )  # fmt: skip
    return rule


def _published_size(facts: Facts, tokenizer: str, side: int, pools: int) -> int:
    """Return the image size to assume: the published one that leaves a map of this side, else the least that does."""
    for size in SIZES[tokenizer]:
        if size >> pools == side:
            return size
    if not facts.speaks_of("image_size"):
        raise OptionError(
            f"the checkpoint is of no published image size: its map of {side} x {side} behind {pools} pools is of "
            f"images of {side << pools} to {((side + 1) << pools) - 1}; give `image_size`"
        )
    return side << pools


def _sizes(preset: Preset) -> tuple[str, Mapping[str, int]]:
    dim, tokenizer = preset.dim, preset.tokenizer
    name = f"{preset.variant}-{preset.depth}" if tokenizer == "dvs" else f"{preset.variant}-{tokenizer}"
    if name not in NETS:
        raise OptionError(f"{NAME} has 2 to {MOST_LAYERS} convolutions, not {preset.depth}")
    net = NETS[name]
    flat = dim * (preset.image_size >> sum(bool(stage.pool) for stage in net.stages)) ** 2
    hidden = {"conv_fc": 512, "static": 2048}.get(preset.variant, flat // 4)
    channels = {name: channels for channels, name in TOKENIZERS.items()}[tokenizer]
    widths = {f"width{i + 1}": dim for i in range(len(net.stages))}
    return name, {
        "channels": channels, **widths, "flat": flat, "hidden": hidden, "voters": VOTERS * preset.classes,
    }  # fmt: skip


def _events(depth: int, size: int, timesteps: int, classes: int, variant: str, neuron: str) -> Preset:
    return Preset("dvs", 128, depth, 0, timesteps, classes, size, NAME, variant, neuron=neuron)


def _images(tokenizer: str, dim: int, depth: int, statistics: tuple[tuple[float, ...], tuple[float, ...]]) -> Preset:
    size = SIZES[tokenizer][0]
    return Preset(tokenizer, dim, depth, 0, 8, 10, size, NAME, "static", *statistics, neuron="plif")


PRESETS = {
    f"{NAME}-dvs128": _events(5, 128, 16, 11, "conv_fc", "lif"),
    f"{NAME}-plif-dvs128": _events(5, 128, 20, 11, "authors", "plif"),
    f"{NAME}-plif-cifar10dvs": _events(4, 128, 20, 10, "authors", "plif"),
    f"{NAME}-plif-nmnist": _events(2, 34, 10, 10, "authors", "plif"),
    f"{NAME}-plif-mnist": _images("mnist", 128, 2, MNIST),
    f"{NAME}-plif-fashionmnist": _images("mnist", 128, 2, FASHION),
    f"{NAME}-plif-cifar10": _images("cifar", 256, 6, CIFAR10),
}
"""The first is SpikingJelly's example classify_dvsg; the others' sizes and T are in the names of the authors' logs."""


def _shared(net: Net) -> str:
    """Return whose keys these are too: only two namings are of a CSNN alone."""
    return "" if net.naming in ("conv_fc", "static") else "an ANN of such layers"


def _fires_like(neurons: str) -> str:
    """Return the neurons of Spikingformer's tokenizer whose rate is assumed: its first, for all others its last."""
    return f"patch_embed.proj{1 if neurons in FIRST else 4}_lif"


FAMILY = Family(
    name=NAME,
    title="CSNN of SpikingJelly",
    literature=literature.CSNN,
    forms=tuple(Form(name, net.rows(), _shared(net), net.neurons()) for name, net in NETS.items()),
    graph=_graph,
    sizes=_sizes,
    presets=PRESETS,
    choices={
        "tokenizer": tuple(TOKENIZERS.values()),
        "neuron": CHOICES["neuron"],
        "pool": CHOICES["pool"],
        "first_conv": CHOICES["first_conv"],
        "v_threshold": (),
    },
    fires_like=_fires_like,
)
