"""What calibration asks of a graph, and all that it knows of kinds of nodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from evsim.layers.attention import Attention
from evsim.layers.context import Context, Layer
from evsim.layers.gates import Gate, Masking, Sums
from evsim.layers.neurons import NeuronLayer
from evsim.layers.pool import Average, Pool
from evsim.layers.readout import Addition, Flattening, TokenAverage
from evsim.network import LIF, Add, MaxPool, Network, Node, Shape, SpikingSelfAttention, TokenMean
from evsim.primitives import And, AveragePool, Flatten, HeadProduct, HeadSum, Mask, TokenSum
from evsim.spikes import SpikeMap

RUNNING: Mapping[type[Node], Callable[[Any, Shape, Context], Layer]] = {
    MaxPool: Pool,
    AveragePool: lambda node, shape, context: Average(node, _read(node, shape), shape, context),
    Add: lambda _node, _shape, context: Addition(context),
    SpikingSelfAttention: Attention,
    Flatten: lambda _node, _shape, context: Flattening(context),
    And: lambda node, _shape, context: Gate(node, context),
    Mask: lambda node, _shape, context: Masking(node, context),
    HeadSum: Sums,
    TokenSum: Sums,
    TokenMean: lambda _node, _shape, context: TokenAverage(context),
}
"""Running form of the nodes that have neither weights nor a rate: they pass on what they are given."""

Progress = Callable[[int, int], None]
"""Takes the number of steps, and how many are over."""


def _read(node: AveragePool, shape: Shape) -> Shape:
    """Return the least map that an average pool makes this one of; what is left over beside it, no window reads."""
    height, width = ((size - 1) * node.stride + node.kernel - 2 * node.padding for size in (shape.height, shape.width))
    return replace(shape, height=height, width=width)


class Graph:
    """The neurons of a network and what stands around them.

    Parameters
    ----------
    network
        The network.

    Attributes
    ----------
    neurons
        Every LIF by its name, in order of execution, whose rate can be set.
    free
        Those that count spikes, for which no BatchNorm sets a rate: masks of attention. They fire as they do.
    pools
        LIF to the max-pool that alone reads it: its rate is that of what the pool emits.
    attention
        LIF to the attention that drives it.
    products
        LIF to the product of real rows that drives it.
    end
        Rank of the first mean, over tokens or time, or of the node behind the last neurons, if those come later.
    """

    def __init__(self, network: Network) -> None:
        self.network, self.readers = network, network.consumers()
        lifs = {node.name: node for node in network.nodes if isinstance(node, LIF)}
        self.free = {
            name: lif for name, lif in lifs.items() if isinstance(network.node(lif.inputs[0]), HeadSum | TokenSum)
        }
        self.neurons = {name: lif for name, lif in lifs.items() if name not in self.free}
        self.pools: dict[str, MaxPool] = {}
        self.attention: dict[str, SpikingSelfAttention] = {}
        self.products: dict[str, HeadProduct] = {}
        for name, lif in self.neurons.items():
            readers, source = self.readers[name], network.node(lif.inputs[0])
            reader = network.node(readers[0]) if len(readers) == 1 else None
            if isinstance(reader, MaxPool):
                self.pools[name] = reader
            if isinstance(source, SpikingSelfAttention):
                self.attention[name] = source
            if isinstance(source, HeadProduct):
                self.products[name] = source
        ends = (rank for rank, node in enumerate(network.nodes) if isinstance(node, TokenMean) or node.once)
        last = max((rank for rank, node in enumerate(network.nodes) if isinstance(node, LIF)), default=-1)
        self.end = max(next(ends, len(network.nodes)), last + 1)

    def feeds_attention(self, name: str) -> bool:
        """Whether a node drives neurons that attention reads."""
        last = [self.network.node(node) for reader in self.readers[name] for node in self.readers[reader]]
        return any(isinstance(node, SpikingSelfAttention) for node in last)

    def writes_to_stream(self, name: str) -> bool:
        """Whether a residual addition reads a node."""
        return any(isinstance(self.network.node(reader), Add) for reader in self.readers[name])

    def last_uses(self) -> dict[str, int]:
        """Return the rank of the last node that needs each output; q, k and v are needed until attention fires."""
        rank = {node.name: i for i, node in enumerate(self.network.nodes)}
        last = {name: max((rank[r] for r in readers), default=rank[name]) for name, readers in self.readers.items()}
        for name in self.readers:
            if self.feeds_attention(name):
                (lif,) = self.readers[name]
                last[name] = last[self.readers[lif][0]]
        for lif, product in self.products.items():  # the product is made when its neurons fire
            last |= {name: max(last[name], rank[lif]) for name in product.inputs}
        return last


def running(node: LIF, network: Network, context: Context) -> NeuronLayer:
    """Return the running form of neurons alone; of PLIF neurons, with their own time constant."""
    weights = {"w": network.weights[f"{node.name}.w"]} if node.parametric else None
    return NeuronLayer(node, network.shapes[node.name], context, weights)


def rate_of(spikes: SpikeMap) -> float:
    """Return the share of 1 among the spikes of a map."""
    fired = int(np.bitwise_count(spikes.words).sum(dtype=np.int64))
    return fired / (spikes.steps * spikes.height * spikes.width * spikes.channels)
