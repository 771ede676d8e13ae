"""What each node of a network does at every timestep, whatever fires: said once, for all who count, charge or show it.

A primitive tells its own work in one function, entered in the table of handlers by ``@work(Conv2d)``; counting is then
a fold over the works of a network. `Geometry` holds what remains of a node once the network is gone (counts.h5 keeps
it), so all that follows from sizes alone is a function of a row's kind and its geometry.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from math import prod
from typing import Any, Literal, TypeVar, assert_never

import numpy as np
from numpy.typing import NDArray

from evsim.errors import NetworkError
from evsim.network import (
    LIF,
    Add,
    Conv2d,
    Input,
    Kind,
    Layout,
    Linear,
    MaxPool,
    Network,
    Node,
    Order,
    Shape,
    SpikingSelfAttention,
    TimeMean,
    TokenMean,
)

RowKind = Literal["conv", "linear", "attention", "lif"]
"""Kinds of rows that counts have: convolution, linear layer, attention, neurons."""

Role = Literal["first", "hidden", "head"]
"""What a node reads: the network's input, another layer's output, or a mean over tokens or timesteps."""

Nature = Literal["input", "layer", "sum", "mean", "passage"]
"""What a node is to those that read it; a "passage", such as max-pooling, is looked through: its source counts."""

UNROWED = ("residual_adds", "pool_comparisons", "mean_adds")
"""Operations without a row that every run counts, be they none."""


@dataclass(frozen=True)
class Geometry:
    """Sizes of one row, as counted per timestep; those that have no meaning for a kind keep their defaults.

    `module` is the PyTorch class. Convolutions over tokens have kernel (1, 1) and height x width = tokens.
    For attention: `heads`, `head_dim`, `order`; `in_channels` = `out_channels` = heads * head_dim.
    """

    module: str
    in_channels: int
    out_channels: int
    in_height: int
    in_width: int
    out_height: int
    out_width: int
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    bias: bool = False
    batch_norm: bool = False
    heads: int = 0
    head_dim: int = 0
    order: Order | None = None
    tau: float = 0.0
    v_threshold: float = 0.0

    @property
    def tokens(self) -> int:
        """Positions of the input map."""
        return self.in_height * self.in_width

    @property
    def out_positions(self) -> int:
        """Positions of the output map."""
        return self.out_height * self.out_width

    @property
    def outputs(self) -> int:
        """Output values (neurons) per timestep."""
        return self.out_positions * self.out_channels

    @property
    def shifted(self) -> bool:
        """Whether a bias is added at run time: the layer's own, or the shift of a BatchNorm folded into it."""
        return self.bias or self.batch_norm

    @property
    def dense_macs(self) -> int:
        """Dense multiply-accumulates per timestep, padding taps included, bias left out (conv and linear)."""
        return self.out_positions * self.weights

    @property
    def weights(self) -> int:
        """Number of weights, bias left out (conv and linear)."""
        return self.out_channels * self.in_channels * self.kernel[0] * self.kernel[1]


def dense_macs(kind: RowKind, size: Geometry) -> int:
    """Return the multiply-accumulates of a dense implementation per timestep.

    Conv and linear: padding taps included, bias left out. Attention: both products in the declared order,
    ``heads * N * dh * dh * 2`` or ``heads * N * N * dh * 2``. Neurons: 0.
    """
    match kind:
        case "conv" | "linear":
            return size.dense_macs
        case "attention":
            inner = size.head_dim if size.order == "q(kv)" else size.tokens
            return size.heads * size.tokens * inner * size.head_dim * 2
        case "lif":
            return 0
    assert_never(kind)


def dense_operations(kind: RowKind, size: Geometry) -> int:
    """Return the dense operations per timestep as the paper's tool counts them: with the bias.

    The bias of a conv counts once per output position, that of a linear layer once; attention is always
    ``2 * heads * N * dh^2``, the order q (k^T v). Neurons: 0.
    """
    match kind:
        case "conv":
            return size.dense_macs + size.outputs * size.bias
        case "linear":
            return size.dense_macs + size.out_channels * size.bias
        case "attention":
            return 2 * size.heads * size.tokens * size.head_dim**2
        case "lif":
            return 0
    assert_never(kind)


@lru_cache(maxsize=256)
def fan_out(size: Geometry) -> NDArray[np.int64]:
    """Return how many outputs an input at each position reaches, padding not counted: int64 [P] (conv and linear)."""
    axes = []
    for i, (inner, outer) in enumerate(((size.in_height, size.out_height), (size.in_width, size.out_width))):
        reached = np.arange(outer)[:, np.newaxis] * size.stride[i] - size.padding[i] + np.arange(size.kernel[i])
        inside = reached[(reached >= 0) & (reached < inner)]
        axes.append(np.bincount(inside, minlength=inner))
    return np.multiply.outer(axes[0], axes[1]).reshape(-1).astype(np.int64) * size.out_channels


@dataclass(frozen=True)
class Row:
    """What is counted of a node under its own name.

    Attributes
    ----------
    kind, geometry
        Which row, and its sizes.
    input_size, bias_adds, neuron_updates
        Of each timestep: values of the input, additions of a shift, membrane potentials updated.
    layout
        Neurons: axis order of the PyTorch module's output, see `evsim.network.LIF`.
    unit
        Attention: its output is so many times integers.
    """

    kind: RowKind
    geometry: Geometry
    input_size: int
    bias_adds: int = 0
    neuron_updates: int = 0
    layout: Layout = "map"
    unit: float = 1.0

    @property
    def synaptic(self) -> bool:
        """Whether it multiplies its input by weights."""
        return self.kind in ("conv", "linear")

    @property
    def dense_macs(self) -> int:
        """Multiply-accumulates of a dense implementation per timestep, see the function `dense_macs`."""
        return dense_macs(self.kind, self.geometry)

    @property
    def dense_operations(self) -> int:
        """Dense operations per timestep as the paper's tool counts them, see the function `dense_operations`."""
        return dense_operations(self.kind, self.geometry)


@dataclass(frozen=True)
class Work:
    """What a node does at every timestep, and where it stands.

    Attributes
    ----------
    nature
        What it is to those that read it.
    row
        What is counted under its name; None where it has no row.
    other
        Operations that have no row: name to number per timestep.
    name, parameters
        Of the node; how many trainable parameters it has.
    source
        The node whose values it reads: its first input, passages looked through.
    input_kind
        What its first input emits, by declaration.
    role
        What it reads, by the nature of its source.
    once, gathers
        Whether it runs once for all timesteps, behind a node that emits once after the last; whether it is that node.
    """

    nature: Nature
    row: Row | None = None
    other: Mapping[str, int] = field(default_factory=dict)
    name: str = ""
    parameters: int = 0
    source: str = ""
    input_kind: Kind = "real"
    role: Role = "hidden"
    once: bool = False
    gathers: bool = False

    @property
    def reads_input(self) -> bool:
        """Whether it reads image or frames, with at most max-poolings in between."""
        return self.role == "first"


Handler = Callable[[Any, Shape, Shape], Work]
N = TypeVar("N", bound=Node)
HANDLERS: dict[type[Node], Handler] = {}
"""Node type to what tells its own work from the node, its first source's shape and its output's."""


def work(kind: type[N]) -> Callable[[Callable[[N, Shape, Shape], Work]], Callable[[N, Shape, Shape], Work]]:
    """Enter a function ``(node, source, target) -> Work`` as the one that tells the work of a node type."""

    def enter(handler: Callable[[N, Shape, Shape], Work]) -> Callable[[N, Shape, Shape], Work]:
        HANDLERS[kind] = handler
        return handler

    return enter


@lru_cache(maxsize=4)
def workload(network: Network) -> Mapping[str, Work]:
    """Return the work of every node by its name, in order of execution; kept for the runs to come.

    Raises
    ------
    NetworkError
        If a node is of a type whose work nobody has told.
    """
    works: dict[str, Work] = {}
    for node in network.nodes:
        target = network.shapes[node.name]
        if type(node) not in HANDLERS:
            raise NetworkError(
                f"{node.name} is a {type(node).__name__}, whose work nobody has told; "
                f"enter it in evsim/workload.py by @work({type(node).__name__})"
            )
        first = network.shapes[node.inputs[0]] if node.inputs else target
        source = node.inputs[0] if node.inputs else ""
        while source and works[source].nature == "passage":
            source = works[source].source
        works[node.name] = replace(
            HANDLERS[type(node)](node, first, target),
            name=node.name,
            parameters=sum(prod(shape) for shape in node.parameters().values()),
            source=source,
            input_kind=first.kind,
            role=_role(works[source].nature) if source else "hidden",
            once=any(works[name].once or works[name].gathers for name in node.inputs),
        )
    return works


def rows(network: Network) -> tuple[tuple[Work, Row], ...]:
    """Return the works that have a row, with it, in order of execution."""
    return tuple((each, each.row) for each in workload(network).values() if each.row is not None)


def _role(nature: Nature) -> Role:
    match nature:
        case "input":
            return "first"
        case "mean":
            return "head"
        case "layer" | "sum" | "passage":
            return "hidden"
    assert_never(nature)


def _sizes(source: Shape, target: Shape) -> tuple[int, int, int, int, int, int]:
    return (source.channels, target.channels, source.height, source.width, target.height, target.width)


def _values(shape: Shape) -> int:
    return shape.positions * shape.channels


@work(Input)
def _input(node: Input, source: Shape, target: Shape) -> Work:  # noqa: ARG001 - all handlers take the same
    return Work("input")


@work(Conv2d)
def _conv(node: Conv2d, source: Shape, target: Shape) -> Work:
    sizes = _sizes(source, target)
    size = Geometry(node.module, *sizes, node.kernel, node.stride, node.padding, node.bias, node.batch_norm)
    return Work("layer", Row("conv", size, _values(source), bias_adds=size.outputs * size.shifted))


@work(Linear)
def _linear(node: Linear, source: Shape, target: Shape) -> Work:
    size = Geometry(node.module, *_sizes(source, target), bias=node.bias, batch_norm=node.batch_norm)
    return Work("layer", Row("linear", size, _values(source), bias_adds=size.outputs * size.shifted))


@work(SpikingSelfAttention)
def _attention(node: SpikingSelfAttention, source: Shape, target: Shape) -> Work:
    sizes, width = _sizes(source, target), source.channels // node.heads
    size = Geometry("SpikingSelfAttention", *sizes, heads=node.heads, head_dim=width, order=node.order)
    return Work("layer", Row("attention", size, 3 * _values(source), unit=node.scale))


@work(LIF)
def _lif(node: LIF, source: Shape, target: Shape) -> Work:
    size = Geometry("LIF", *_sizes(source, target), tau=node.tau, v_threshold=node.v_threshold)
    return Work("layer", Row("lif", size, _values(source), neuron_updates=size.outputs, layout=node.layout))


@work(MaxPool)
def _max_pool(node: MaxPool, source: Shape, target: Shape) -> Work:
    taps = 1
    for inner, outer in ((source.height, target.height), (source.width, target.width)):
        begin = np.arange(outer) * node.stride - node.padding
        taps *= int((np.minimum(begin + node.kernel, inner) - np.maximum(begin, 0)).sum())
    return Work("passage", other={"pool_comparisons": (taps - target.positions) * target.channels})


@work(Add)
def _add(node: Add, source: Shape, target: Shape) -> Work:  # noqa: ARG001
    return Work("sum", other={"residual_adds": _values(target)})


@work(TokenMean)
def _token_mean(node: TokenMean, source: Shape, target: Shape) -> Work:  # noqa: ARG001
    return Work("mean", other={"mean_adds": (source.positions - 1) * source.channels})


@work(TimeMean)
def _time_mean(node: TimeMean, source: Shape, target: Shape) -> Work:  # noqa: ARG001
    return Work("mean", other={"mean_adds": _values(source)}, gathers=True)
