"""A network as a dense ONNX graph, in float32 or with integer weights: what OpenVINO and ONNX Runtime are given.

One function per primitive, in the best form known here: maps [timesteps * batch, C, H, W], the timesteps one behind the
other in the batch, what is the same at every timestep computed once, BatchNorm folded, layers of one input as one
convolution, attention in the cheaper order. Potentials are scaled so that neurons multiply no input: with what remains
k and the share g of the input, ``v = k v + g x`` fires at the threshold as ``u = k u + x`` does at threshold / g.

In the forms of integer weights spikes are uint8 and weights int8 by output channel, their product exact: "qdq" says so
by pairs of QuantizeLinear and DequantizeLinear, which OpenVINO takes; "integer" by MatMulInteger, for ONNX Runtime.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from graphs import bundles, cheaper_by_channels, folded, is_matrix, leak, neurons_behind
from onnx import ModelProto, TensorProto, helper, numpy_helper

from evsim.network import LIF, Conv2d, Linear, Network, Node
from evsim.primitives import MultiSpike

OPSET = 17
IR_VERSION = 8
"""Of ONNX's file format: the one of that set of operations, which every release of both runtimes reads."""

Form = Literal["float32", "qdq", "integer"]


@dataclass(frozen=True)
class Value:
    """A tensor of the graph: its name, its element type, and its timesteps (1 where all are the same)."""

    name: str
    type: int
    steps: int


class Graph:
    """A network as ONNX; `model` builds it.

    Parameters
    ----------
    network
        What to compute.
    batch
        Samples at once.
    form
        Of the layers with weights that read spikes or integers.
    watched
        Whether what every layer of neurons emits is an output too, under its name.
    """

    def __init__(self, network: Network, batch: int = 1, form: Form = "float32", *, watched: bool = False) -> None:
        self.network, self.batch, self.form, self.watched = network, batch, form, watched
        self.timesteps = network.spec.timesteps
        self.bundles = bundles(network)
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}
        self.maps: dict[str, Value] = {}
        self.outputs: list[Any] = []
        self.casts: dict[tuple[str, int], str] = {}

    def model(self) -> ModelProto:
        """Return the whole model: input "x" [batch, C, H, W] or [T * batch, C, H, W], output "logits"."""
        network, first = self.network, self.network.input
        still = network.spec.kind == "image"
        steps = 1 if still else self.timesteps
        sides = network.shapes[first.name].size
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [steps * self.batch, *sides])
        self.maps[first.name] = Value("x", TensorProto.FLOAT, steps)
        for node in network.nodes:
            if node.name not in self.maps:
                self._compute(node)
        self.op(
            "Reshape", self.as_float(self.maps[network.nodes[-1].name]), self.shape(self.batch, -1), output="logits"
        )
        logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [self.batch, network.classes])
        graph = helper.make_graph(self.nodes, "network", [x], [logits, *self.outputs], list(self.constants.values()))
        return helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="evsim"
        )

    # making nodes

    def op(self, kind: str, *inputs: str, output: str = "", outputs: int = 1, **attributes: Any) -> Any:
        """Add an operation; return the name of its output, or a list of several."""
        names = [output] if output else [f"v{len(self.nodes)}.{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, **attributes))
        return names if outputs > 1 else names[0]

    def const(self, array: Any, kind: type = np.float32) -> str:
        """Return the name of a constant."""
        tensor = numpy_helper.from_array(np.ascontiguousarray(array, kind))
        key = f"c{len(self.constants)}"
        if tensor.ByteSize() < 128:  # equal small ones are one
            key = f"c.{kind.__name__}.{tensor.dims}.{tensor.raw_data.hex()}"
        tensor.name = key
        self.constants.setdefault(key, tensor)
        return key

    def shape(self, *sizes: int) -> str:
        """Return the name of a constant that tells sizes or axes."""
        return self.const(sizes, np.int64)

    def cast(self, value: Value, kind: int) -> str:
        """Return the name of a value as another type."""
        if value.type == kind:
            return value.name
        key = (value.name, kind)
        if key not in self.casts:
            self.casts[key] = self.op("Cast", value.name, to=kind)
        return self.casts[key]

    def as_float(self, value: Value) -> str:
        """Return the name of a value as float32."""
        return self.cast(value, TensorProto.FLOAT)

    def real(self, node: Node, port: int = 0) -> str:
        """Return a source as float32, integers as what they stand for."""
        source = node.inputs[port]
        unit, x = self.network.shapes[source].unit, self.as_float(self.maps[source])
        return x if unit == 1.0 else self.op("Mul", x, self.const(unit))

    def repeat(self, name: str, steps: int) -> str:
        """Return what stands for all timesteps as that many."""
        return name if steps > 1 else self.op("Concat", *[name] * self.timesteps, axis=0)

    def together(self, node: Node) -> list[str]:
        """Return all sources as what they stand for, of the same number of timesteps."""
        steps = max(self.maps[name].steps for name in node.inputs)
        reals = [self.real(node, port) for port in range(len(node.inputs))]
        return [x if self.maps[name].steps == steps else self.repeat(x, 1)
                for name, x in zip(node.inputs, reals, strict=True)]  # fmt: skip

    # nodes of the network

    def _compute(self, node: Node) -> None:
        if node.name in self.bundles:
            self._bundle(node)
        elif isinstance(node, Conv2d | Linear):
            self._keep(node.name, Value(self.layer([node]), TensorProto.FLOAT, self.maps[node.inputs[0]].steps))
        elif isinstance(node, LIF):
            self._keep(node.name, self.neurons(node, self.real(node), self.maps[node.inputs[0]].steps))
        else:
            made = FORWARD[type(node).__name__](self, node)
            steps = max(self.maps[name].steps for name in node.inputs)
            self._keep(node.name, made if isinstance(made, Value) else Value(made, TensorProto.FLOAT, steps))

    def _bundle(self, first: Node) -> None:
        """Compute layers that read one input as one convolution, and their neurons, where all are alike, at once."""
        names = self.bundles[first.name]
        nodes = [self.network.node(name) for name in names]
        whole = Value(self.layer(nodes), TensorProto.FLOAT, self.maps[first.inputs[0]].steps)
        lifs = neurons_behind(self.network, names)
        ends = names
        if lifs:
            self.maps.update(dict.fromkeys(names, whole))  # nobody else reads them
            whole = self.neurons(lifs[0], whole.name, whole.steps)
            ends = tuple(lif.name for lif in lifs)
        if self.form != "integer":
            whole = Value(self.as_float(whole), TensorProto.FLOAT, whole.steps)
        for name, part in zip(ends, self._apart(whole.name, nodes), strict=True):
            self._keep(name, Value(part, whole.type, whole.steps))

    def _apart(self, whole: str, nodes: list[Any]) -> list[str]:
        """Return what each of some layers gave; those of one size are cut along an axis of their own, which is faster."""
        sizes = [node.out_channels for node in nodes]
        if len(set(sizes)) > 1:
            return self.op("Split", whole, self.shape(*sizes), outputs=len(sizes), axis=1)
        stacked = self.op("Reshape", whole, self.shape(0, len(sizes), sizes[0], -1))
        parts = self.op("Split", stacked, outputs=len(sizes), axis=1)
        return [self.map_of(part, node.name) for part, node in zip(parts, nodes, strict=True)]

    def _keep(self, name: str, value: Value) -> None:
        self.maps[name] = value
        if self.watched and isinstance(self.network.node(name), LIF | MultiSpike):
            size = [value.steps * self.batch, *self.network.shapes[name].size]
            self.op("Identity", self.as_float(value), output=name)
            self.outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, size))

    def layer(self, nodes: list[Any]) -> str:
        """Return layers of one input, one behind the other."""
        first = nodes[0]
        weight, bias = folded(self.network, nodes)
        source = self.maps[first.inputs[0]]
        rows, columns = first.padding if isinstance(first, Conv2d) else (0, 0)
        below, right = first.padding_after or (rows, columns)
        kernel, stride, _ = first.window
        window = {"kernel_shape": kernel, "strides": stride, "pads": (rows, columns, below, right),
                  "dilations": first.dilation, "group": first.groups}  # fmt: skip
        reads = self.network.shapes[first.inputs[0]].kind
        if self.form == "float32" or reads == "real":
            return self.op("Conv", self.as_float(source), self.const(weight), self.const(bias), **window)
        integers, scale = integer_weights(weight)
        if self.form == "qdq":
            x = self.op("DequantizeLinear", self._bytes(source, reads), self.const(1.0), self.const(0, np.uint8))
            zeros = self.const(np.zeros(len(scale)), np.int8)
            w = self.op("DequantizeLinear", self.const(integers, np.int8), self.const(scale), zeros, axis=0)
            return self.op("Conv", x, w, self.const(bias), **window)
        if not is_matrix(first):  # ConvInteger takes many times as long as the product of floats
            exact = integers * scale[:, None, None, None]
            return self.op("Conv", self.as_float(source), self.const(exact), self.const(bias), **window)
        return self._product(first, self._bytes(source, reads), integers[:, :, 0, 0], scale, bias)

    def _bytes(self, value: Value, reads: str) -> str:
        """Return spikes or small integers as uint8."""
        if self.form == "integer" and (reads == "spikes" or value.type != TensorProto.FLOAT):
            return self.cast(value, TensorProto.UINT8)
        return self.op("QuantizeLinear", self.as_float(value), self.const(1.0), self.const(0, np.uint8))

    def _product(self, node: Any, x: str, weight: Any, scale: Any, bias: Any) -> str:
        """Return W x of integers, scaled, with its bias: weights are stored as uint8 around 128."""
        shape = self.network.shapes[node.inputs[0]]
        tokens = self.op("Reshape", x, self.shape(0, shape.channels, -1))
        zeros = self.const(128, np.uint8), self.const(0, np.uint8)
        sums = self.op("MatMulInteger", self.const(weight.astype(int) + 128, np.uint8), tokens, *zeros)
        sums = self.op("Mul", self.op("Cast", sums, to=TensorProto.FLOAT), self.const(scale[:, None]))
        sums = self.op("Add", sums, self.const(bias[:, None]))
        return self.op("Reshape", sums, self.shape(0, -1, shape.height, shape.width))

    def neurons(self, node: LIF, x: str, steps: int) -> Value:
        """Return the spikes of currents."""
        keeps, gain = leak(self.network, node)
        threshold = (np.asarray(self.network.weights[f"{node.name}.v_threshold"], np.float64)[:, None, None]
                     if node.channels else np.float64(node.v_threshold)) / gain  # fmt: skip
        limit = self.const(threshold)
        count = self.timesteps
        currents = [x] * count if steps == 1 else self.op("Split", x, outputs=count, axis=0) if count > 1 else [x]
        fired = []
        u = currents[0]
        for t in range(count):
            if t:
                kept = u if keeps == 1.0 else self.op("Mul", u, self.const(keeps))
                u = self.op("Add", kept, currents[t]) if keeps else currents[t]
            fired.append(self.op("Greater" if node.strict else "GreaterOrEqual", u, limit))
            if t < count - 1 and keeps:
                rest = self.op("Sub", u, limit) if node.soft_reset else self.const(0.0)
                u = self.op("Where", fired[t], rest, u)
        spikes = self.op("Concat", *fired, axis=0) if count > 1 else fired[0]
        return Value(spikes, TensorProto.BOOL, count)

    def heads(self, name: str, heads: int, source: str) -> str:
        """Return a map [N, C, H, W] as [N, heads, C / heads, tokens]."""
        shape = self.network.shapes[source]
        return self.op("Reshape", name, self.shape(0, heads, shape.channels // heads, shape.positions))

    def map_of(self, name: str, like: str) -> str:
        """Return heads and tokens as the map of a node's shape."""
        return self.op("Reshape", name, self.shape(0, *self.network.shapes[like].size))


def integer_weights(weight: Any) -> tuple[Any, Any]:
    """Return int8 weights [C_out, ...], and the scale of each output channel [C_out]: the largest is 127 of it."""
    scale = np.abs(weight).max(tuple(range(1, weight.ndim))) / 127
    scale[scale == 0] = 1.0
    return np.rint(weight / scale.reshape(-1, *[1] * (weight.ndim - 1))).astype(np.int8), scale


def _multi_spike(graph: Graph, node: Any) -> Any:
    x, steps = graph.real(node), graph.maps[node.inputs[0]].steps
    if not node.integrates:
        return Value(_rounded(graph, node, graph.repeat(x, steps)), TensorProto.FLOAT, graph.timesteps)
    count = graph.timesteps
    currents = [x] * count if steps == 1 else graph.op("Split", x, outputs=count, axis=0) if count > 1 else [x]
    emitted, v = [], ""
    for current in currents:
        v = graph.op("Add", graph.op("Sub", v, emitted[-1]), current) if v else current
        emitted.append(_rounded(graph, node, v))
    return Value(graph.op("Concat", *emitted, axis=0), TensorProto.FLOAT, count)


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
        tokens = graph.heads(graph.as_float(source), node.heads, node.inputs[0])
        return graph.map_of(graph.op("MaxPool", tokens, **_window(node)), node.name)
    if graph.form == "integer" and source.type != TensorProto.FLOAT:
        pooled = graph.op("MaxPool", graph.cast(source, TensorProto.UINT8), **_window(node))
        return Value(pooled, TensorProto.UINT8, source.steps)
    return graph.op("MaxPool", graph.as_float(source), **_window(node))


def _average(graph: Graph, node: Any, x: str) -> str:
    return graph.op("AveragePool", x, count_include_pad=1, **_window(node))


def _sum_pool(graph: Graph, node: Any) -> str:
    whole = node.axes[0][0] * node.axes[1][0]
    sums = graph.op("Mul", _average(graph, node, graph.as_float(graph.maps[node.inputs[0]])), graph.const(whole))
    return sums if graph.network.shapes[node.name].kind == "real" else graph.op("Round", sums)


def _adaptive_pool(graph: Graph, node: Any) -> str:
    """Average rows and columns by a matrix each: exact where windows hold one position."""
    source = graph.network.shapes[node.inputs[0]]
    copies = graph.network.shapes[node.name].kind != "real"
    x = graph.as_float(graph.maps[node.inputs[0]]) if copies else graph.real(node)
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
    steps = max(graph.maps[name].steps for name in node.inputs)  # integers of one unit are added as they are
    values = [graph.maps[name] for name in node.inputs]
    parts = [graph.as_float(v) if v.steps == steps else graph.repeat(graph.as_float(v), 1) for v in values]
    return graph.op("Add", *parts)


def _gate(graph: Graph, node: Any) -> str:
    left, right = graph.together(node)
    inverted = type(node).__name__ == "IAnd"
    return graph.op("Mul", left, graph.op("Sub", graph.const(1.0), right) if inverted else right)


def _head_sum(graph: Graph, node: Any) -> str:
    shape = graph.network.shapes[node.inputs[0]]
    x = graph.as_float(graph.maps[node.inputs[0]])
    parts = graph.op("Reshape", x, graph.shape(0, node.heads, -1, shape.height, shape.width))
    return graph.op("ReduceSum", parts, graph.shape(2), keepdims=0)


def _vote(graph: Graph, node: Any) -> str:
    groups = graph.op("Reshape", graph.real(node), graph.shape(0, -1, node.voters))
    return graph.map_of(graph.op("ReduceMean", groups, axes=[2], keepdims=0), node.name)


def _time_mean(graph: Graph, node: Any) -> Any:
    steps, shape = graph.maps[node.inputs[0]].steps, graph.network.shapes[node.name]
    apart = graph.op("Reshape", graph.real(node), graph.shape(steps, graph.batch, *shape.size))
    return Value(graph.op("ReduceMean", apart, axes=[0], keepdims=0), TensorProto.FLOAT, 1)


FORWARD: Mapping[str, Callable[[Graph, Any], Any]] = {
    "MultiSpike": _multi_spike,
    "MaxPool": _max_pool,
    "AveragePool": lambda graph, node: _average(graph, node, graph.real(node)),
    "SumPool": _sum_pool,
    "AdaptiveAveragePool": _adaptive_pool,
    "Pad": _pad,
    "Flatten": lambda graph, node: graph.map_of(graph.as_float(graph.maps[node.inputs[0]]), node.name),
    "Vote": _vote,
    "Add": _add,
    "And": _gate,
    "IAnd": _gate,
    "Mask": _mask,
    "HeadSum": _head_sum,
    "TokenSum": lambda graph, node: graph.op(
        "ReduceSum", graph.as_float(graph.maps[node.inputs[0]]), graph.shape(2, 3), keepdims=1
    ),
    "SpikingSelfAttention": _attention,
    "HeadProduct": _head_product,
    "TokenMean": lambda graph, node: graph.op("ReduceMean", graph.real(node), axes=[2, 3], keepdims=1),
    "TimeMean": _time_mean,
}
"""What each other primitive computes."""
