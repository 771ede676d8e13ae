"""SpikingResformer (arXiv 2403.14302): ImageNet, CIFAR and DVS forms, the last with PLIF neurons.

The residual stream is real-valued. Dual spike self-attention (DSSA) convolves its spikes by patches to real rows, which
the spikes of its input and then those of `activation_attn` add up; each product is scaled by a firing rate that the
training measured and left in the checkpoint, one per head, so the keys tell the heads. Group-wise feed-forward networks
(GWFFN) have a grouped convolution between their 1x1 convolutions, around which the wide stream is real-valued too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

from evsim.converters import literature
from evsim.converters.facts import Facts
from evsim.converters.family import Family
from evsim.converters.inputs import Published, Statistics, input_spec, is_count
from evsim.converters.neurons import find_neurons
from evsim.converters.parts import Builder
from evsim.converters.presets import IMAGENET, Preset
from evsim.converters.table import Form, Row, Shapes, named
from evsim.errors import CheckpointError, OptionError
from evsim.inputspec import InputSpec
from evsim.network import Network
from evsim.primitives import Add, HeadProduct, Input, TimeMean, TokenMean

NAME = "spikingresformer"
WIDE = 7
STEMS = (WIDE, 3)
"""Kernels of the first convolution: ImageNet's is the wide one, of stride 2, behind which a max-pool follows."""

CIFAR10: Statistics = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
CIFAR100: Statistics = (129.3 / 255, 124.1 / 255, 112.4 / 255), (68.2 / 255, 65.4 / 255, 70.4 / 255)
"""Mean and standard deviation in the authors' script; those of CIFAR-10 are not the usual ones."""

RATE = 0.2
"""Firing rate that a model of random weights has in place of those that a training would have measured."""

Blocks = tuple[str, ...]
PUBLISHED: tuple[Blocks, ...] = tuple(("down",) * (i > 0) + ("dssa", "gwffn") * (i + 1) for i in range(3))
"""What stands in each stage of the published models."""

MODULE = re.compile(r"layers\.(\d{1,4})\.(\d{1,4})\.(.+)")
MARKS = {
    "dssa": re.compile(r"W|firing_rate"),
    "gwffn": re.compile(r"up\.|conv\.\d|down\."),
    "down": re.compile(r"conv\.w"),
}
"""How parameters begin that a module of one kind alone has."""


def _rows(stages: tuple[Blocks, ...], convs: Mapping[str, int], parametric: bool) -> tuple[Row, ...]:
    """Return the table of these modules; `convs` says of a GWFFN how many grouped convolutions it has, if not one."""
    rows = [Row("prologue.0", ("plane0", "channels", "stem", "stem"), "1.bn")]
    for i, blocks in enumerate(stages):
        for j, block in enumerate(blocks):
            path = f"layers.{i}.{j}"
            rows += BLOCKS[block](path, i, convs.get(path, 1))
            if parametric:
                rows += [Row(f"{name}.w", (), key=name, part="w", initial=0.0) for name in _neurons(block, path, convs)]
    return (*rows, Row("classifier", ("classes", f"plane{len(stages) - 1}")))


def _neurons(block: str, path: str, convs: Mapping[str, int]) -> Iterator[str]:
    """Yield the neurons of a module."""
    if block == "down":
        yield f"{path}.activation"
    elif block == "dssa":
        yield from (f"{path}.activation_{of}" for of in ("in", "attn", "out"))
    else:
        yield from (f"{path}.up.0", *(f"{path}.conv.{k}.0" for k in range(convs.get(path, 1))), f"{path}.down.0")


def _down(path: str, i: int, _: int) -> list[Row]:
    return [Row(f"{path}.conv", (f"plane{i}", f"plane{i - 1}", 3, 3), "norm.bn")]


def _dssa(path: str, i: int, _: int) -> list[Row]:
    plane, rates = f"plane{i}", ("firing_rate_x", "firing_rate_attn")
    return [
        *(
            Row(f"{path}.{rate}", (1, 1, f"heads{i}", 1, 1), key=path, part=rate, initial=RATE, buffer=True)
            for rate in rates
        ),
        Row(f"{path}.W", (f"twice{i}", plane, f"patch{i}", f"patch{i}"), "norm.bn"),
        Row(f"{path}.Wproj", (plane, plane, 1, 1), "norm_proj.bn"),
    ]


def _gwffn(path: str, i: int, convs: int) -> list[Row]:
    plane, hidden = f"plane{i}", f"hidden{i}"
    grouped = (Row(f"{path}.conv.{k}.1", (hidden, f"group{i}", 3, 3), "2.bn") for k in range(convs))
    up, down = Row(f"{path}.up.1", (hidden, plane, 1, 1), "2.bn"), Row(f"{path}.down.1", (plane, hidden, 1, 1), "2.bn")
    return [up, *grouped, down]


BLOCKS: Mapping[str, Callable[[str, int, int], list[Row]]] = {"down": _down, "dssa": _dssa, "gwffn": _gwffn}


def _modules(shapes: Shapes) -> tuple[tuple[Blocks, ...], Mapping[str, int]]:
    """Return what stands in each stage by a checkpoint's keys, and the grouped convolutions of each GWFFN."""
    found: dict[tuple[int, int], str] = {}
    grouped: dict[str, set[int]] = {}
    for key in shapes:
        if not (match := MODULE.match(key)):
            continue
        at, rest = (int(match[1]), int(match[2])), match[3]
        if kind := next((kind for kind, mark in MARKS.items() if mark.match(rest)), ""):
            found[at] = kind
        if conv := re.match(r"conv\.(\d{1,4})\.1\.weight$", rest):
            grouped.setdefault(f"layers.{at[0]}.{at[1]}", set()).add(int(conv[1]))
    stages: dict[int, set[int]] = {}
    for i, j in found:
        stages.setdefault(i, set()).add(j)
    if not found:
        return PUBLISHED, {}
    # a module of which no key is there is missing, whatever it was
    blocks = (
        tuple(found.get((i, j), "dssa") for j in range(_count(stages.get(i, {0})))) for i in range(_count(set(stages)))
    )
    return tuple(blocks), {path: _count(numbers) for path, numbers in grouped.items()}


def _count(numbers: set[int]) -> int:
    """Return how many to look for: of more than twice as many as there are, which one key can claim, some lack."""
    return min(max(numbers) + 1, 2 * len(numbers))


def _grown(shapes: Shapes, parametric: bool) -> tuple[Row, ...]:
    return _rows(*_modules(shapes), parametric)


def _graph(builder: Builder, facts: Facts) -> Network:
    sizes = builder.sizes
    stages, convs = _modules(builder.checkpoint.shapes)
    planes = tuple(sizes[f"plane{i}"] for i in range(len(stages)))
    parametric = _check(builder, facts, stages)
    depth = sum(blocks.count("dssa") for blocks in stages)
    facts.find("variant", constant="standard", reason="its only one", check=lambda v: v == "standard")
    facts.agree("widths", planes)
    facts.agree("dim", planes[-1])
    facts.agree("depth", depth)
    facts.agree("classes", sizes["classes"], anyway=("num_classes",))
    facts.agree("heads", sizes.get(f"heads{len(planes) - 1}"))
    heads = tuple(sizes[f"heads{i}"] for i in range(len(planes)) if f"heads{i}" in sizes)
    facts.note("heads", heads, "from the keys, whose firing rates are per head; by stage")
    tau = find_neurons(facts, builder, "lif", "as in all published models without learned time constants").tau
    spec = _input(facts, sizes, parametric)
    reason = "the authors' script builds a model for the size of its images"
    built = facts.find("built_size", constant=spec.height, reason=reason, check=is_count)
    x = builder.add(Input("input", (), sizes["channels"], spec.height, spec.width, "real"))
    wide = sizes["stem"] == WIDE
    x = builder.layer("prologue.0", x, *((2, 3) if wide else (1, 1)))
    x = builder.pool("prologue.2", x) if wide else x
    side, built = (_halved(_halved(spec.height)), built // 4) if wide else (spec.height, built)
    for i, blocks in enumerate(stages):
        for j, block in enumerate(blocks):
            path = f"layers.{i}.{j}"
            if block == "down":
                fired = builder.lif(f"{path}.activation", x, tau)
                x, side, built = builder.layer(f"{path}.conv", fired, 2, 1), _halved(side), built // 2
            elif block == "dssa":
                patch = sizes[f"patch{i}"]
                x = _attention(builder, path, x, tau, sizes[f"heads{i}"], patch, side, (built // patch) ** 2)
            else:
                groups = sizes[f"hidden{i}"] // sizes[f"group{i}"]
                x = _feed_forward(builder, path, x, tau, groups, convs.get(path, 1))
    x = builder.add(TokenMean("avgpool", (x,)))
    builder.add(TimeMean("time_mean", (builder.layer("classifier", x),)))
    weights = builder.finish(FAMILY.unused)
    return Network(f"{NAME}-{depth}-{planes[-1]}", NAME, "standard", spec, tuple(builder.nodes), weights)


def _check(builder: Builder, facts: Facts, stages: tuple[Blocks, ...]) -> bool:
    """Refuse what the authors' code cannot be; return whether the neurons are PLIF."""
    path, sizes, shapes = builder.checkpoint.path, builder.sizes, builder.checkpoint.shapes
    stem = sizes["stem"]
    if empty := [name for name, size in sizes.items() if size < 1]:
        raise CheckpointError(f"{path} has tensors without values (of {named(empty)}); give the state_dict of a model")
    if stem not in STEMS:
        raise CheckpointError(
            f"{path}: prologue.0.weight has a kernel of {stem} x {stem}, but SpikingResformer begins with one of 7 or 3"
        )
    if facts.preset is not None and _stem(facts.preset) != stem:
        raise OptionError(
            f"`preset={facts.options.preset}` is of a model whose first convolution is of {_stem(facts.preset)} x "
            f"{_stem(facts.preset)}, but the checkpoint's is of {stem} x {stem}; give the `preset` that fits, or none"
        )
    for i, blocks in enumerate(stages):
        if [j for j, block in enumerate(blocks) if block == "down"] != [0] * (i > 0):
            raise CheckpointError(f"{path}: layers.{i} does not narrow its map once, at its begin; of another family?")
        for inner, outer, whole in ((f"plane{i}", f"twice{i}", 2), (f"group{i}", f"hidden{i}", 0)):
            bad = outer in sizes and (sizes[outer] != whole * sizes[inner] if whole else sizes[outer] % sizes[inner])
            if bad:
                raise CheckpointError(
                    f"{path}: layers.{i} has {sizes[outer]} channels where {whole or 'a multiple of'} x {sizes[inner]} "
                    "are due; is it of another family?"
                )
    neurons = [
        name
        for i, blocks in enumerate(stages)
        for j, block in enumerate(blocks)
        for name in _neurons(block, f"layers.{i}.{j}", _modules(shapes)[1])
    ]
    lacking = [f"{name}.w" for name in neurons if f"{name}.w" not in shapes]
    if lacking and len(lacking) < len(neurons):
        raise CheckpointError(f"{path} has PLIF neurons, but lacks {named(lacking)}; give the complete state_dict")
    return not lacking


def _input(facts: Facts, sizes: Mapping[str, int], parametric: bool) -> InputSpec:
    """Return how the input is made: of pictures, or of events, whose frames get the sum of both as a third channel."""
    wide = sizes["stem"] == WIDE
    usual = "dvs" if parametric else "imagenet" if wide else "cifar"
    why = f"as the published models with {'PLIF neurons' if parametric else 'such a first convolution'}"
    tokenizer = facts.find("tokenizer", constant=usual, reason=f"{why}; the keys cannot tell pictures from events")
    if tokenizer == "imagenet":
        return input_spec(facts, tokenizer, sizes["channels"], Published(crop=0.95, interpolation="bicubic"))
    if tokenizer == "cifar":
        statistics = CIFAR100 if sizes["classes"] == 100 else CIFAR10
        published = Published({tokenizer: 128 if wide else 32}, statistics)
    else:
        published = Published({tokenizer: 128 if wide else 64}, resized=True)
    return input_spec(facts, tokenizer, sizes["channels"], published)


def _attention(builder: Builder, path: str, x: str, tau: float, heads: int, patch: int, side: int, rows: int) -> str:
    """Append dual spike self-attention and its residual addition.

    `rows` is the number of patches that the model was built for, by which the second product is scaled.
    """
    fired = builder.lif(f"{path}.activation_in", x, tau)
    reals = builder.layer(f"{path}.W", fired, patch)
    width = builder.sizes[f"plane{path.split('.')[1]}"] // heads
    view = (heads, (side // patch) ** 2, side**2)
    made = _product(builder, f"{path}.matmul1", (fired, reals), heads, 0, width, "firing_rate_x")
    attn = builder.lif(f"{path}.activation_attn", made, tau, "tokens", view=view)
    made = _product(builder, f"{path}.matmul2", (attn, reals), heads, 1, rows, "firing_rate_attn")
    out = builder.layer(f"{path}.Wproj", builder.lif(f"{path}.activation_out", made, tau))
    return builder.add(Add(f"{path}.add", (x, out)))


def _product(builder: Builder, name: str, inputs: tuple[str, str], heads: int, part: int, count: int, rate: str) -> str:
    """Append a product of spikes with real rows, scaled by 1 / sqrt(rate x count) in each head."""
    key, path = f"{name.rpartition('.')[0]}.{rate}", builder.checkpoint.path
    rates = builder.checkpoint.tensors[key]
    if rates.dtype.kind == "f" and not bool(np.greater(rates, 0.0).all()):
        raise CheckpointError(
            f"{path}: {key} is not positive in every head, as after a training; without it the attention has no scale"
        )
    if count < 1:
        raise OptionError(f"{name} has no patch at that size; give a greater one by `built_size` or `image_size`")
    node = HeadProduct(name, inputs, heads, "tokens" if part else "channels", part)
    return builder.made(node, {"scale": ((key,), partial(_scale, key, count))})


def _scale(key: str, count: int, tensors: Mapping[str, NDArray[np.floating]]) -> NDArray[np.floating]:
    scale: NDArray[np.floating] = 1.0 / np.sqrt(tensors[key].reshape(-1) * count)
    return scale


def _feed_forward(builder: Builder, path: str, x: str, tau: float, groups: int, convs: int) -> str:
    """Append a group-wise feed-forward network and its two residual additions."""
    wide = inner = builder.layer(f"{path}.up.1", builder.lif(f"{path}.up.0", x, tau))
    for k in range(convs):
        fired = builder.lif(f"{path}.conv.{k}.0", inner, tau)
        inner = builder.layer(f"{path}.conv.{k}.1", fired, padding=1, groups=groups)
    wide = builder.add(Add(f"{path}.conv.add", (wide, inner)))
    down = builder.layer(f"{path}.down.1", builder.lif(f"{path}.down.0", wide, tau))
    return builder.add(Add(f"{path}.add", (x, down)))


def _halved(side: int) -> int:
    """Return the side of a map behind a window of stride 2 whose padding is half its kernel."""
    return (side + 1) // 2


def _stem(preset: Preset) -> int:
    """Return the first kernel: ImageNet's models have 7, and so those have that were transferred, at 128 pixels."""
    return WIDE if preset.tokenizer == "imagenet" or preset.image_size >= 128 else 3


def _sizes(preset: Preset) -> tuple[str, Mapping[str, int]]:
    widths, depth = preset.widths, sum(blocks.count("dssa") for blocks in PUBLISHED)
    head = preset.dim // preset.heads
    if (
        len(widths) != len(PUBLISHED)
        or preset.depth != depth
        or widths[-1] != preset.dim
        or any(w % head for w in widths)
    ):
        raise OptionError(
            f"a SpikingResformer of widths {widths}, depth {preset.depth} and {preset.heads} heads makes no sense: "
            f"give {len(PUBLISHED)} widths that heads of one size divide, the last the dimension, and depth {depth}"
        )
    sizes = {"channels": 3, "stem": _stem(preset), "classes": preset.classes}
    for i, width in enumerate(widths):
        sizes |= {f"plane{i}": width, f"twice{i}": 2 * width, f"hidden{i}": 4 * width, f"patch{i}": 4 >> i}
        sizes |= {f"heads{i}": width // head, f"group{i}": head}  # groups are as wide as heads in all that is published
    return ("plif" if preset.neuron == "plif" else "lif"), sizes


def _presets() -> Iterator[tuple[str, Preset]]:
    """Yield the models of the authors' functions and configurations: ImageNet, trained directly, transferred."""
    small = (64, 256, 512)
    for name, widths in {"ti": (64, 192, 384), "s": small, "m": (64, 384, 768), "l": (128, 512, 1024)}.items():
        yield f"{name}-imagenet", _preset("imagenet", widths, 4, 1000, 224, IMAGENET)
    for name, widths, size, steps in (("", (64, 192, 384), (32, 64), 16), ("s-", small, (128, 128), 10)):
        yield f"{name}cifar10", _preset("cifar", widths, 4, 10, size[0], CIFAR10)
        yield f"{name}cifar100", _preset("cifar", widths, 4, 100, size[0], CIFAR100)
        yield f"{name}cifar10dvs", _preset("dvs", widths, steps, 10, size[1])
    yield "s-dvs128", _preset("dvs", small, 10, 11, 128)
    yield "dvs128", _preset("dvs", (32, 96, 192), 16, 11, 64, neuron="plif", head=32)


def _preset(
    tokenizer: str, widths: tuple[int, ...], timesteps: int, classes: int, size: int,
    statistics: Statistics = ((), ()), neuron: str = "lif", head: int = 64,
) -> Preset:  # fmt: skip
    dim, (mean, std) = widths[-1], statistics
    return Preset(
        tokenizer, dim, 6, dim // head, timesteps, classes, size, NAME, mean=mean, std=std, widths=widths, neuron=neuron
    )


PLACES = {
    "activation_in": "attn.proj_lif",
    "activation_attn": "attn.v_lif",
    "activation_out": "attn.attn_lif",
    "up": "mlp.mlp1_lif",
}
"""Neurons of an attention or feed-forward module to those of Spikingformer's block whose rate is assumed; all others
are within a wide layer, as those of `mlp.mlp2_lif`."""


def _fires_like(neurons: str) -> str:
    """Return the neurons of Spikingformer whose rate is assumed: at the same place, blocks counted over all stages."""
    _, stage, module, place, *_ = neurons.split(".")
    if place == "activation":
        return f"patch_embed.proj{2 + int(stage)}_lif"
    before = sum(blocks.count("dssa") for blocks in PUBLISHED[: int(stage)])
    block = before + (int(module) - (stage != "0")) // 2
    return f"block.{block}.{PLACES.get(place, 'mlp.mlp2_lif')}"


FAMILY = Family(
    name=NAME,
    title="SpikingResformer",
    literature=literature.SPIKINGRESFORMER,
    forms=tuple(
        Form(name, _rows(PUBLISHED, {}, name == "plif"), grown=partial(_grown, parametric=name == "plif"))
        for name in ("plif", "lif")
    ),
    graph=_graph,
    sizes=_sizes,
    presets={f"{NAME}-{name}": preset for name, preset in _presets()},
    models=dict.fromkeys((f"{NAME}_{size}" for size in ("ti", "s", "m", "l", "cifar", "dvsg")), False),
    choices={
        "variant": ("standard",), "tokenizer": ("imagenet", "cifar", "dvs"), "neuron": ("lif", "plif"),
        "built_size": (),
    },
    fires_like=_fires_like,
)  # fmt: skip
