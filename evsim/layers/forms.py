"""The running form of each primitive."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evsim.layers.affine import Joining, Scaling, Slicing
from evsim.layers.attention import Attention, IntegerAttention, NamedRows
from evsim.layers.context import Context, Layer
from evsim.layers.gates import Gate, Masking, Sums
from evsim.layers.grouped import Grouped
from evsim.layers.membrane import Neurons
from evsim.layers.neurons import IntegerNeurons, NeuronLayer
from evsim.layers.pool import Average, Pool
from evsim.layers.readout import Addition, Flattening, Padding, TimeAverage, TokenAverage, Voting
from evsim.layers.synapses import Synapses, gathers
from evsim.layers.time import Delaying, Reduction
from evsim.primitives import (
    LIF,
    AdaptiveAveragePool,
    Add,
    And,
    AveragePool,
    Concatenate,
    Conv2d,
    Delay,
    Flatten,
    HeadProduct,
    HeadSum,
    IAnd,
    Linear,
    Mask,
    MaxPool,
    MultiSpike,
    Neuron,
    Node,
    Pad,
    Scale,
    Shape,
    Slice,
    SpikingSelfAttention,
    SumPool,
    TimeMean,
    TimeReduction,
    TokenMean,
    TokenSum,
    Vote,
)

Weights = Mapping[str, NDArray[np.floating]]


@dataclass(frozen=True)
class Place:
    """Where a node stands: shapes of its sources and of its output, its weights, T, and what all layers share.

    `neurons`, with weights of their own, are those that are fused behind a layer with synapses. `reads_input`: whether
    its first source is the network's input.
    """

    sources: tuple[Shape, ...]
    shape: Shape
    weights: Weights
    timesteps: int
    context: Context
    neurons: LIF | None = None
    neuron_weights: Weights | None = None
    reads_input: bool = False


def _attention(node: SpikingSelfAttention, at: Place) -> Layer:
    q, _, v = at.sources
    if q.kind == "spikes" and v.channels == q.channels:
        return Attention(node, at.shape, at.context)
    return IntegerAttention(node, at.sources, at.shape, at.context)


def _synapses(node: Conv2d | Linear, at: Place) -> Layer:
    return Synapses(node, at.sources[0], at.shape, at.weights, at.context, at.neurons, at.neuron_weights)


def _convolution(node: Conv2d, at: Place) -> Layer:
    if not gathers(node, at.sources[0]):
        return Grouped(node, at.sources[0], at.shape, at.weights, at.context)
    return _synapses(node, at)


FORMS: Mapping[type[Node], Callable[[Any, Place], Layer]] = {
    Conv2d: _convolution,
    Linear: _synapses,
    LIF: lambda node, at: NeuronLayer(node, at.shape, at.context, at.weights),
    Neuron: lambda node, at: Neurons(node, at.shape, at.weights, at.context),
    MultiSpike: lambda node, at: IntegerNeurons(node, at.shape, at.context),
    MaxPool: lambda node, at: Pool(node, at.shape, at.context),
    AveragePool: lambda node, at: Average(node, at.sources[0], at.shape, at.context),
    SumPool: lambda node, at: Average(node, at.sources[0], at.shape, at.context),
    AdaptiveAveragePool: lambda node, at: Average(node, at.sources[0], at.shape, at.context),
    SpikingSelfAttention: _attention,
    HeadProduct: lambda node, at: NamedRows(node, at.sources[1], at.shape, at.context, at.weights["scale"]),
    HeadSum: lambda node, at: Sums(node, at.shape, at.context),
    TokenSum: lambda node, at: Sums(node, at.shape, at.context),
    And: lambda node, at: Gate(node, at.context),
    IAnd: lambda node, at: Gate(node, at.context),
    Mask: lambda node, at: Masking(node, at.context),
    Add: lambda _node, at: Addition(at.context),
    Flatten: lambda _node, at: Flattening(at.context),
    Pad: lambda node, at: Padding(node, at.context, at.weights["border"]),
    Vote: lambda node, at: Voting(node, at.context),
    Scale: lambda node, at: Scaling(node, at.shape, at.weights, at.context),
    Concatenate: lambda node, at: Joining(node, at.shape, at.context),
    Slice: lambda node, at: Slicing(node, at.shape, at.context),
    Delay: lambda node, at: Delaying(node, at.shape, at.timesteps, at.context),
    TimeReduction: lambda node, at: Reduction(node, at.timesteps, at.context),
    TokenMean: lambda _node, at: TokenAverage(at.context),
    TimeMean: lambda _node, at: TimeAverage(at.timesteps, at.context),
}
"""The running form of each primitive, in its place."""
