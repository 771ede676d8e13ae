"""What SEW-ResNet and Spiking ResNet share: the table of a ResNet, its stem, its neurons, and its readout.

There are the authors' keys and SpikingJelly's. The latter are torchvision's, which an ANN has too: of these the option
`family` must say what they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from evsim.converters.facts import CHOICES, Facts
from evsim.converters.inputs import Published, input_spec
from evsim.converters.neurons import find_neurons
from evsim.converters.parts import Builder
from evsim.converters.presets import IMAGENET, Preset
from evsim.converters.table import Form, Row
from evsim.errors import OptionError
from evsim.network import Input, Network, TimeMean, TokenMean

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
"""Layers with weights, shortcuts left out, to the blocks of each stage; from 50 on blocks are bottlenecks."""

BOTTLENECK, EXPANSION = 50, 4
EVALUATION = Published(
    crop=224 / 256,
    interpolation="bilinear",
    evaluation="resize 256 and crop 224, bilinear, as the authors' evaluation",
)

SHARED = "every ResNet of torchvision's keys, spiking or not"


def resnet_rows(shortcut: str, *, bottleneck: bool) -> tuple[Row, ...]:
    """Return the table of a ResNet.

    Parameters
    ----------
    shortcut
        Key of the shortcut's convolution within a block; where it ends in ``module.0``, all keys are the authors'.
    bottleneck
        Whether blocks have three convolutions.
    """

    def row(block: str, number: int, *shape: int | str) -> Row:
        authors = shortcut.endswith("module.0")
        name, norm = (f"conv{number}.module.0", "1") if authors else (f"conv{number}", f"bn{number}")
        return Row(f"{block}.{name}", shape, norm)

    rows, before = [Row("conv1", ("stem", "channels", 7, 7), "bn1")], "stem"
    for stage in range(1, 5):
        first, each, inner = f"layer{stage}.0", f"layer{stage}.{{blocks{stage}}}", f"inner{stage}"
        width = f"width{stage}" if bottleneck or stage > 1 else "stem"
        if width != before:
            entry = row(first, 1, inner, before, 1, 1) if bottleneck else row(first, 1, width, before, 3, 3)
            rows += [entry, Row(f"{first}.{shortcut}", (width, before, 1, 1), "1")]
        if bottleneck:
            rows += [row(each, 1, inner, width, 1, 1), row(each, 2, inner, f"group{stage}", 3, 3)]
            rows.append(row(each, 3, width, inner, 1, 1))
        else:
            rows += [row(each, 1, width, width, 3, 3), row(each, 2, width, width, 3, 3)]
        before = width
    return (*rows, Row("fc", ("classes", before), bias=True))


def resnet_forms(authors: str, jelly: str, other: str) -> tuple[Form, ...]:
    """Return a family's forms, by the key of the shortcut in the authors' keys and in SpikingJelly's."""
    return tuple(
        Form(f"{keys}-{'bottleneck' if deep else 'basic'}", resnet_rows(key, bottleneck=deep), shared)
        for keys, key, shared in (("authors", authors, ""), ("jelly", jelly, f"{other} and {SHARED}"))
        for deep in (True, False)
    )


def resnet_sizes(preset: Preset) -> tuple[str, Mapping[str, int]]:
    """Return form and sizes of a published ResNet; `dim` is the width of its stem, `depth` its layers.

    Raises
    ------
    OptionError
        If none of that depth is published.
    """
    if preset.depth not in BLOCKS:
        raise OptionError(f"no ResNet of depth {preset.depth} is published; there are {', '.join(map(str, BLOCKS))}")
    deep = preset.depth >= BOTTLENECK
    sizes = {"stem": preset.dim, "channels": 3, "classes": preset.classes}
    for stage, blocks in enumerate(BLOCKS[preset.depth], 1):
        width = preset.dim << (stage - 1)
        sizes[f"blocks{stage}"] = blocks
        if deep:
            sizes |= {f"width{stage}": width * EXPANSION, f"inner{stage}": width, f"group{stage}": width}
        elif stage > 1:
            sizes[f"width{stage}"] = width
    return f"authors-{'bottleneck' if deep else 'basic'}", sizes


def resnet_presets(family: str, connect: str | None = None) -> dict[str, Preset]:
    """Return the ResNets that SEW-ResNet's paper trains on ImageNet (arXiv 2102.04159, table 1), T = 4."""
    return {
        f"{family}-{depth}-imagenet": Preset(
            "imagenet", 64, depth, 0, 4, 1000, 224, family, mean=IMAGENET[0], std=IMAGENET[1],
            connect=connect, neuron="if", first_conv="once",
        )
        for depth in BLOCKS
    }  # fmt: skip


def resnet_models(prefix: str) -> dict[str, bool]:
    """Return what the authors' code and SpikingJelly call the ResNets of a family; no name decides the family."""
    kinds = [f"{prefix}resnet{depth}" for depth in BLOCKS]
    kinds += [f"{prefix}{kind}" for kind in ("resnext50_32x4d", "resnext101_32x8d")]
    kinds += [f"{prefix}wide_resnet{depth}_2" for depth in (50, 101)]
    return {f"{steps}{kind}": False for kind in kinds for steps in ("", "multi_step_")}


@dataclass(frozen=True, eq=False)
class Body:
    """The blocks of a ResNet as they are built: how its neurons are made, whether the first convolution runs once."""

    builder: Builder
    fire: Callable[[str, str], str]
    once: bool

    @property
    def authors(self) -> bool:
        """Whether the keys are the authors'."""
        return self.builder.form.name.startswith("authors")

    @property
    def last(self) -> int:
        """Number of a block's last convolution."""
        return 3 if self.builder.form.name.endswith("bottleneck") else 2

    def convs(self, path: str, x: str, stride: int) -> str:
        """Append a block's convolutions, with neurons between them; the stride is that of the first 3 x 3."""
        for number in range(1, self.last + 1):
            wide = number == 2 or self.last == 2
            name = f"{path}.conv{number}{'.module.0' * self.authors}"
            outputs, inputs = self.builder.layers[name].sized(self.builder.sizes)[:2]
            groups = outputs // inputs if wide and self.last == 3 and inputs and outputs % inputs == 0 else 1
            step = stride if number == self.last - 1 else 1
            x = self.builder.layer(name, x, step, int(wide), groups)
            if number < self.last:
                x = self.fire(f"{path}.sn{number}", x)
        return x

    def shortcut(self, path: str, x: str, stride: int, key: str) -> str:
        """Append the convolution of a block's shortcut where it has one."""
        name = f"{path}.{key}"
        return self.builder.layer(name, x, stride) if name in self.builder.layers else x


def resnet(builder: Builder, facts: Facts, name: str, block: Callable[[Body, str, str, int], str]) -> Network:
    """Build a ResNet.

    Parameters
    ----------
    builder, facts
        As a family's `graph` gets them.
    name
        The family.
    block
        Appends a block: takes the body, the block's path, its source and its stride; returns its last node.

    Raises
    ------
    CheckpointError, OptionError
        If weights or facts do not fit.
    """
    sizes, fire = builder.sizes, neurons_of(builder, facts)
    last = 3 if builder.form.name.endswith("bottleneck") else 2
    blocks = [sizes[f"blocks{stage}"] for stage in range(1, 5)]
    depth = 2 + last * sum(blocks)
    facts.agree("depth", depth)
    facts.agree("dim", sizes["stem"])
    if last == 3:
        inner, group = sizes["inner1"], sizes["group1"]
        facts.note("bottleneck", f"width {inner} in {inner // max(group, 1)} groups", "from the keys")
    facts.agree("classes", sizes["classes"], anyway=("num_classes",))
    facts.find("variant", constant="standard", reason="its only one on images", check=lambda v: v == "standard")
    facts.refuse(f"means nothing for {name}", "heads")
    events = sizes["channels"] == 2
    spec = input_spec(facts, "dvs" if events else "imagenet", sizes["channels"], EVALUATION)
    once = False
    if events:
        facts.refuse("means nothing for a model of events", "first_conv")
    else:
        reason = "the authors' code and SpikingJelly 0.0.0.0.12 repeat its result, newer SpikingJelly the image"
        once = (
            facts.find("first_conv", constant="once", reason=reason, check=CHOICES["first_conv"].__contains__) == "once"
        )
    kind = "integers" if events else "real"
    x = builder.add(Input("input", (), spec.channels, spec.height, spec.width, kind))  # type: ignore[arg-type]
    body = Body(builder, fire, once)
    x = fire("sn1", builder.layer("conv1", x, 2, 3, repeated=once))
    x = builder.pool("maxpool", x)
    for stage, count in enumerate(blocks, 1):
        for number in range(count):
            x = block(body, f"layer{stage}.{number}", x, 2 if stage > 1 and number == 0 else 1)
    x = builder.add(TokenMean("avgpool", (x,)))
    # the authors take the mean over time before the last layer, SpikingJelly's users after it
    x = builder.add(TimeMean("time_mean", (x,))) if body.authors else x
    x = builder.layer("fc", x)
    if not body.authors:
        builder.add(TimeMean("time_mean", (x,)))
    weights = builder.finish(())
    return Network(f"{name}-{depth}", name, "standard", spec, tuple(builder.nodes), weights)


def refuse_other(facts: Facts, prefix: str, family: str) -> None:
    """Refuse a checkpoint whose arguments name a ResNet of another family.

    Raises
    ------
    OptionError
        If they do.
    """
    model = facts.args.get("model")
    if isinstance(model, str) and model.lower() in resnet_models(prefix):
        raise OptionError(f"the checkpoint's args.model is {model}, which is no {family}; mend `family`")


def neurons_of(builder: Builder, facts: Facts) -> Callable[[str, str], str]:
    """Return what appends neurons, by name and source; IF where neither keys nor options tell; errors as there."""
    neurons = find_neurons(facts, builder, "if", "as the authors' nets on ImageNet")
    return partial(neurons.append, builder)


def fires_like(neurons: str) -> str:
    """Return the neurons of Spikingformer's tokenizer whose rate is assumed: of the same stage, of DVS nets the last.

    The neurons of the stem and those of the first stage are alike.
    """
    if neurons.startswith("conv."):
        return "patch_embed.proj4_lif"
    stage = neurons[5] if neurons.startswith("layer") else "1"
    return f"patch_embed.proj{stage}_lif"
