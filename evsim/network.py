"""A spiking network as data: frozen dataclasses, one per primitive, and the graph that ties them.

Nothing here computes. A converter writes a `Network`, `evsim.modelfile` stores it, `evsim.engine` runs it.
Every node maps channels-last maps ``[T, H * W, C]`` to such maps; tokens are positions of the map. Each node
bears the name of its PyTorch module, so that results compare by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from evsim.errors import NetworkError
from evsim.inputspec import InputSpec

Kind = Literal["spikes", "integers", "real"]
"""What a map holds: 0/1 spikes, small integers (event counts, sums of spikes), or real values."""

Order = Literal["q(kv)", "(qk)v"]
"""Which product of attention is formed first; both give the same integers at another cost."""

Layout = Literal["map", "tokens", "rows"]
"""Axis order of a PyTorch module's output: [C, H, W], [C, N] or [N, C]."""

LARGEST_EXTENT = 1 << 20
"""Of kernels, strides and paddings: beyond any map that fits into memory."""

INPUT_KINDS: dict[str, Kind] = {"image": "real", "events": "integers"}
"""What the `Input` of each kind of model emits."""


@dataclass(frozen=True)
class Shape:
    """Shape and kind of what a node emits per timestep: `height` x `width` positions of `channels` channels."""

    kind: Kind
    channels: int
    height: int
    width: int

    @property
    def positions(self) -> int:
        """Number of positions (tokens) of the map."""
        return self.height * self.width

    def __str__(self) -> str:
        return f"{self.kind} [{self.channels}, {self.height}, {self.width}]"


@dataclass(frozen=True)
class Node:
    """What all primitives share: the PyTorch module's `name` and the names of the nodes that feed it."""

    name: str
    inputs: tuple[str, ...]
    arity: ClassVar[int] = 1
    once: ClassVar[bool] = False
    """Whether it emits once, after the last timestep, and not at each."""

    def infer(self, sources: tuple[Shape, ...]) -> Shape:
        """Return the output's shape, given the shapes of the sources.

        Raises
        ------
        NetworkError
            If the sources do not fit; the message shows both ends with their shapes.
        """
        raise NotImplementedError

    def parameters(self) -> dict[str, tuple[int, ...]]:
        """Return name and shape of each parameter array that the node needs (none by default)."""
        return {}

    def largest(self, sources: tuple[int, ...]) -> int:
        """Return the largest integer that the node can emit, given those of its sources: a sum, or one of them."""
        return sum(sources)

    def _at_least(self, least: int, **values: int | tuple[int, ...]) -> None:
        """Refuse sizes below `least`, and those that no kernel can reckon with."""
        for name, value in values.items():
            sizes = value if isinstance(value, tuple) else (value,)
            if min(sizes) < least:
                raise NetworkError(f"{self.name}: {name} must be at least {least}, got {value}")
            if max(sizes) > LARGEST_EXTENT:
                raise NetworkError(f"{self.name}: {name} must be at most {LARGEST_EXTENT}, got {value}")

    def _single(self, **values: float) -> None:
        """Refuse constants that are not positive numbers of float32, in which every model can run."""
        single = np.finfo(np.float32)
        for name, value in values.items():
            if not float(single.tiny) <= value <= float(single.max):
                raise NetworkError(f"{self.name}: {name} must be a positive number within float32, got {value}")

    def _expect(self, fits: bool, source: Shape, wanted: str) -> None:
        if not fits:
            raise NetworkError(f"{self.name} wants {wanted}, but {self.inputs[0]} gives {source}")


@dataclass(frozen=True)
class Input(Node):
    """The source: one image (real, the same at every timestep) or one frame of event counts per timestep."""

    channels: int
    height: int
    width: int
    kind: Kind
    arity: ClassVar[int] = 0

    def infer(self, sources: tuple[Shape, ...]) -> Shape:  # noqa: ARG002 - a source has none
        """Return the declared shape."""
        if self.kind == "spikes":
            raise NetworkError(f"{self.name}: kind must be integers or real, got spikes")
        return Shape(self.kind, self.channels, self.height, self.width)


@dataclass(frozen=True)
class Conv2d(Node):
    """Convolution followed by BatchNorm: ``(conv(x) + bias) * bn_scale + bn_shift``.

    `weight` is [kH, kW, C_in, C_out]; 1x1 convolutions over tokens (PyTorch's Conv1d) are the case kernel (1, 1).
    `module` is the PyTorch class, for reports.
    """

    in_channels: int
    out_channels: int
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    bias: bool = False
    batch_norm: bool = True
    module: str = "Conv2d"

    def infer(self, sources: tuple[Shape, ...]) -> Shape:
        """Return the map of real values that the convolution emits."""
        (source,) = sources
        self._at_least(1, in_channels=self.in_channels, out_channels=self.out_channels)
        self._at_least(1, kernel=self.kernel, stride=self.stride)
        self._at_least(0, padding=self.padding)
        self._expect(source.channels == self.in_channels, source, f"{self.in_channels} input channels")
        spans = zip((source.height, source.width), self.padding, self.kernel, self.stride, strict=True)
        height, width = ((size + 2 * pad - extent) // step + 1 for size, pad, extent, step in spans)
        self._expect(min(height, width) > 0, source, f"a map no smaller than its kernel {self.kernel}")
        return Shape("real", self.out_channels, height, width)

    def parameters(self) -> dict[str, tuple[int, ...]]:
        """Return shapes of weight, bias and the folded BatchNorm."""
        return _affine((*self.kernel, self.in_channels, self.out_channels), self.bias, self.batch_norm)


@dataclass(frozen=True)
class Linear(Node):
    """Linear layer on the channels of each position, with BatchNorm after it where `batch_norm`.

    `weight` is [C_in, C_out].
    """

    in_channels: int
    out_channels: int
    bias: bool = True
    batch_norm: bool = False
    module: str = "Linear"

    def infer(self, sources: tuple[Shape, ...]) -> Shape:
        """Return the map of real values that the layer emits."""
        (source,) = sources
        self._at_least(1, in_channels=self.in_channels, out_channels=self.out_channels)
        self._expect(source.channels == self.in_channels, source, f"{self.in_channels} input channels")
        return Shape("real", self.out_channels, source.height, source.width)

    def parameters(self) -> dict[str, tuple[int, ...]]:
        """Return shapes of weight, bias and the folded BatchNorm."""
        return _affine((self.in_channels, self.out_channels), self.bias, self.batch_norm)


@dataclass(frozen=True)
class LIF(Node):
    """Leaky integrate-and-fire neurons, one per position and channel, v = 0 before the first timestep.

    Per timestep ``v += (x - v) / tau``; a spike where ``v >= v_threshold``; then ``v = 0`` where it spiked
    (Spikingformer, arXiv 2304.11954, eq. 1-3; SpikingJelly's MultiStepLIFNode with decay_input and hard reset).
    `layout` is the axis order of the PyTorch module's output: "map" [C, H, W], "tokens" [C, N], "rows" [N, C].
    """

    tau: float = 2.0
    v_threshold: float = 1.0
    layout: Layout = "map"

    def infer(self, sources: tuple[Shape, ...]) -> Shape:
        """Return a map of spikes of the source's size."""
        (source,) = sources
        if not self.tau >= 1.0:
            raise NetworkError(f"{self.name}: tau must be at least 1, got {self.tau}")
        self._single(tau=self.tau, v_threshold=self.v_threshold)
        return Shape("spikes", source.channels, source.height, source.width)


@dataclass(frozen=True)
class MaxPool(Node):
    """Max-pooling over space; of spikes it is an OR."""

    kernel: int = 3
    stride: int = 2
    padding: int = 1

    def infer(self, sources: tuple[Shape, ...]) -> Shape:
        """Return the smaller map, of the source's kind."""
        (source,) = sources
        self._at_least(1, kernel=self.kernel, stride=self.stride)
        self._at_least(0, padding=self.padding)
        if 2 * self.padding > self.kernel:
            raise NetworkError(f"{self.name}: padding {self.padding} exceeds half of the kernel {self.kernel}")
        height, width = (
            (size + 2 * self.padding - self.kernel) // self.stride + 1 for size in (source.height, source.width)
        )
        self._expect(min(height, width) > 0, source, f"a map no smaller than its window {self.kernel}")
        return Shape(source.kind, source.channels, height, width)


@dataclass(frozen=True)
class Add(Node):
    """Residual addition. Spikes plus spikes are integers; anything plus real values is real."""

    arity: ClassVar[int] = 2

    def infer(self, sources: tuple[Shape, ...]) -> Shape:
        """Return the sum's shape."""
        left, right = sources
        if (left.channels, left.height, left.width) != (right.channels, right.height, right.width):
            raise NetworkError(
                f"{self.name} adds maps of different shape: {self.inputs[0]} gives {left}, "
                f"{self.inputs[1]} gives {right}"
            )
        kind: Kind = "real" if "real" in (left.kind, right.kind) else "integers"
        return Shape(kind, left.channels, left.height, left.width)


@dataclass(frozen=True)
class SpikingSelfAttention(Node):
    """Softmax-free attention on spikes: ``scale * q (k^T v)`` per head (Spikingformer, eq. 8).

    Inputs are q, k, v, in this order; channel c belongs to head ``c // (channels / heads)``. `order` is the order
    in which the original code multiplies: it changes the operation count, never the result.
    """

    heads: int
    scale: float = 0.125
    order: Order = "q(kv)"
    arity: ClassVar[int] = 3

    def infer(self, sources: tuple[Shape, ...]) -> Shape:
        """Return a map of real values (integers times `scale`)."""
        for name, source in zip(self.inputs, sources, strict=True):
            if source != sources[0] or source.kind != "spikes":
                raise NetworkError(
                    f"{self.name} wants three spike maps of one shape, but {self.inputs[0]} gives {sources[0]} "
                    f"and {name} gives {source}"
                )
        if self.heads < 1 or sources[0].channels % self.heads:
            raise NetworkError(
                f"{self.name}: {sources[0].channels} channels do not divide into {self.heads} heads; "
                "give another number by `heads`"
            )
        self._single(scale=self.scale)
        return Shape("real", sources[0].channels, sources[0].height, sources[0].width)


@dataclass(frozen=True)
class TokenMean(Node):
    """Mean over the positions of each timestep's map (the readout's average pooling)."""

    def infer(self, sources: tuple[Shape, ...]) -> Shape:
        """Return one position of real values."""
        return Shape("real", sources[0].channels, 1, 1)


@dataclass(frozen=True)
class TimeMean(Node):
    """Mean over the timesteps; emits once, after the last."""

    once: ClassVar[bool] = True

    def infer(self, sources: tuple[Shape, ...]) -> Shape:
        """Return the source's size, real-valued."""
        (source,) = sources
        return Shape("real", source.channels, source.height, source.width)


NODE_TYPES: dict[str, type[Node]] = {
    kind.__name__: kind
    for kind in (Input, Conv2d, Linear, LIF, MaxPool, Add, SpikingSelfAttention, TokenMean, TimeMean)
}
"""Every primitive by its class name, as model.h5 spells it."""


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
        In order of execution; the first is the `Input`, the last emits the logits.
    weights
        ``"<node>.<parameter>"`` to array: float32 as the checkpoint has them, BatchNorm's ``bn_scale`` and
        ``bn_shift`` float64. May read from disk on access: fetch each once.
    labels
        Class names, or empty.
    provenance
        Where each fact came from, and what was assumed: fact to one line of text.
    file
        The file that describes it, None for a network made in Python.

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
    shapes: Mapping[str, Shape] = field(init=False, repr=False)
    _by_name: Mapping[str, Node] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        shapes: dict[str, Shape] = {}
        for node in self.nodes:
            if node.name in shapes:
                raise NetworkError(f"two nodes bear the name {node.name}")
            if len(node.inputs) != node.arity:
                got = ", ".join(node.inputs) or "none"
                raise NetworkError(f"{node.name} takes {node.arity} inputs, got {len(node.inputs)}: {got}")
            for source in node.inputs:
                if source not in shapes:
                    raise NetworkError(f"{node.name} reads {source}, which is no earlier node: a typo or a cycle")
            shapes[node.name] = node.infer(tuple(shapes[source] for source in node.inputs))
        object.__setattr__(self, "shapes", shapes)
        object.__setattr__(self, "_by_name", {node.name: node for node in self.nodes})
        self._check_ends()
        self._check_time()
        self._check_weights()

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
    def classes(self) -> int:
        """Number of logits."""
        return self.shapes[self.nodes[-1].name].channels

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
        if self.labels and len(self.labels) != self.classes:
            raise NetworkError(f"{len(self.labels)} labels for {self.classes} classes; mend the file of `labels`")

    def _check_time(self) -> None:
        """Refuse a graph that takes a mean over time twice, mixes what follows one with timesteps, or ends without."""
        once: dict[str, bool] = {}
        for node in self.nodes:
            times = {once[source]: source for source in node.inputs}
            if len(times) > 1:
                raise NetworkError(
                    f"{node.name} reads {times[True]}, which comes once, and {times[False]}, at each timestep"
                )
            if node.once and True in times:
                raise NetworkError(f"{node.name} is a mean over time of {times[True]}, which comes once")
            once[node.name] = node.once or True in times
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


def attributes(node: Node) -> dict[str, object]:
    """Return the fields of a node that are its own (without name and inputs), for tables and files."""
    return {f.name: getattr(node, f.name) for f in fields(node) if f.name not in ("name", "inputs")}


def _affine(weight: tuple[int, ...], bias: bool, batch_norm: bool) -> dict[str, tuple[int, ...]]:
    """Return the parameters of a layer with such a weight, whose last axis are its outputs."""
    return {"weight": weight} | dict.fromkeys(("bias",) * bias + ("bn_scale", "bn_shift") * batch_norm, weight[-1:])
