"""The running form of each primitive in an integer network, where it is another one than everywhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from evsim.errors import NetworkError
from evsim.layers.context import Layer
from evsim.layers.forms import FORMS, Place
from evsim.layers.integer_grouped import IntegerGrouped
from evsim.layers.integer_levels import IntegerLevels
from evsim.layers.integer_neurons import IntegerNeuronLayer
from evsim.layers.integer_others import (
    AttentionOfIntegers,
    IntegerAverage,
    IntegerNamedRows,
    IntegerPadding,
    IntegerScaling,
    IntegerSpikeAttention,
    IntegerTimeAverage,
    IntegerTokenAverage,
    IntegerVoting,
)
from evsim.layers.integer_synapses import IntegerSynapses
from evsim.layers.synapses import gathers
from evsim.primitives import (
    LIF,
    AdaptiveAveragePool,
    AveragePool,
    Conv2d,
    HeadProduct,
    Linear,
    MultiSpike,
    Neuron,
    Node,
    Pad,
    Scale,
    SpikingSelfAttention,
    SumPool,
    TimeMean,
    TokenMean,
    Vote,
)


def _attention(node: SpikingSelfAttention, at: Place) -> Layer:
    q, _, v = at.sources
    if q.kind == "spikes" and v.channels == q.channels:
        return IntegerSpikeAttention(node, at.shape, at.context)
    return AttentionOfIntegers(node, at.sources, at.shape, at.context)


def _synapses(node: Conv2d | Linear, at: Place) -> Layer:
    quantization = at.context.quantization
    assert quantization
    layer = quantization.layers[node.name]
    fraction = quantization.input_fraction if at.reads_input else quantization.fraction
    if isinstance(node, Conv2d) and not gathers(node, at.sources[0]):
        return IntegerGrouped(node, at.sources[0], at.shape, layer, fraction, at.context)
    return IntegerSynapses(
        node, at.sources[0], at.shape, layer, fraction, at.context, at.neurons, at.neuron_weights,
        of_image=at.reads_input,
    )  # fmt: skip


def _refused(node: Node, _at: Place) -> Layer:
    raise NetworkError(f"{node.name}: {type(node).__name__} has no integer form; run it with `precision=float32`")


INTEGER_FORMS: Mapping[type[Node], Callable[[Any, Place], Layer]] = {
    **FORMS,
    Conv2d: _synapses,
    Linear: _synapses,
    LIF: lambda node, at: IntegerNeuronLayer(node, at.shape, at.context, at.weights),
    Neuron: _refused,
    MultiSpike: lambda node, at: IntegerLevels(node, at.shape, at.context),
    AveragePool: lambda node, at: IntegerAverage(node, at.sources[0], at.shape, at.context),
    SumPool: lambda node, at: IntegerAverage(node, at.sources[0], at.shape, at.context),
    AdaptiveAveragePool: lambda node, at: IntegerAverage(node, at.sources[0], at.shape, at.context),
    SpikingSelfAttention: _attention,
    HeadProduct: lambda node, at: IntegerNamedRows(node, at.shape, at.context, at.weights["scale"]),
    Pad: lambda node, at: IntegerPadding(node, at.context, at.weights["border"]),
    Vote: lambda node, at: IntegerVoting(node, at.context),
    Scale: lambda node, at: IntegerScaling(node, at.sources[0], at.shape, at.weights, at.context),
    TokenMean: lambda _node, at: IntegerTokenAverage(at.context),
    TimeMean: lambda _node, at: IntegerTimeAverage(at.timesteps, at.context),
}
"""The running form of each primitive in an integer network, in its place."""
