"""The same weights with the residual placed otherwise: as in Spikingformer, or as in Spikformer and SEW-ResNet.

Spike-driven (Spikingformer): the stream is real-valued, and neurons stand before the layers that read it. SEW
(Spikformer): neurons stand behind the layers that write, the stream is a sum of spikes, and q, k, v and fc1 read its
integers. Moving the neurons of each residual branch from its head to its end, or back, changes nothing else; what
then differs is what the residual alone costs, at the firing rates that these weights give. It says nothing about
accuracy: a network must be trained with the residual that it has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args

from evsim.errors import OptionError
from evsim.network import LIF, Add, Conv2d, Linear, Network, Node

Residual = Literal["spike-driven", "sew"]

FAMILIES = ("spikingformer", "spikformer")
"""Families whose residual branches end in one layer, so that neurons can be moved."""


@dataclass(frozen=True)
class Branch:
    """A residual branch: the stream it starts from, its addition, and the layer (and neurons) that end it."""

    stream: str
    add: Add
    last: Conv2d | Linear
    neurons: LIF | None


def placement(network: Network) -> Residual:
    """Return where the network's residual has its neurons.

    Raises
    ------
    OptionError
        If the network is of a family whose residual is neither.
    """
    if network.family not in FAMILIES:
        raise OptionError(f"{network.name}: `residual` knows {' and '.join(FAMILIES)}, not {network.family}")
    return "sew" if any(branch.neurons for branch in _branches(network)) else "spike-driven"


def with_residual(network: Network, residual: Residual) -> Network:
    """Return the network with its residual placed so; the same object if it already is.

    The stream of a spike-driven network starts with real values; under SEW it starts with spikes, fired by one more
    layer of neurons (`<node>_lif`) behind the tokenizer. In the other direction these (Spikformer's `rpe_lif`) fall
    away, because the real-valued stream needs none there.

    Raises
    ------
    OptionError
        If `residual` has no such value, or the family's residual is neither.
    """
    if residual not in get_args(Residual):
        raise OptionError(f"`residual` must be spike-driven or sew, got {residual}")
    if placement(network) == residual:
        return network
    nodes = _to_sew(network) if residual == "sew" else _to_spike_driven(network)
    return replace(network, name=f"{network.name} ({residual})", variant=f"{network.variant}, {residual}", nodes=nodes)


def _branches(network: Network) -> list[Branch]:
    branches = []
    for add in network.nodes:
        if isinstance(add, Add):
            stream, end = add.inputs
            node = network.node(end)
            neurons = node if isinstance(node, LIF) else None
            last = network.node(neurons.inputs[0]) if neurons else node
            if not isinstance(last, Conv2d | Linear):
                raise OptionError(
                    f"{network.name}: the branch that ends in {add.name} is none that `residual` can move"
                )
            branches.append(Branch(stream, add, last, neurons))
    return branches


def _to_sew(network: Network) -> tuple[Node, ...]:
    """Move the neurons that read the stream behind the last layer of their branch."""
    branches = _branches(network)
    readers = {branch.stream: _reader(network, branch) for branch in branches}
    first = branches[0].stream
    start = replace(readers[first], name=f"{first}_lif", inputs=(first,), layout="map")
    renamed = {lif.name: (start.name if stream == first else stream) for stream, lif in readers.items()}
    ends = {branch.add.name: (branch, readers[branch.stream]) for branch in branches}
    nodes: list[Node] = []
    for node in network.nodes:
        if node.name in renamed:
            continue
        if node.name in ends:
            branch, lif = ends[node.name]
            nodes.append(replace(lif, inputs=(branch.last.name,)))
            stream = start.name if branch.stream == first else branch.stream
            nodes.append(replace(branch.add, inputs=(stream, lif.name)))
            continue
        nodes.append(_reading(node, renamed))
        if node.name == first:
            nodes.append(start)
    return tuple(nodes)


def _to_spike_driven(network: Network) -> tuple[Node, ...]:
    """Move the neurons behind a branch before the layers that read the stream."""
    moved: dict[str, LIF] = {}
    dropped: set[str] = set()
    ends: dict[str, Node] = {}
    for branch in _branches(network):
        if branch.neurons is None:
            raise OptionError(f"{network.name}: {branch.add.name} has no neurons to move")
        dropped.add(branch.neurons.name)
        ends[branch.add.name] = replace(branch.add, inputs=(branch.stream, branch.last.name))
        if network.shapes[branch.stream].kind != "spikes":
            moved[branch.stream] = replace(branch.neurons, inputs=(branch.stream,))
    nodes: list[Node] = []
    for node in network.nodes:
        if node.name in dropped:
            continue
        synaptic = isinstance(node, Conv2d | Linear)
        nodes.append(
            ends[node.name]
            if node.name in ends
            else _reading(node, {stream: lif.name for stream, lif in moved.items()} if synaptic else {})
        )
        if node.name in moved:
            nodes.append(moved[node.name])
    return tuple(nodes)


def _reader(network: Network, branch: Branch) -> LIF:
    """Return the neurons through which a branch reads the stream."""
    readers = [network.node(name) for name in network.consumers()[branch.stream]]
    neurons = [node for node in readers if isinstance(node, LIF)]
    if len(neurons) != 1:
        raise OptionError(f"{network.name}: {branch.stream} is read by {len(neurons)} layers of neurons, wanted one")
    return neurons[0]


def _reading(node: Node, renamed: Mapping[str, str]) -> Node:
    inputs = tuple(renamed.get(name, name) for name in node.inputs)
    return replace(node, inputs=inputs) if inputs != node.inputs else node
