"""What calibration asks of a graph, and all that it knows of kinds of nodes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from evsim.layers.context import Context, Layer
from evsim.layers.forms import FORMS, Place
from evsim.network import LIF, Add, MaxPool, Network, Node, SpikingSelfAttention, TokenMean
from evsim.primitives import HeadProduct, HeadSum, MultiSpike, TokenSum
from evsim.spikes import IntegerMap, SpikeMap

Neurons = LIF | MultiSpike
"""Nodes that have a rate: of integer neurons, the share of their greatest integer that they emit on average."""

Fired = SpikeMap | IntegerMap
"""What neurons emit."""

Progress = Callable[[int, int], None]
"""Takes the number of steps, and how many are over."""


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
        neurons: dict[str, Neurons] = {node.name: node for node in network.nodes if isinstance(node, Neurons)}
        self.free = {
            name: lif for name, lif in neurons.items() if isinstance(network.node(lif.inputs[0]), HeadSum | TokenSum)
        }
        self.neurons = {name: lif for name, lif in neurons.items() if name not in self.free}
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
        last = max((rank for rank, node in enumerate(network.nodes) if isinstance(node, Neurons)), default=-1)
        self.end = max(next(ends, len(network.nodes)), last + 1)

    def feeds_attention(self, name: str) -> bool:
        """Whether a node drives neurons that attention reads."""
        last = [self.network.node(node) for reader in self.readers[name] for node in self.readers[reader]]
        return any(isinstance(node, SpikingSelfAttention) for node in last)

    def drives_neurons(self, name: str) -> bool:
        """Whether neurons read a node."""
        return any(reader in self.neurons for reader in self.readers[name])

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
        again = {lif: product.inputs for lif, product in self.products.items()}  # made when its neurons fire
        for neurons, node in self.neurons.items():
            source = self.network.node(node.inputs[0])
            if "weight" in source.parameters():  # which runs again with every change of its weights
                again[neurons] = source.inputs
        for neurons, inputs in again.items():
            last |= {name: max(last[name], rank[neurons]) for name in inputs}
        return last


def running(node: Node, network: Network, context: Context) -> Layer:
    """Return the running form of a node, fused with no other."""
    sources = tuple(network.shapes[name] for name in node.inputs)
    weights = {name: network.weights[f"{node.name}.{name}"] for name in node.parameters()}
    return FORMS[type(node)](node, Place(sources, network.shapes[node.name], weights, network.spec.timesteps, context))


def moved(node: Neurons, margin: float) -> tuple[Neurons, float]:
    """Return neurons whose thresholds are higher by a margin, and what to add to their currents.

    Those of integers stand where their rounding has them: there the currents are lower by as much.
    """
    if isinstance(node, MultiSpike):
        return node, -margin
    return replace(node, v_threshold=node.v_threshold + margin), 0.0


def rate_of(fired: Fired, node: Neurons) -> float:
    """Return the share of 1 among the spikes of a map, or of the greatest integer in integers of these neurons."""
    if isinstance(node, MultiSpike):
        assert isinstance(fired, IntegerMap)
        return int(fired.values.sum(dtype=np.int64)) / (fired.values.size * node.levels)
    assert isinstance(fired, SpikeMap)
    spikes = int(np.bitwise_count(fired.words).sum(dtype=np.int64))
    return spikes / (fired.steps * fired.height * fired.width * fired.channels)
