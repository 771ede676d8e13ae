"""A spiking network as data: the graph of its primitives with its weights.

Nothing here computes. A converter writes a `Network`, `evsim.modelfile` stores it, `evsim.engine` runs it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields

import numpy as np
from numpy.typing import NDArray

from evsim.errors import NetworkError
from evsim.inputspec import InputSpec
from evsim.primitives import (
    FIRST_TYPES,
    LIF,
    NODE_TYPES,
    AdaptiveAveragePool,
    Add,
    AveragePool,
    Conv2d,
    Flatten,
    Input,
    Kind,
    Layout,
    Linear,
    MaxPool,
    Node,
    Order,
    Scale,
    Shape,
    SpikingSelfAttention,
    SumPool,
    TimeMean,
    TokenMean,
)
from evsim.primitives.order import inferred
from evsim.quantized import Quantization

__all__ = [
    "INPUT_KINDS", "LARGEST_COUNT", "LIF", "NODE_TYPES", "Add", "Conv2d", "Input", "Kind", "Layout", "Linear",
    "MaxPool", "Network", "Node", "Order", "Origin", "Shape", "SpikingSelfAttention", "TimeMean", "TokenMean",
    "attributes", "largest_integers", "oldest_schema", "units_of",
]  # fmt: skip

INPUT_KINDS: dict[str, Kind] = {"image": "real", "events": "integers", "frames": "real"}
"""What the `Input` of each kind of model emits."""

LARGEST_COUNT = 2**31 - 1
"""Largest integer on an edge of the network: event counts, and sums of them, are int32."""

MOST_ROUNDS = 100
"""Ways round the cycles of a network until the largest integers are known; those that still grow have no bound."""


@dataclass(frozen=True)
class Origin:
    """The file that a network came from.

    Attributes
    ----------
    path, size
        Where it lies, and its bytes.
    allow_memory
        Bytes that a run may need; None for what the file justifies, see `evsim.needs`.
    """

    path: str
    size: int
    allow_memory: int | None = None


@dataclass(frozen=True, eq=False)
class Network:
    """A validated graph of primitives with its weights.

    Attributes
    ----------
    name, family, variant
        What it is, for reports, e.g. "spikingformer-2-256", "spikingformer", "standard".
    spec
        How its input is made.
    nodes
        In order of execution; the first is the `Input`, the last emits the logits, once, behind a `TimeMean` or a
        `TimeReduction`.
    weights
        ``"<node>.<parameter>"`` to array: float32 as the checkpoint has them, float64 where several layers were folded
        into one, BatchNorm's ``bn_scale`` and ``bn_shift`` float64. May read from disk on access: fetch each once.
    labels
        Class names, or empty.
    provenance
        Where each fact came from, and what was assumed: fact to one line of text.
    file
        The file that describes it, None for a network made in Python.
    quantization
        Its integers, if it is an integer network, else None. `weights` are then the same numbers as floats
        (`evsim.quantized.Dequantized`), and BatchNorm is folded into them.

    Raises
    ------
    NetworkError
        If names repeat, an edge leads nowhere or backwards, shapes do not fit, a weight is missing, the last node gives
        no logits, or a node reads what comes once together with what comes at each timestep.
    """

    name: str
    family: str
    variant: str
    spec: InputSpec
    nodes: tuple[Node, ...]
    weights: Mapping[str, NDArray[np.floating]]
    labels: tuple[str, ...] = ()
    provenance: Mapping[str, str] = field(default_factory=dict)
    file: Origin | None = None
    quantization: Quantization | None = None
    shapes: Mapping[str, Shape] = field(init=False, repr=False)
    _by_name: Mapping[str, Node] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._check_edges()
        shapes = inferred(self.nodes)
        for node in self.nodes:
            if unknown := [name for name in node.mentions() if name not in shapes]:
                raise NetworkError(f"{node.name} counts {', '.join(unknown)}, which are no nodes")
            for name in node.mentions():
                if shapes[name].kind == "real" or name == self.nodes[0].name:
                    raise NetworkError(f"{node.name} counts the spikes of {name}, which emits none")
        object.__setattr__(self, "shapes", shapes)
        object.__setattr__(self, "_by_name", {node.name: node for node in self.nodes})
        self._check_ends()
        self._check_time()
        self._check_weights()

    def _check_edges(self) -> None:
        """Refuse names that repeat, and edges that lead nowhere, or back other than through a delay."""
        names = {node.name for node in self.nodes}
        seen: set[str] = set()
        for node in self.nodes:
            if node.name in seen:
                raise NetworkError(f"two nodes bear the name {node.name}")
            if len(node.inputs) != node.arity:
                got = ", ".join(node.inputs) or "none"
                raise NetworkError(f"{node.name} takes {node.arity} inputs, got {len(node.inputs)}: {got}")
            for source in node.inputs:
                if source not in seen and not (node.lag and source in names and source != node.name):
                    cycle = (
                        "a typo or a cycle" if source not in names else "a cycle without a Delay, or the wrong order"
                    )
                    raise NetworkError(f"{node.name} reads {source}, which is no earlier node: {cycle}")
            seen.add(node.name)

    def node(self, name: str) -> Node:
        """Return the node of that name; KeyError if there is none."""
        return self._by_name[name]

    @property
    def input(self) -> Input:
        """The source node."""
        first = self.nodes[0]
        assert isinstance(first, Input)
        return first

    @property
    def closing(self) -> Mapping[str, str]:
        """Delays that read a node that comes later, and so close a cycle, and the node that each reads."""
        places = {node.name: place for place, node in enumerate(self.nodes)}
        lagging = [node for node in self.nodes if node.lag]
        return {node.name: node.inputs[0] for node in lagging if places[node.inputs[0]] > places[node.name]}

    @property
    def classes(self) -> int:
        """Number of logits."""
        return self.shapes[self.nodes[-1].name].channels

    @property
    def synapses(self) -> tuple[Conv2d | Linear, ...]:
        """The nodes with weights to add up."""
        return tuple(node for node in self.nodes if isinstance(node, Conv2d | Linear))

    def consumers(self) -> dict[str, tuple[str, ...]]:
        """Return, for each node, the names of the nodes that read it, in order."""
        readers: dict[str, list[str]] = {node.name: [] for node in self.nodes}
        for node in self.nodes:
            for source in node.inputs:
                readers[source].append(node.name)
        return {name: tuple(names) for name, names in readers.items()}

    def _check_ends(self) -> None:
        if not self.nodes or not isinstance(self.nodes[0], Input):
            raise NetworkError("a network begins with its Input")
        for node in self.nodes[1:]:
            if isinstance(node, Input):
                raise NetworkError(f"{node.name} is a second Input; a network has one")
        *_, last = self.nodes
        loose = [name for name, readers in self.consumers().items() if not readers and name != last.name]
        if loose:
            raise NetworkError(f"nothing reads the output of {', '.join(loose)}")
        source, spec = self.input, self.spec
        if (source.channels, source.height, source.width) != (spec.channels, spec.height, spec.width):
            size = f"[{source.channels}, {source.height}, {source.width}]"
            raise NetworkError(f"{source.name} is of size {size}, but the input specification says {spec.size}")
        if source.kind != INPUT_KINDS[spec.kind]:
            raise NetworkError(
                f"{source.name} is of kind {source.kind}, but a model of {spec.kind} takes {INPUT_KINDS[spec.kind]}"
            )
        self._check_repeated()
        if self.labels and len(self.labels) != self.classes:
            raise NetworkError(f"{len(self.labels)} labels for {self.classes} classes; mend the file of `labels`")

    def _check_repeated(self) -> None:
        """Refuse layers that run once, unless they see an image through what is the same at all timesteps."""
        still = MaxPool | AveragePool | SumPool | AdaptiveAveragePool | Flatten | Scale
        same: set[str] = set()
        for node in self.nodes:
            if isinstance(node, Conv2d) and node.repeated:
                if self.spec.kind != "image" or node.inputs[0] not in same:
                    raise NetworkError(f"{node.name} runs once for all timesteps, but reads more than one image")
                same.add(node.name)
            elif isinstance(node, Input) or (isinstance(node, still) and node.inputs[0] in same):
                same.add(node.name)

    def _check_time(self) -> None:
        """Refuse a graph that takes a mean over time twice, mixes what follows one with timesteps, or ends without."""
        once: dict[str, bool] = {}
        for node in self.nodes:
            times = {once[source]: source for source in node.inputs if source in once}  # others close a cycle
            if node.lag and True in times:
                raise NetworkError(f"{node.name} delays {times[True]}, which comes once")
            if len(times) > 1:
                raise NetworkError(
                    f"{node.name} reads {times[True]}, which comes once, and {times[False]}, at each timestep"
                )
            if node.once and True in times:
                raise NetworkError(f"{node.name} is a mean over time of {times[True]}, which comes once")
            once[node.name] = node.once or True in times
        for name, source in self.closing.items():
            if once[source]:
                raise NetworkError(f"{name} delays {source}, which comes once")
        last = self.nodes[-1].name
        shape = self.shapes[last]
        if not once[last] or shape.kind != "real" or shape.positions > 1:
            often = "once" if once[last] else "at each timestep"
            raise NetworkError(
                f"{last} ends the network with {shape} {often}; logits are real, of one position, and come once"
            )

    def _check_weights(self) -> None:
        wanted = {f"{node.name}.{key}": shape for node in self.nodes for key, shape in node.parameters().items()}
        missing = sorted(wanted.keys() - self.weights.keys())
        extra = sorted(self.weights.keys() - wanted.keys())
        if missing or extra:
            raise NetworkError(f"weights missing: {missing or 'none'}; weights that no layer takes: {extra or 'none'}")
        if self.quantization:
            self._check_integers(self.quantization)

    def _check_integers(self, quantization: Quantization) -> None:
        """Refuse integers that are not those of the layers with weights, and layers that would do more than these."""
        layers = {node.name: node for node in self.synapses}
        if odd := sorted(layers.keys() ^ quantization.layers.keys()):
            raise NetworkError(f"integer weights are of every Conv2d and Linear, and of no other: {', '.join(odd)}")
        for name, node in layers.items():
            if node.batch_norm or not node.bias:
                raise NetworkError(f"{name} of an integer network must have a bias, and no BatchNorm")


def units_of(nodes: Sequence[Node], shapes: Mapping[str, Shape]) -> dict[str, float]:
    """Return what 1 stands for of the integers that layers with weights read, by layer, where that is not 1."""
    layers = (node for node in nodes if isinstance(node, Conv2d | Linear))
    return {node.name: shapes[node.inputs[0]].unit for node in layers if shapes[node.inputs[0]].unit != 1.0}


def largest_integers(network: Network, count: int) -> dict[str, int]:
    """Return, for each node that emits integers, the largest that it can emit where the input holds up to `count`.

    Round a cycle, what exceeds `LARGEST_COUNT`, or grows without a bound, is told as one above it.
    """
    bounds: dict[str, int] = {}
    rounds = MOST_ROUNDS if network.closing else 1
    for _ in range(rounds):
        before = dict(bounds)
        for node in network.nodes:
            if network.shapes[node.name].kind == "integers":
                sources = tuple(bounds.get(name, 1) for name in node.inputs)  # spikes are at most 1
                shapes = tuple(network.shapes[name] for name in node.inputs)
                bound = node.largest(sources, shapes) if sources else count
                bounds[node.name] = min(bound, LARGEST_COUNT + 1) if rounds > 1 else bound
        if bounds == before:
            return bounds
    if network.closing:
        bounds |= {name: LARGEST_COUNT + 1 for name in bounds if bounds[name] != before[name]}
    return bounds


def attributes(node: Node) -> dict[str, object]:
    """Return the fields of a node that are its own (without name and inputs), for tables and files.

    A field that schema 1 of model.h5 does not know is left out where it has its default.
    """
    own = [f for f in fields(node) if f.name not in ("name", "inputs")]
    return {f.name: getattr(node, f.name) for f in own if f.name not in node.later or not _default(node, f.name)}


def oldest_schema(network: Network) -> int:
    """Return the oldest schema of model.h5 that can say what a network is."""
    if network.spec.kind == "frames":
        return 2
    for node in network.nodes:
        sources = [network.shapes[name] for name in node.inputs]
        if type(node).__name__ not in FIRST_TYPES or not all(_default(node, name) for name in node.later):
            return 2
        if isinstance(node, SpikingSelfAttention) and any(s.kind != "spikes" or s != sources[0] for s in sources):
            return 2
    return 1


def _default(node: Node, name: str) -> bool:
    """Whether a field holds its default."""
    default = next(f.default for f in fields(node) if f.name == name)
    return default is not MISSING and getattr(node, name) == default
