"""From a network to stages: which primitives run, which of them fused, and what each reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from evsim.kernels.threads import Workers
from evsim.layers.context import Context, Layer
from evsim.layers.entry import check_entry
from evsim.layers.forms import FORMS, Place, Weights
from evsim.layers.integer_forms import INTEGER_FORMS
from evsim.layers.reals import shifted
from evsim.layers.synapses import gathers
from evsim.network import Network
from evsim.primitives import LIF, Add, Conv2d, Input, Linear, Node, Shape
from evsim.spikes import Packet


@dataclass(frozen=True, eq=False)
class Stage:
    """One running layer and the primitives it stands for.

    Attributes
    ----------
    layer
        The running form.
    nodes
        Primitives in order; more than one where they are fused. The last one's output is the stage's output.
    sources, shapes
        Names of the nodes whose outputs it takes, one per input, and what these emit.
    shifts
        In an integer network, by how many bits its inputs are shifted left, so that they are in units of 2^-F: other
        than 0 for the network's own, unless a layer with weights takes it as it is.
    workers
        Threads that share its work.
    """

    layer: Layer
    nodes: tuple[Node, ...]
    sources: tuple[str, ...]
    shapes: tuple[Shape, ...]
    workers: Workers
    shifts: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """Name of the node whose output this stage emits."""
        return self.nodes[-1].name

    @property
    def defers(self) -> bool:
        """Whether it steps without a look at the values that it takes, which may still be waited for."""
        return getattr(self.layer, "defers", False) and not any(self.shifts)

    def step(self, packets: tuple[Packet, ...], context: Context) -> Packet | None:
        """Take one packet per input, which are held against what was planned, and return the output, if any.

        Raises
        ------
        NetworkError
            As `evsim.layers.entry.check_entry`.
        """
        check_entry(self.name, self.shapes, packets, context.dtype)
        if any(self.shifts):
            packets = tuple(map(shifted, packets, self.shifts))
        return self.layer.step(*packets)


@dataclass(frozen=True)
class Group:
    """What becomes one stage: its primitives in order, and the names of the nodes that it reads, one per input."""

    nodes: tuple[Node, ...]
    sources: tuple[str, ...]


def groups(network: Network, streaming: bool, *, apart: bool = False) -> tuple[Group, ...]:
    """Tell which primitives run as one stage, in an order in which every stage comes after those that it reads.

    A convolution or linear layer is fused with the LIF, or the addition to a real-valued stream, that alone reads it.

    Parameters
    ----------
    network
        The graph.
    streaming
        Whether timesteps come one by one.
    apart
        Whether nothing is fused: every real value can be seen on its way. Results are the same to the last bit.
    """
    ranks = {node.name: rank for rank, node in enumerate(network.nodes)}
    readers = network.consumers()
    followers = {
        node.name: None if apart else _follower(network, node, readers[node.name], ranks, streaming)
        for node in network.nodes
    }
    absorbed = {node.name for node in followers.values() if node}
    grouped: dict[int, Group] = {}
    for node in network.nodes:
        if isinstance(node, Input) or node.name in absorbed:
            continue
        follower = followers[node.name]
        nodes = (node, follower) if follower else (node,)
        stream = tuple(name for name in follower.inputs if name != node.name) if isinstance(follower, Add) else ()
        # a fused stage runs where its last primitive stands: everything it reads has come by then
        grouped[ranks[nodes[-1].name]] = Group(nodes, (*node.inputs, *stream))
    return tuple(grouped[rank] for rank in sorted(grouped))


def plan(network: Network, timesteps: int, context: Context, *, apart: bool = False) -> tuple[Stage, ...]:
    """Build the stages of a network, in the order of its `groups`; parameters as there."""
    return tuple(
        Stage(
            _layer(network, group, timesteps, context),
            group.nodes,
            group.sources,
            tuple(network.shapes[name] for name in group.sources),
            context.workers,
            _shifts(network, group),
        )
        for group in groups(network, context.streaming, apart=apart)
    )


def _layer(network: Network, group: Group, timesteps: int, context: Context) -> Layer:
    """Return the running form of a group."""
    node, *followers = group.nodes
    sources = tuple(network.shapes[name] for name in node.inputs)
    neurons = next((follower for follower in followers if isinstance(follower, LIF)), None)
    behind = _weights(network, neurons) if neurons else None
    first = node.inputs[0] == network.input.name
    if context.quantization:
        own = {} if node.name in context.quantization.layers else _weights(network, node)
        at = Place(sources, network.shapes[node.name], own, timesteps, context, neurons, behind, first)
        return INTEGER_FORMS[type(node)](node, at)
    at = Place(sources, network.shapes[node.name], _weights(network, node), timesteps, context, neurons, behind, first)
    return FORMS[type(node)](node, at)


def _shifts(network: Network, group: Group) -> tuple[int, ...]:
    """Return the shifts of a stage's inputs, see `Stage`."""
    quantization, node = network.quantization, group.nodes[0]
    if quantization is None or network.input.kind != "real":
        return ()
    more = quantization.fraction - quantization.input_fraction
    takes = isinstance(node, Conv2d | Linear)
    entering = [name == network.input.name and not (takes and port == 0) for port, name in enumerate(group.sources)]
    return tuple(more * enters for enters in entering)


def _follower(
    network: Network, node: Node, readers: tuple[str, ...], ranks: Mapping[str, int], streaming: bool
) -> Node | None:
    """Return the primitive that can be fused behind `node`, if any; `readers` read it, `ranks` are places of nodes."""
    if not isinstance(node, Conv2d | Linear) or len(readers) != 1 or not gathers(node, network.shapes[node.inputs[0]]):
        return None
    reader = network.node(readers[0])
    # where timesteps come one by one, an image's convolution runs once for all of them, its neurons at each
    if isinstance(reader, LIF) and not (streaming and network.shapes[node.inputs[0]].kind == "real"):
        return reader
    if isinstance(reader, Add):
        others = [name for name in reader.inputs if name != node.name]
        if len(others) == 1 and network.shapes[others[0]].kind == "real" and ranks[others[0]] < ranks[node.name]:
            return reader
    return None


def _weights(network: Network, node: Node) -> Weights:
    return {key: network.weights[f"{node.name}.{key}"] for key in node.parameters()}
