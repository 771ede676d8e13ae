"""A NIR graph becomes a network: each node by its own rule, several edges into a node by their sum."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod

import numpy as np
from numpy.typing import NDArray

from evsim.converters.nir import neurons, synapses
from evsim.converters.nir.discretise import steps
from evsim.converters.nir.graph import Edge, Graph, Unit
from evsim.converters.nir.options import NirOptions
from evsim.converters.nir.values import Dims, declared, dims_of, size_of
from evsim.converters.nir.ways import ordered
from evsim.errors import GraphError, OptionError
from evsim.modelfile import LARGEST_MAP, MOST_NODES
from evsim.network import Add, Input, Node
from evsim.primitives import Delay, Flatten, TimeReduction
from evsim.primitives.order import ordered as in_order

RUNS = {
    "Affine": synapses.affine, "Linear": synapses.affine, "Conv1d": synapses.conv, "Conv2d": synapses.conv,
    "Scale": synapses.scale, "SumPool2d": synapses.pool, "AvgPool2d": synapses.pool, "IF": neurons.integrate,
    "I": neurons.integrate, "LIF": neurons.leaky, "LI": neurons.leaky, "CubaLIF": neurons.current,
    "CubaLI": neurons.current, "Threshold": neurons.threshold,
}  # fmt: skip
"""Types of nodes that compute, and what makes a node of a network of each."""

PASSES = ("Input", "Output", "Flatten", "Delay")
"""Types that put values into another place or time."""

UNTOLD = ("Conv1d", "Conv2d", "SumPool2d", "AvgPool2d", "Flatten", "Output")
"""Types whose parameters tell no shape of what they get."""

SPIKING = ("IF", "LIF", "CubaLIF", "Threshold")
"""Types that emit spikes: where a cycle goes back in time."""

Rule = Callable[["Unit", str, Dims, NirOptions], "tuple[Node, Dims, dict[str, NDArray[np.floating]]]"]


class Assembly:
    """Nodes and weights as they come together.

    Parameters
    ----------
    graph, options
        What is built, and how.

    Attributes
    ----------
    nodes, weights
        Of the network, in order of execution.
    dims
        Of what each node of the graph gives, as NIR has it.
    delayed
        Nodes of the graph behind whose output a delay of a timestep was put, for a cycle.
    dropped
        Nodes whose bias is all zeros and was left out.

    Raises
    ------
    GraphError, OptionError
        If a node cannot be built; the message names it.
    """

    def __init__(self, graph: Graph, options: NirOptions) -> None:
        self.graph, self.options = graph, options
        self.nodes: list[Node] = []
        self.weights: dict[str, NDArray[np.floating]] = {}
        self.dims: dict[str, Dims] = {}
        self.delayed: list[str] = []
        self.dropped: list[str] = []
        self._outputs: dict[str, str] = {}
        self._placed_delays: set[str] = set()
        self._names = set(graph.units)
        self._sources: dict[str, list[str]] = {name: [] for name in graph.units}
        for source, target in graph.edges:
            self._sources[target].append(source)
        self._check_types()
        lagging = {u.name for u in graph.units.values() if u.kind == "Delay" and self._steps(u)}
        order, self._back = ordered(graph, [u.name for u in graph.units.values() if u.kind in SPIKING], lagging)
        for name in order:
            if graph.units[name].kind == "Delay":
                self._declare(name)
        for name in order:
            self._add(graph.units[name])
        if len(self.nodes) > MOST_NODES:
            raise GraphError(f"{graph.path} adds up what so many edges bring that it has more than {MOST_NODES} nodes")
        self.nodes = list(in_order(self.nodes))

    def _check_types(self) -> None:
        for unit in self.graph.units.values():
            if unit.kind not in RUNS and unit.kind not in PASSES:
                raise GraphError(
                    f"{self.graph.path}: {unit} is of a type that evsim does not run; it runs "
                    f"{', '.join((*RUNS, *PASSES))} and sub-graphs"
                )
            if "tau" in "".join(unit.values) or unit.kind == "Delay":
                self._timestep(unit)

    def _timestep(self, unit: Unit) -> float:
        if self.options.timestep is None:
            raise OptionError(
                f"{unit} has constants in seconds, and a graph tells no length of a timestep; give `timestep`, e.g. 1ms"
            )
        return self.options.timestep

    def _steps(self, unit: Unit) -> int:
        return steps(unit, self._timestep(unit))

    def _declare(self, name: str) -> None:
        """Take the shape of a delay that closes a cycle from its own parameter, where that tells it."""
        shape = declared(self.graph.units[name])
        if prod(shape) > 1 and len(shape) <= 3:
            self.dims[name] = shape

    def _add(self, unit: Unit) -> None:
        """Append what a node of the graph becomes, behind its sources."""
        if unit.kind == "Input":
            self._input(unit)
            return
        source, dims = self._joined(unit)
        match unit.kind:
            case "Output":
                self._output(unit, source, dims)
            case "Flatten":
                self._flatten(unit, source, dims)
            case "Delay":
                self._delay(unit, source, dims)
            case _:
                node, given, weights = RUNS[unit.kind](unit, source, dims, self.options)
                if "bias" in unit.values and "bias" not in weights:
                    self.dropped.append(unit.name)
                self.nodes.append(node)
                self.weights |= {f"{unit.name}.{key}": values for key, values in weights.items()}
                self._give(unit, unit.name, given)

    def _joined(self, unit: Unit) -> tuple[str, Dims]:
        """Return the node that gives what all edges into a node bring, added up, and its shape."""
        brought = [self._brought((source, unit.name)) for source in self._sources[unit.name]]
        known = [dims for _, dims in brought if dims]
        if not known:
            known = [self._told(unit)]
        dims = known[0]
        for (_, other), name in zip(brought, self._sources[unit.name], strict=True):
            if other and other != dims:
                raise GraphError(
                    f"{unit} adds up values of different shape: {list(dims)}, and {list(other)} from {name}; an "
                    "edge of NIR changes no shape"
                )
        total, *more = (self._placed(name, dims) for name, _ in brought)
        for number, name in enumerate(more):
            total = self._named(Add(self._fresh(f"{unit.name}.sum{number or ''}"), (total, name)))
        return total, dims

    def _brought(self, edge: Edge) -> tuple[str | Delay, Dims]:
        """Return the node that an edge brings values from, and their shape, () where it is not known yet."""
        source = edge[0]
        if edge not in self._back:
            return self._outputs[source], self.dims[source]
        shape = self.dims.get(source) or declared(self.graph.units[source])
        dims = shape if prod(shape) > 1 and len(shape) <= 3 else ()
        if self.graph.units[source].kind == "Delay":
            return source, dims  # which is built when its turn comes
        if source not in self.delayed:
            self.delayed.append(source)
        return Delay(f"{source}.before", (source,)), dims

    def _told(self, unit: Unit) -> Dims:
        """Return the shape that a node's own parameters want, where nothing else tells it."""
        shape = declared(unit)[-1:] if unit.kind in ("Affine", "Linear") else declared(unit)
        if unit.kind in UNTOLD or not 1 <= len(shape) <= 3:
            raise GraphError(
                f"nothing tells the shape of what {unit} gets through its cycle; give the neurons that it reads "
                "parameters in full shape"
            )
        return shape

    def _placed(self, source: str | Delay, dims: Dims) -> str:
        """Return the name of a node, appended if it is a delay that is not there yet."""
        if isinstance(source, str):
            return source
        if source.name not in self._placed_delays:
            self._placed_delays.add(source.name)
            channels, height, width = size_of(dims)
            self.nodes.append(replace(source, channels=channels, height=height, width=width))
        return source.name

    def _fresh(self, name: str) -> str:
        """Return a name that no node of the graph has."""
        while name in self._names:
            name += "_"
        self._names.add(name)
        return name

    def _named(self, node: Node) -> str:
        self.nodes.append(node)
        return node.name

    def _give(self, unit: Unit, output: str, dims: Dims) -> None:
        """Remember which node gives a unit's output, and its shape, which must not be larger than any map is."""
        if prod(dims) > LARGEST_MAP:
            raise GraphError(f"{unit} gives values of shape {list(dims)}, {prod(dims)} of them; at most {LARGEST_MAP}")
        self._outputs[unit.name], self.dims[unit.name] = output, dims

    def _input(self, unit: Unit) -> None:
        if self._sources[unit.name]:
            raise GraphError(f"{self.graph.path}: an edge leads to {unit}, which takes what is fed; leave it out")
        dims = dims_of(unit, "shape")
        self._give(unit, unit.name, dims)
        kind = "integers" if self.options.choice("input_kind") == "events" else "real"
        self._named(Input(unit.name, (), *size_of(dims), kind))  # type: ignore[arg-type]

    def _output(self, unit: Unit, source: str, dims: Dims) -> None:
        told = dims_of(unit, "shape") if "shape" in unit.values else dims
        if told != dims:
            raise GraphError(f"{unit}: shape is {list(told)}, but what it gets is of shape {list(dims)}")
        if len(dims) > 1:
            source = self._named(Flatten(self._fresh(f"{unit.name}.flat"), (source,)))
        reduction = self.options.choice("readout")
        self._named(TimeReduction(unit.name, (source,), reduction))  # type: ignore[arg-type]
        self._give(unit, unit.name, dims)

    def _flatten(self, unit: Unit, source: str, dims: Dims) -> None:
        given = synapses.flattened(unit, dims)
        if len(given) == 1 and len(dims) > 1:
            source = self._named(Flatten(unit.name, (source,)))
        self._give(unit, source, given)

    def _delay(self, unit: Unit, source: str, dims: Dims) -> None:
        number = self._steps(unit)
        closes = any(edge[0] == unit.name for edge in self._back)
        self._give(unit, source, dims)
        if number:
            size = size_of(dims) if closes else (0, 0, 0)
            self._outputs[unit.name] = self._named(Delay(unit.name, (source,), number, *size))
