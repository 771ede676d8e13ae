"""SpikingJelly's spiking VGG (`spiking_vgg11` to `spiking_vgg19_bn`): torchvision's VGG with neurons for ReLUs.

Its keys are torchvision's, so only the option `family`, the learned numbers of PLIF neurons or a name of SpikingJelly's
in ``args.model`` can tell it from an ANN. What neurons it has and how many timesteps is the choice of who trains it.
"""

from __future__ import annotations

from collections.abc import Mapping

from evsim.converters import literature
from evsim.converters.facts import CHOICES, Facts
from evsim.converters.family import Family
from evsim.converters.inputs import Published, input_spec
from evsim.converters.neurons import find_neurons
from evsim.converters.parts import Builder
from evsim.converters.presets import IMAGENET, Preset
from evsim.converters.table import Form, Row
from evsim.errors import OptionError
from evsim.network import Input, MaxPool, Network, TimeMean
from evsim.primitives import AdaptiveAveragePool, Flatten

NAME = "spiking-vgg"
STAGES = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
"""Convolutions between two max-pools, by the number of layers with weights."""

SIDE = 7
"""Of the map that the classifier reads, whatever the image's size."""

SHARED = "an ANN of torchvision"
EVALUATION = Published(crop=0.875, interpolation="bilinear")
CROPPED = 224
"""The size at which SpikingJelly's ImageNet script cuts a picture out of 256; smaller pictures are taken whole."""


def _places(depth: int, norm: bool) -> list[tuple[int, bool]]:
    """Return the number in `features` of each convolution, and whether a max-pool follows its neurons."""
    places, number = [], 0
    for convolutions in STAGES[depth]:
        for i in range(convolutions):
            last = i == convolutions - 1
            places.append((number, last))
            number += 2 + norm + last
    return places


def _rows(depth: int, norm: bool) -> tuple[Row, ...]:
    rows, source = [], "channels"
    for i, (number, _) in enumerate(_places(depth, norm)):
        width = f"width{i + 1}"
        rows.append(Row(f"features.{number}", (width, source, 3, 3), str(number + 1) if norm else "", bias=True))
        source = width
    return (
        *rows,
        Row("classifier.0", ("hidden1", "flat"), bias=True),
        Row("classifier.3", ("hidden2", "hidden1"), bias=True),
        Row("classifier.6", ("classes", "hidden2"), bias=True),
    )


def _learned(depth: int, norm: bool) -> tuple[str, ...]:
    neurons = (f"features.{number + 1 + norm}" for number, _ in _places(depth, norm))
    return (*neurons, "classifier.1", "classifier.4")


def _name(depth: int, norm: bool) -> str:
    return f"vgg{depth}_bn" if norm else f"vgg{depth}"


FORMS = {_name(depth, norm): (depth, norm) for depth in STAGES for norm in (False, True)}


def _graph(builder: Builder, facts: Facts) -> Network:
    sizes = builder.sizes
    depth, norm = FORMS[builder.form.name]
    variant = "bn" if norm else "plain"
    facts.agree("variant", variant)
    facts.agree("dim", sizes["width1"])
    facts.agree("depth", depth)
    facts.agree("classes", sizes["classes"], anyway=("num_classes",))
    facts.refuse(f"means nothing for {NAME}", "heads")
    neurons = find_neurons(facts, builder)
    first = facts.find(
        "first_conv", constant="once", reason="as SpikingJelly 0.0.0.0.12; from 0.0.0.0.14 on every-step",
        check=lambda rule: rule in CHOICES["first_conv"],
    )  # fmt: skip
    size, _ = facts.stated("image_size")
    whole = size is not None and size < CROPPED
    spec = input_spec(facts, "imagenet", sizes["channels"], None if whole else EVALUATION)
    x = builder.add(Input("input", (), spec.channels, spec.height, spec.width, "real"))
    for number, pooled in _places(depth, norm):
        x = builder.layer(f"features.{number}", x, padding=1, repeated=number == 0 and first == "once")
        fired = number + 1 + norm
        x = neurons.append(builder, f"features.{fired}", x)
        if pooled:
            x = builder.add(MaxPool(f"features.{fired + 1}", (x,), 2, 2, 0))
    x = builder.add(AdaptiveAveragePool("avgpool", (x,), SIDE, SIDE))
    x = builder.add(Flatten("flatten", (x,)))
    for number, hidden in ((0, "hidden1"), (3, "hidden2")):
        x = builder.layer(f"classifier.{number}", x)
        x = neurons.append(builder, f"classifier.{number + 1}", x, "rows", (sizes[hidden],))
    builder.add(TimeMean("time_mean", (builder.layer("classifier.6", x),)))
    weights = builder.finish(FAMILY.unused)
    name = f"{NAME}-{builder.form.name.removeprefix('vgg').replace('_', '-')}"
    return Network(name, NAME, variant, spec, tuple(builder.nodes), weights)


def _sizes(preset: Preset) -> tuple[str, Mapping[str, int]]:
    if preset.depth not in STAGES:
        raise OptionError(f"{NAME} has {', '.join(map(str, STAGES))} layers, not {preset.depth}")
    widths = [preset.dim * min(2**stage, 8) for stage, count in enumerate(STAGES[preset.depth]) for _ in range(count)]
    counted = {f"width{i + 1}": width for i, width in enumerate(widths)}
    hidden = dict.fromkeys(("hidden1", "hidden2"), 64 * preset.dim)
    sizes = {"channels": 3, **counted, "flat": SIDE * SIDE * widths[-1], **hidden, "classes": preset.classes}
    return _name(preset.depth, preset.variant == "bn"), sizes


def _presets() -> dict[str, Preset]:
    """Return torchvision's sizes; neuron and T are published by nobody."""
    mean, std = IMAGENET
    return {
        f"{NAME}-{depth}{'-bn' if norm else ''}-imagenet": Preset(
            "imagenet", 64, depth, 0, 4, 1000, 224, NAME, "bn" if norm else "plain", mean, std,
            assumed=("timesteps", "neuron"), neuron="if",
        )
        for depth, norm in FORMS.values()
    }  # fmt: skip


def _fires_like(neurons: str) -> str:
    """Return the neurons of Spikingformer's tokenizer whose rate is assumed: its first, for all others its last."""
    return f"patch_embed.proj{1 if neurons in ('features.1', 'features.2') else 4}_lif"


FAMILY = Family(
    name=NAME,
    title="spiking VGG of SpikingJelly",
    literature=literature.SPIKING_VGG,
    forms=tuple(Form(name, _rows(*form), SHARED, _learned(*form)) for name, form in FORMS.items()),
    graph=_graph,
    sizes=_sizes,
    presets=_presets(),
    models={f"{steps}spiking_{name}": True for name in FORMS for steps in ("", "multi_step_")},
    choices={
        "variant": ("plain", "bn"),
        "tokenizer": ("imagenet",),
        "neuron": CHOICES["neuron"],
        "first_conv": CHOICES["first_conv"],
        "v_threshold": (),
    },
    fires_like=_fires_like,
)
