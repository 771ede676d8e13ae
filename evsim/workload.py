"""What each node of a network does at every timestep, whatever fires: said once, for all who count, charge or show it.

A primitive tells its own work in one function, entered in the table of handlers by ``@work(Conv2d)``; counting is then
a fold over the works of a network. `Geometry` holds what remains of a node once the network is gone (counts.h5 keeps
it), so all that follows from sizes alone is a function of a row's kind and its geometry.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from math import prod
from typing import Any, TypeVar, assert_never

from evsim.errors import NetworkError
from evsim.geometry import Geometry, RowKind, dense_macs, dense_operations, fan_out
from evsim.network import Network
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
    Input,
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
from evsim.works import UNROWED, Nature, Role, Row, Work

__all__ = [
    "HANDLERS", "UNROWED", "Geometry", "Nature", "Role", "Row", "RowKind", "Work", "dense_macs", "dense_operations",
    "fan_out", "rows", "work", "workload",
]  # fmt: skip

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


def shared(*kinds: type[Node]) -> Callable[[Handler], Handler]:
    """Enter a function as the one that tells the work of several node types."""

    def enter(handler: Handler) -> Handler:
        HANDLERS.update(dict.fromkeys(kinds, handler))
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
        while source in works and works[source].nature == "passage":
            source = works[source].source
        works[node.name] = replace(
            HANDLERS[type(node)](node, first, target),
            name=node.name,
            parameters=sum(prod(shape) for shape in node.parameters().values()),
            source=source,
            input_kind=first.kind,
            role=_role(works[source].nature) if source in works else "hidden",
            once=any(works[name].once or works[name].gathers for name in node.inputs if name in works),
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
        case "layer" | "neurons" | "sum" | "gate" | "pool" | "passage":
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
    size = Geometry(
        node.module, *sizes, node.kernel, node.stride, node.padding, node.bias, node.batch_norm, groups=node.groups,
        dilation=node.dilation,
    )  # fmt: skip
    row = Row("conv", size, _values(source), bias_adds=size.outputs * size.shifted)
    return Work("layer", row, repeated=node.repeated)


@work(Linear)
def _linear(node: Linear, source: Shape, target: Shape) -> Work:
    size = Geometry(node.module, *_sizes(source, target), bias=node.bias, batch_norm=node.batch_norm)
    return Work("layer", Row("linear", size, _values(source), bias_adds=size.outputs * size.shifted))


@work(SpikingSelfAttention)
def _attention(node: SpikingSelfAttention, source: Shape, target: Shape) -> Work:
    sizes, width, own = _sizes(source, target), source.channels // node.heads, target.channels // node.heads
    size = Geometry(
        "SpikingSelfAttention", *sizes, heads=node.heads, head_dim=width, order=node.order,
        value_dim=0 if own == width else own,
    )  # fmt: skip
    # q, k and v are in one unit
    row = Row("attention", size, 2 * _values(source) + _values(target), unit=node.scale * source.unit**3)
    return Work("layer", row)


@work(HeadSum)
def _head_sum(node: HeadSum, source: Shape, target: Shape) -> Work:
    return _sums(node, "token-qk", source, target)


@work(TokenSum)
def _token_sum(node: TokenSum, source: Shape, target: Shape) -> Work:
    return _sums(node, "sdsa", source, target)


def _sums(node: HeadSum | TokenSum, attention: str, source: Shape, target: Shape) -> Work:
    width = source.channels // node.heads
    size = Geometry(type(node).__name__, *_sizes(source, target), heads=node.heads, head_dim=width, attention=attention)
    return Work("sum", Row("attention", size, _values(source), operations=node.operations))


@work(HeadProduct)
def _head_product(node: HeadProduct, source: Shape, target: Shape) -> Work:
    inner, length = source.channels // node.heads, target.channels // node.heads
    size = Geometry(
        "HeadProduct", *_sizes(source, target), heads=node.heads, head_dim=inner, attention="dssa",
        value_dim=0 if length == inner else length,
    )  # fmt: skip
    return Work("layer", Row("attention", size, _values(source)))


@work(LIF)
def _lif(node: LIF, source: Shape, target: Shape) -> Work:
    tau = node.tau
    if not (node.decay_input or node.parametric):
        tau = 0.0 if node.decay == 1.0 else 1.0 / (1.0 - node.decay)
    neuron = "" if node.neuron == "lif" else node.neuron
    size = Geometry("LIF", *_sizes(source, target), tau=tau, v_threshold=node.v_threshold, neuron=neuron)
    values = _values(source)
    return Work("layer", Row("lif", size, values, neuron_updates=size.outputs, layout=node.layout, view=node.view))


@work(MultiSpike)
def _multi_spike(node: MultiSpike, source: Shape, target: Shape) -> Work:
    size = Geometry("MultiSpike", *_sizes(source, target), neuron=node.neuron, levels=node.levels)
    values = _values(source)
    return Work("neurons", Row("lif", size, values, neuron_updates=size.outputs, layout=node.layout, view=node.view))


@work(Neuron)
def _neuron(node: Neuron, source: Shape, target: Shape) -> Work:
    neuron = "" if node.neuron == "lif" else node.neuron
    threshold = 0.0 if node.silent or "v_threshold" in node.arrays else max(0.0, node.v_threshold)
    size = Geometry(
        "Neuron", *_sizes(source, target), tau=max(0.0, node.tau), v_threshold=threshold, neuron=neuron,
        levels=0 if node.silent else node.levels,
    )  # fmt: skip
    row = Row("lif", size, _values(source), neuron_updates=size.outputs, layout=node.layout, view=node.view)
    return Work("neurons" if node.levels and not node.silent else "layer", row)


@shared(And, IAnd, Mask)
def _gate(node: And | IAnd | Mask, source: Shape, target: Shape) -> Work:  # noqa: ARG001
    return Work("gate", other={"spike_gates": _values(target)})


def _window_taps(node: MaxPool | AveragePool | SumPool, height: int, width: int, target: tuple[int, int]) -> int:
    """Return the taps inside the map of all windows of a channel."""
    taps = 1
    for (kernel, stride, padding), inner, outer in zip(node.axes, (height, width), target, strict=True):
        before = min(outer, -(-padding // stride))  # windows that begin before the map, and how far in all
        missed = before * padding - stride * before * (before - 1) // 2
        beyond = outer - min(outer, max(0, (inner + padding - kernel) // stride + 1))  # and that end behind it
        furthest = (outer - 1) * stride - padding + kernel - inner
        missed += beyond * furthest - stride * beyond * (beyond - 1) // 2
        taps *= outer * kernel - missed
    return taps


@work(MaxPool)
def _max_pool(node: MaxPool, source: Shape, target: Shape) -> Work:
    if node.heads:
        plane = (source.positions, source.channels // node.heads)
        comparisons = (_window_taps(node, *plane, plane) - plane[0] * plane[1]) * node.heads
    else:
        taps = _window_taps(node, source.height, source.width, (target.height, target.width))
        comparisons = (taps - target.positions) * target.channels
    return Work("passage", other={"pool_comparisons": comparisons})


@shared(AveragePool, SumPool)
def _sum_pool(node: AveragePool | SumPool, source: Shape, target: Shape) -> Work:
    taps = _window_taps(node, source.height, source.width, (target.height, target.width))
    return Work("pool", other={"pool_adds": (taps - target.positions) * target.channels})


@work(AdaptiveAveragePool)
def _adaptive_pool(node: AdaptiveAveragePool, source: Shape, target: Shape) -> Work:
    if node.copies(source):
        return Work("passage")
    rows, columns = node.taps(source)
    return Work("pool", other={"pool_adds": (rows * columns - target.positions) * target.channels})


@shared(Pad, Flatten, Slice, Delay)
def _passage(node: Pad | Flatten | Slice | Delay, source: Shape, target: Shape) -> Work:  # noqa: ARG001
    return Work("passage")


@work(Vote)
def _vote(node: Vote, source: Shape, target: Shape) -> Work:  # noqa: ARG001
    return Work("mean", other={"mean_adds": _values(source) - _values(target)})


@work(Add)
def _add(node: Add, source: Shape, target: Shape) -> Work:  # noqa: ARG001
    return Work("sum", other={"residual_adds": _values(target)})


@work(Concatenate)
def _concatenate(node: Concatenate, source: Shape, target: Shape) -> Work:  # noqa: ARG001
    return Work("layer")


@work(Scale)
def _scale(node: Scale, source: Shape, target: Shape) -> Work:  # noqa: ARG001
    does = {"scale_multiplies": node.scales, "scale_adds": node.shifts}
    return Work("layer", other={name: _values(target) for name, asked in does.items() if asked})


@work(TokenMean)
def _token_mean(node: TokenMean, source: Shape, target: Shape) -> Work:  # noqa: ARG001
    return Work("mean", other={"mean_adds": (source.positions - 1) * source.channels})


@work(TimeMean)
def _time_mean(node: TimeMean, source: Shape, target: Shape) -> Work:  # noqa: ARG001
    return Work("mean", other={"mean_adds": _values(source)}, gathers=True)


@work(TimeReduction)
def _time_reduction(node: TimeReduction, source: Shape, target: Shape) -> Work:  # noqa: ARG001
    names = {"sum": "mean_adds", "max": "pool_comparisons"}
    other = {names[node.reduction]: _values(source)} if node.reduction in names else {}
    return Work("mean", other=other, gathers=True)
