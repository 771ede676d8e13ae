"""Spiking ResNet (arXiv 2102.04159, its baseline): a ResNet whose ReLUs are neurons, in two spellings of its keys.

The last neurons of a block take the sum of real values: of its last BatchNorm, and of the shortcut, which is spikes or
a convolution with a BatchNorm and no neurons. So every convolution but the first reads spikes.
"""

from __future__ import annotations

from evsim.converters import literature
from evsim.converters.facts import CHOICES, Facts
from evsim.converters.family import Family
from evsim.converters.parts import Builder
from evsim.converters.resnet import (
    Body,
    fires_like,
    refuse_other,
    resnet,
    resnet_forms,
    resnet_models,
    resnet_presets,
    resnet_sizes,
)
from evsim.network import Add, Network

NAME = "spiking-resnet"


def _graph(builder: Builder, facts: Facts) -> Network:
    refuse_other(facts, "sew_", NAME)

    def block(body: Body, path: str, x: str, stride: int) -> str:
        out = body.convs(path, x, stride)
        shortcut = body.shortcut(path, x, stride, "downsample.module.0" if body.authors else "downsample.0")
        return body.fire(f"{path}.sn{body.last}", builder.add(Add(f"{path}.add", (shortcut, out))))

    return resnet(builder, facts, NAME, block)


FAMILY = Family(
    name=NAME,
    title="Spiking ResNet",
    literature=literature.SPIKING_RESNET,
    forms=resnet_forms("downsample.module.0", "downsample.0", "SEW-ResNet"),
    graph=_graph,
    sizes=resnet_sizes,
    presets=resnet_presets(NAME),
    models=resnet_models("spiking_"),
    choices={"variant": ("standard",), "neuron": CHOICES["neuron"], "first_conv": CHOICES["first_conv"]},
    fires_like=fires_like,
)
