"""From a network to stages: which primitives run, which of them fused, and what each reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evsim.layers.attention import Attention, IntegerAttention, NamedRows
from evsim.layers.context import Context, Layer
from evsim.layers.gates import Gate, Masking, Sums
from evsim.layers.grouped import Grouped
from evsim.layers.neurons import IntegerNeurons, NeuronLayer
from evsim.layers.pool import Average, Pool
from evsim.layers.readout import Addition, Flattening, Padding, TimeAverage, TokenAverage, Voting
from evsim.layers.synapses import Synapses
from evsim.network import Network
from evsim.primitives import (
    LIF,
    AdaptiveAveragePool,
    Add,
    And,
    AveragePool,
    Conv2d,
    Flatten,
    HeadProduct,
    HeadSum,
    IAnd,
    Input,
    Linear,
    Mask,
    MaxPool,
    MultiSpike,
    Node,
    Pad,
    Shape,
    SpikingSelfAttention,
    SumPool,
    TimeMean,
    TokenMean,
    TokenSum,
    Vote,
)

Weights = Mapping[str, NDArray[np.floating]]


@dataclass(frozen=True)
class Place:
    """Where a node stands: shapes of its sources and of its output, its weights, T, and what all layers share."""

    sources: tuple[Shape, ...]
    shape: Shape
    weights: Weights
    timesteps: int
    context: Context


def _attention(node: SpikingSelfAttention, at: Place) -> Layer:
    q, _, v = at.sources
    if q.kind == "spikes" and v.channels == q.channels:
        return Attention(node, at.shape, at.context)
    return IntegerAttention(node, at.sources, at.shape, at.context)


FORMS: Mapping[type[Node], Callable[[Any, Place], Layer]] = {
    LIF: lambda node, at: NeuronLayer(node, at.shape, at.context, at.weights),
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
    TokenMean: lambda _node, at: TokenAverage(at.context),
    TimeMean: lambda _node, at: TimeAverage(at.timesteps, at.context),
}
"""The running form of each primitive without synapses, in its place; those with synapses are `Synapses`, alone or with
what follows, or `Grouped`."""


@dataclass(frozen=True, eq=False)
class Stage:
    """One running layer and the primitives it stands for.

    Attributes
    ----------
    layer
        The running form.
    nodes
        Primitives in order; more than one where they are fused. The last one's output is the stage's output.
    sources
        Names of the nodes whose outputs it takes, one per input.
    """

    layer: Layer
    nodes: tuple[Node, ...]
    sources: tuple[str, ...]

    @property
    def name(self) -> str:
        """Name of the node whose output this stage emits."""
        return self.nodes[-1].name


def plan(network: Network, timesteps: int, context: Context) -> tuple[Stage, ...]:
    """Build the stages of a network in an order in which every stage comes after those that it reads.

    A convolution or linear layer is fused with the LIF, or the addition to a real-valued stream, that alone reads it.
    """
    followers = {node.name: _follower(network, node, context.streaming) for node in network.nodes}
    absorbed = {node.name for node in followers.values() if node}
    stages: dict[int, Stage] = {}
    for rank, node in enumerate(network.nodes):
        if isinstance(node, Input) or node.name in absorbed:
            continue
        follower = followers[node.name]
        at = Place(
            tuple(network.shapes[name] for name in node.inputs), network.shapes[node.name], _weights(network, node),
            timesteps, context,
        )  # fmt: skip
        if not isinstance(node, Conv2d | Linear):
            stages[rank] = Stage(FORMS[type(node)](node, at), (node,), node.inputs)
            continue
        if isinstance(node, Conv2d) and node.groups > 1:
            grouped = Grouped(node, at.sources[0], at.shape, at.weights, context)
            stages[rank] = Stage(grouped, (node,), node.inputs)
            continue
        neurons = follower if isinstance(follower, LIF) else None
        own = _weights(network, neurons) if neurons else None
        synapses = Synapses(node, at.sources[0], at.shape, at.weights, context, neurons, own)
        nodes = (node, follower) if follower else (node,)
        stream = tuple(name for name in follower.inputs if name != node.name) if isinstance(follower, Add) else ()
        # a fused stage runs where its last primitive stands: everything it reads has come by then
        stages[network.nodes.index(nodes[-1])] = Stage(synapses, nodes, (*node.inputs, *stream))
    return tuple(stages[rank] for rank in sorted(stages))


def _follower(network: Network, node: Node, streaming: bool) -> Node | None:
    """Return the primitive that can be fused behind `node`, if any."""
    readers = network.consumers()[node.name]
    if not isinstance(node, Conv2d | Linear) or len(readers) != 1:
        return None
    if isinstance(node, Conv2d) and node.groups > 1:
        return None
    reader = network.node(readers[0])
    # where timesteps come one by one, an image's convolution runs once for all of them, its neurons at each
    if isinstance(reader, LIF) and not (streaming and network.shapes[node.inputs[0]].kind == "real"):
        return reader
    if isinstance(reader, Add):
        others = [name for name in reader.inputs if name != node.name]
        earlier = [n.name for n in network.nodes[: network.nodes.index(node)]]
        if len(others) == 1 and network.shapes[others[0]].kind == "real" and others[0] in earlier:
            return reader
    return None


def _weights(network: Network, node: Node) -> Weights:
    return {key: network.weights[f"{node.name}.{key}"] for key in node.parameters()}
