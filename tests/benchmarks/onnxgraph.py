"""A network as a dense ONNX graph, in float32 or with integer weights: what OpenVINO and ONNX Runtime are given.

The best form known here (`onnxprimitives.py` has the primitives without weights): maps [timesteps * batch, C, H, W],
timesteps one behind the other, what is the same at every timestep computed once, BatchNorm folded, layers of one input
as one convolution, attention in the cheaper order. Potentials are scaled so that neurons multiply no input: with what
remains k and the share g of the input, ``v = k v + g x`` fires at the threshold as ``u = k u + x`` at threshold / g.

In the forms of integer weights spikes are uint8 and weights int8 by output channel, their product exact: "qdq" says so
by pairs of QuantizeLinear and DequantizeLinear, which OpenVINO takes; "integer" by MatMulInteger, for ONNX Runtime.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from graphs import bundles, folded, is_matrix, leak, neurons_behind
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnxprimitives import FORWARD, Value

from evsim.network import LIF, Conv2d, Linear, Network, Node
from evsim.primitives import MultiSpike

OPSET = 17
IR_VERSION = 8
"""Of ONNX's file format: the one of that set of operations, which every release of both runtimes reads."""

Form = Literal["float32", "qdq", "integer"]


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
        self.once = set[str]()
        for node in network.nodes:  # what follows a mean over time is there once, neurons too
            if node.once or not self.once.isdisjoint(node.inputs):
                self.once.add(node.name)
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}
        self.maps: dict[str, Value] = {}
        self.outputs: list[Any] = []

    def model(self) -> ModelProto:
        """Return the whole model: input "x" [batch, C, H, W] or [T * batch, C, H, W], output "logits"."""
        network, first = self.network, self.network.input
        still = network.spec.kind == "image"
        steps = 1 if still else self.timesteps
        sides = network.shapes[first.name].size
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [steps * self.batch, *sides])
        self.maps[first.name] = Value("x", steps)
        for node in network.nodes:
            if node.name not in self.maps:
                self._compute(node)
        self.op("Reshape", self.maps[network.nodes[-1].name].name, self.shape(self.batch, -1), output="logits")
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

    def real(self, node: Node, port: int = 0) -> str:
        """Return a source as float32, integers as what they stand for."""
        source = node.inputs[port]
        unit, x = self.network.shapes[source].unit, self.maps[source].name
        return x if unit == 1.0 else self.op("Mul", x, self.const(unit))

    def repeat(self, name: str, steps: int) -> str:
        """Return what stands for all timesteps as that many."""
        return name if steps > 1 else self.op("Concat", *[name] * self.timesteps, axis=0)

    def together(self, node: Node) -> list[str]:
        """Return all sources as what they stand for, of the same number of timesteps."""
        return self._same_steps(node, [self.real(node, port) for port in range(len(node.inputs))])

    def alike(self, node: Node) -> list[str]:
        """Return all sources as they travel, of the same number of timesteps."""
        return self._same_steps(node, [self.maps[name].name for name in node.inputs])

    def _same_steps(self, node: Node, names: list[str]) -> list[str]:
        steps = [self.maps[name].steps for name in node.inputs]
        return [x if own == max(steps) else self.repeat(x, own) for own, x in zip(steps, names, strict=True)]

    # nodes of the network

    def _compute(self, node: Node) -> None:
        if node.name in self.bundles:
            self._bundle(node)
        elif isinstance(node, Conv2d | Linear):
            self._keep(node.name, Value(self.layer([node]), self.maps[node.inputs[0]].steps))
        elif isinstance(node, LIF):
            self._keep(node.name, self.neurons(node, self.real(node), self.maps[node.inputs[0]].steps))
        else:
            made = FORWARD[type(node).__name__](self, node)
            steps = max(self.maps[name].steps for name in node.inputs)
            self._keep(node.name, made if isinstance(made, Value) else Value(made, steps))

    def _bundle(self, first: Node) -> None:
        """Compute layers that read one input as one convolution, and their neurons, where all are alike, at once."""
        names = self.bundles[first.name]
        nodes = [self.network.node(name) for name in names]
        whole = Value(self.layer(nodes), self.maps[first.inputs[0]].steps)
        lifs = neurons_behind(self.network, names)
        ends = names
        if lifs:
            self.maps.update(dict.fromkeys(names, whole))  # nobody else reads them
            whole = self.neurons(lifs[0], whole.name, whole.steps)
            ends = tuple(lif.name for lif in lifs)
        for name, part in zip(ends, self._apart(whole.name, nodes), strict=True):
            self._keep(name, Value(part, whole.steps))

    def _apart(self, whole: str, nodes: list[Any]) -> list[str]:
        """Return what each of some layers gave; cut along an axis of their own, if of one size, which is faster."""
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
            self.op("Identity", value.name, output=name)
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
            return self.op("Conv", source.name, self.const(weight), self.const(bias), **window)
        integers, scale = integers_of(self.network, nodes)
        if self.form == "qdq":
            x = self.op("DequantizeLinear", self._bytes(source), self.const(1.0), self.const(0, np.uint8))
            zeros = self.const(np.zeros(len(scale)), np.int8)
            w = self.op("DequantizeLinear", self.const(integers, np.int8), self.const(scale), zeros, axis=0)
            return self.op("Conv", x, w, self.const(bias), **window)
        if not is_matrix(first):  # ConvInteger takes many times as long as the product of floats
            exact = integers * scale[:, None, None, None]
            return self.op("Conv", source.name, self.const(exact), self.const(bias), **window)
        return self._product(first, self._bytes(source), integers[:, :, 0, 0], scale, bias)

    def _bytes(self, value: Value) -> str:
        """Return spikes or small integers as uint8."""
        if self.form == "integer":
            return self.op("Cast", value.name, to=TensorProto.UINT8)
        return self.op("QuantizeLinear", value.name, self.const(1.0), self.const(0, np.uint8))

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
        currents = self.timesteps_of(node, x, steps)
        u, fired = currents[0], []
        for t, current in enumerate(currents):
            if t:
                kept = u if keeps == 1.0 else self.op("Mul", u, self.const(keeps))
                u = self.op("Add", kept, current) if keeps else current
            fired.append(self.fires(u, threshold, strict=node.strict))
            if t < len(currents) - 1 and keeps:
                falls = self.const(threshold) if node.soft_reset else u
                u = self.op("Sub", u, self.op("Mul", fired[t], falls))
        return Value(self.joined(fired), len(fired))

    def fires(self, u: str, threshold: Any, *, strict: bool) -> str:
        """Return 1 where potentials reach a threshold, else 0.

        Rounding down u / threshold, kept from 0 to 1, is faster than to compare and cast: no quotient of less than 1 is
        rounded up to 1.
        """
        if strict:
            return self.op("Cast", self.op("Greater", u, self.const(threshold)), to=TensorProto.FLOAT)
        part = u if np.all(threshold == 1.0) else self.op("Div", u, self.const(threshold))
        return self.op("Floor", self.op("Clip", part, self.const(0.0), self.const(1.0)))

    def timesteps_of(self, node: Node, x: str, steps: int) -> list[str]:
        """Return what a node reads at each timestep."""
        if node.inputs[0] in self.once:
            return [x]
        return [x] * self.timesteps if steps == 1 else self.op("Split", x, outputs=steps, axis=0)

    def joined(self, parts: list[str]) -> str:
        """Return the values of all timesteps as one."""
        return self.op("Concat", *parts, axis=0) if len(parts) > 1 else parts[0]

    def heads(self, name: str, heads: int, source: str) -> str:
        """Return a map [N, C, H, W] as [N, heads, C / heads, tokens]."""
        shape = self.network.shapes[source]
        return self.op("Reshape", name, self.shape(0, heads, shape.channels // heads, shape.positions))

    def map_of(self, name: str, like: str) -> str:
        """Return heads and tokens as the map of a node's shape."""
        return self.op("Reshape", name, self.shape(0, *self.network.shapes[like].size))


def integers_of(network: Network, nodes: list[Any]) -> tuple[Any, Any]:
    """Return int8 weights [C_out, C_in / groups, kH, kW] of layers of one input, and the scale of each channel [C_out].

    They are those of a quantized network; those of another are found again in its weights.
    """
    quantization = getattr(network, "quantization", None)
    if quantization is None:
        return integer_weights(folded(network, nodes)[0])
    layers = [quantization.layers[node.name] for node in nodes]
    weights = [layer.weight[None, None] if layer.weight.ndim == 2 else layer.weight for layer in layers]
    scales = [layer.multiplier * 2.0**-quantization.fraction for layer in layers]
    return np.concatenate([weight.transpose(3, 2, 0, 1) for weight in weights]), np.concatenate(scales)


def integer_weights(weight: Any) -> tuple[Any, Any]:
    """Return int8 weights [C_out, ...], and the scale of each output channel [C_out]: the largest is 127 of it."""
    scale = np.abs(weight).max(tuple(range(1, weight.ndim))) / 127
    scale[scale == 0] = 1.0
    return np.rint(weight / scale.reshape(-1, *[1] * (weight.ndim - 1))).astype(np.int8), scale
