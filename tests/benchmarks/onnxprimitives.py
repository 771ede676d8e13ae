"""The primitives without weights as ONNX operations, one function each; `onnxgraph.py` puts them together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from graphs import cheaper_by_channels

if TYPE_CHECKING:
    from onnxgraph import Graph


@dataclass(frozen=True)
class Value:
    """A tensor of the graph, float32: its name, and its timesteps (1 where all are the same)."""

    name: str
    steps: int


def _multi_spike(graph: Graph, node: Any) -> Any:
    x, steps = graph.real(node), graph.maps[node.inputs[0]].steps
    if not node.integrates:
        return _rounded(graph, node, x)
    emitted, v = [], ""
    for current in graph.timesteps_of(node, x, steps):
        v = graph.op("Add", graph.op("Sub", v, emitted[-1]), current) if v else current
        emitted.append(_rounded(graph, node, v))
    return Value(graph.joined(emitted), len(emitted))


def _rounded(graph: Graph, node: Any, x: str) -> str:
    clamped = graph.op("Clip", x, graph.const(0.0), graph.const(node.levels))
    if node.rounding == "half-even":
        return graph.op("Round", clamped)
    return graph.op("Floor", graph.op("Add", clamped, graph.const(0.5)))


def _window(node: Any) -> dict[str, Any]:
    (rows, down, above), (columns, along, left) = node.axes
    return {"kernel_shape": (rows, columns), "strides": (down, along), "pads": (above, left, above, left)}


def _max_pool(graph: Graph, node: Any) -> Any:
    source = graph.maps[node.inputs[0]]
    if node.heads:
        tokens = graph.heads(source.name, node.heads, node.inputs[0])
        return graph.map_of(graph.op("MaxPool", tokens, **_window(node)), node.name)
    return graph.op("MaxPool", source.name, **_window(node))


def _average(graph: Graph, node: Any, x: str) -> str:
    return graph.op("AveragePool", x, count_include_pad=1, **_window(node))


def _sum_pool(graph: Graph, node: Any) -> str:
    whole = node.axes[0][0] * node.axes[1][0]
    sums = graph.op("Mul", _average(graph, node, graph.maps[node.inputs[0]].name), graph.const(whole))
    return sums if graph.network.shapes[node.name].kind == "real" else graph.op("Round", sums)


def _adaptive_pool(graph: Graph, node: Any) -> str:
    """Average rows and columns by a matrix each: exact where windows hold one position."""
    source = graph.network.shapes[node.inputs[0]]
    copies = graph.network.shapes[node.name].kind != "real"
    x = graph.maps[node.inputs[0]].name if copies else graph.real(node)
    sides = zip(node.spans(source), (source.height, source.width), strict=True)
    rows, columns = (np.stack([np.isin(np.arange(size), span) / len(span) for span in spans]) for spans, size in sides)
    return graph.op("MatMul", graph.op("MatMul", graph.const(rows), x), graph.const(columns.T))


def _pad(graph: Graph, node: Any) -> str:
    x, steps = graph.real(node), graph.maps[node.inputs[0]].steps
    shape, pad = graph.network.shapes[node.name], node.padding
    border = np.asarray(graph.network.weights[f"{node.name}.border"], np.float64)[None, :, None, None]
    side = graph.const(np.broadcast_to(border, (steps * graph.batch, shape.channels, shape.height - 2 * pad, pad)))
    edge = graph.const(np.broadcast_to(border, (steps * graph.batch, shape.channels, pad, shape.width)))
    return graph.op("Concat", edge, graph.op("Concat", side, x, side, axis=3), edge, axis=2)


def _attention(graph: Graph, node: Any) -> str:
    q, k, v = (graph.heads(name, node.heads, source)
               for name, source in zip(graph.together(node), node.inputs, strict=True))  # fmt: skip
    shapes = [graph.network.shapes[name] for name in node.inputs]
    size, width = shapes[0].channels // node.heads, shapes[2].channels // node.heads
    scale = graph.const(node.scale)
    keys = graph.op("Transpose", k, perm=(0, 1, 3, 2))
    if cheaper_by_channels(shapes[0].positions, size, width):
        out = graph.op("MatMul", graph.op("Mul", graph.op("MatMul", v, keys), scale), q)
    else:
        out = graph.op("MatMul", v, graph.op("Mul", graph.op("MatMul", keys, q), scale))
    return graph.map_of(out, node.name)


def _head_product(graph: Graph, node: Any) -> str:
    spikes, reals = graph.together(node)
    spikes = graph.heads(spikes, node.heads, node.inputs[0])
    shape = graph.network.shapes[node.inputs[1]]
    size = shape.channels // node.heads // node.parts
    parts = graph.op("Reshape", reals, graph.shape(0, node.heads, node.parts * size, shape.positions))
    bounds = [graph.shape(at * size) for at in (node.part, node.part + 1)]
    matrix = graph.op("Slice", parts, *bounds, graph.shape(2))
    if node.rows == "channels":
        matrix = graph.op("Transpose", matrix, perm=(0, 1, 3, 2))
    scale = np.asarray(graph.network.weights[f"{node.name}.scale"], np.float64)[:, None, None]
    return graph.map_of(graph.op("Mul", graph.op("MatMul", matrix, spikes), graph.const(scale)), node.name)


def _mask(graph: Graph, node: Any) -> str:
    x, mask = graph.together(node)
    shape, gate = (graph.network.shapes[name] for name in node.inputs)
    if gate.channels == shape.channels:
        return graph.op("Mul", x, mask)
    parts = graph.op("Reshape", x, graph.shape(0, gate.channels, -1, shape.height, shape.width))
    gates = graph.op("Reshape", mask, graph.shape(0, gate.channels, 1, gate.height, gate.width))
    return graph.map_of(graph.op("Mul", parts, gates), node.name)


def _add(graph: Graph, node: Any) -> str:
    if graph.network.shapes[node.name].kind == "real":
        return graph.op("Add", *graph.together(node))
    return graph.op("Add", *graph.alike(node))  # integers of one unit are added as they are


def _gate(graph: Graph, node: Any) -> str:
    left, right = graph.together(node)
    inverted = type(node).__name__ == "IAnd"
    return graph.op("Mul", left, graph.op("Sub", graph.const(1.0), right) if inverted else right)


def _head_sum(graph: Graph, node: Any) -> str:
    shape = graph.network.shapes[node.inputs[0]]
    x = graph.maps[node.inputs[0]].name
    parts = graph.op("Reshape", x, graph.shape(0, node.heads, -1, shape.height, shape.width))
    return graph.op("ReduceSum", parts, graph.shape(2), keepdims=0)


def _vote(graph: Graph, node: Any) -> str:
    groups = graph.op("Reshape", graph.real(node), graph.shape(0, -1, node.voters))
    return graph.map_of(graph.op("ReduceMean", groups, axes=[2], keepdims=0), node.name)


def _time_mean(graph: Graph, node: Any) -> Any:
    steps, shape = graph.maps[node.inputs[0]].steps, graph.network.shapes[node.name]
    apart = graph.op("Reshape", graph.real(node), graph.shape(steps, graph.batch, *shape.size))
    return Value(graph.op("ReduceMean", apart, axes=[0], keepdims=0), 1)


def _time_reduction(graph: Graph, node: Any) -> Any:
    steps, shape, x = graph.maps[node.inputs[0]].steps, graph.network.shapes[node.name], graph.real(node)
    if node.reduction == "last":
        return Value(graph.timesteps_of(node, x, steps)[-1], 1)
    apart = graph.op("Reshape", graph.repeat(x, steps), graph.shape(graph.timesteps, graph.batch, *shape.size))
    if node.reduction == "max":
        return Value(graph.op("ReduceMax", apart, axes=[0], keepdims=0), 1)
    return Value(graph.op("ReduceSum", apart, graph.shape(0), keepdims=0), 1)


def _scale(graph: Graph, node: Any) -> str:
    x = graph.real(node)
    for name, kind in (("scale", "Mul"), ("shift", "Add")):
        values = np.asarray(graph.network.weights.get(f"{node.name}.{name}", getattr(node, name)), np.float64)
        if values.ndim:
            values = values[:, None, None] if values.ndim == 1 else values.transpose(2, 0, 1)
        x = graph.op(kind, x, graph.const(values))
    return x


def _concatenate(graph: Graph, node: Any) -> str:
    if graph.network.shapes[node.name].kind == "real":
        return graph.op("Concat", *graph.together(node), axis=1)
    return graph.op("Concat", *graph.alike(node), axis=1)


FORWARD: Mapping[str, Callable[[Graph, Any], Any]] = {
    "MultiSpike": _multi_spike,
    "MaxPool": _max_pool,
    "AveragePool": lambda graph, node: _average(graph, node, graph.real(node)),
    "SumPool": _sum_pool,
    "AdaptiveAveragePool": _adaptive_pool,
    "Pad": _pad,
    "Flatten": lambda graph, node: graph.map_of(graph.maps[node.inputs[0]].name, node.name),
    "Vote": _vote,
    "Add": _add,
    "And": _gate,
    "IAnd": _gate,
    "Mask": _mask,
    "HeadSum": _head_sum,
    "TokenSum": lambda graph, node: graph.op(
        "ReduceSum", graph.maps[node.inputs[0]].name, graph.shape(2, 3), keepdims=1
    ),
    "SpikingSelfAttention": _attention,
    "HeadProduct": _head_product,
    "TokenMean": lambda graph, node: graph.op("ReduceMean", graph.real(node), axes=[2, 3], keepdims=1),
    "TimeMean": _time_mean,
    "TimeReduction": _time_reduction,
    "Scale": _scale,
    "Concatenate": _concatenate,
    "Slice": lambda graph, node: graph.op(
        "Slice", graph.maps[node.inputs[0]].name, graph.shape(node.start), graph.shape(node.stop), graph.shape(1)
    ),
}
"""What each other primitive computes."""
