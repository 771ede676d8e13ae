"""The way out: a network becomes a NIR graph, written by the package `nir` (extra ``nir``)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evsim.converters.nir.continuous import full, lif, neuron
from evsim.converters.nir.values import Dims
from evsim.errors import NetworkError, OptionError
from evsim.files import write_whole
from evsim.network import Add, Conv2d, Input, Linear, Network, Node, TimeMean, TokenMean
from evsim.primitives import LIF, AveragePool, Delay, Flatten, Neuron, Scale, SumPool, TimeReduction, Vote

MILLISECOND = 1e-3
"""Timestep of a network that has none of its own."""


@dataclass(frozen=True)
class Export:
    """What was written.

    Attributes
    ----------
    nodes
        Number of nodes of the graph, without Input and Output.
    timestep
        In seconds, for which the time constants hold.
    habits
        Options with which `evsim convert` computes the same from the graph.
    notes
        What a person should know, one line each.
    """

    nodes: int
    timestep: float
    habits: dict[str, str]
    notes: tuple[str, ...]


UNCHECKED = (
    "the package nir takes kernels that are not square, and groups, for other shapes; it reads this graph by "
    "nir.read(path, type_check=False)"
)


def export(network: Network, path: str | Path, timestep: float | None = None) -> Export:
    """Write a network as a NIR graph.

    Parameters
    ----------
    network
        What is written.
    path
        The file; it appears whole or not at all.
    timestep
        Seconds of a timestep; by default the network's own, else a millisecond.

    Raises
    ------
    NetworkError
        If NIR cannot say what a node does; it is named.
    OptionError
        If the package `nir` is not installed, or `timestep` is no time.
    OutputError
        If the file cannot be written.
    """
    nir = _package()
    own = network.spec.bin_us / 1e6 if network.spec.bin_us else MILLISECOND
    step = own if timestep is None else timestep
    if not 0.0 < step < float("inf"):
        raise OptionError(f"`timestep` must be above 0, got {step} s")
    speaker = _Speaker(network, step)
    habits = speaker.chosen()
    nodes = {name: getattr(nir, kind)(**values) for name, (kind, values) in speaker.nodes.items()}
    try:
        graph = nir.NIRGraph(nodes, speaker.edges)
    except ValueError:  # evsim knows the shapes; nir 1.0.8 takes every kernel for square and forgets groups
        graph = nir.NIRGraph(nodes, speaker.edges, type_check=False)
        speaker.notes.append(UNCHECKED)
    buffer = BytesIO()
    nir.write(buffer, graph)
    write_whole(path, buffer.getbuffer())
    return Export(len(nodes) - 2, step, habits, tuple(speaker.notes))


def _package() -> Any:
    try:
        import nir
    except ImportError as error:
        raise OptionError("a NIR graph is written by the package nir; install it: pip install nir") from error
    return nir


class _Speaker:
    """Says each node of a network in NIR's words.

    Attributes
    ----------
    nodes
        Name to NIR's class and its parameters.
    edges
        Pairs of names.
    habits
        Option to what each node wants of it.
    notes
        What a person should know.
    """

    def __init__(self, network: Network, timestep: float) -> None:
        self.network, self.timestep = network, timestep
        self.nodes: dict[str, tuple[str, dict[str, Any]]] = {}
        self.edges: list[tuple[str, str]] = []
        self.habits: dict[str, dict[str, str]] = {}
        self.notes: list[str] = []
        self._outputs: dict[str, tuple[str, ...]] = {}
        self._dims: dict[str, Dims] = {}
        self._late: list[tuple[str, str]] = []
        self._reduction: Node | None = None
        for node in network.nodes:
            if type(node) not in SAID:
                raise NetworkError(f"{node.name} is a {type(node).__name__}, for which NIR has no node")
            SAID[type(node)](self, node)
        for source, target in self._late:  # what delays that close a cycle read
            self.edges += [(name, target) for name in self._outputs[source]]
        if len(set(self.edges)) < len(self.edges):
            twice = next(edge for edge in self.edges if self.edges.count(edge) > 1)
            raise NetworkError(f"{twice[1]} adds {twice[0]} to itself, which edges of NIR cannot say")
        last = network.nodes[-1].name
        self.say(self.fresh("output"), "Output", {"output_type": _type("output", self._dims[last])}, last)

    def say(self, name: str, kind: str, values: dict[str, Any], source: str, dims: Dims | None = None) -> None:
        """Enter a node that reads another; `dims` are those of what it gives, by default of what it gets."""
        self.nodes[name] = (kind, values)
        self.edges += [(one, name) for one in self._outputs[source]]
        self._outputs[name] = (name,)
        self._dims[name] = self._dims[source] if dims is None else dims

    def fresh(self, name: str) -> str:
        """Return a name that no node has."""
        taken = {node.name for node in self.network.nodes} | self.nodes.keys()
        while name in taken:
            name += "_"
        return name

    def chosen(self) -> dict[str, str]:
        """Return the options that all neurons agree on.

        Raises
        ------
        NetworkError
            If two want different ones, which a reader of graphs has no way to choose.
        """
        chosen: dict[str, str] = {}
        for option, wanted in self.habits.items():
            values = sorted(set(wanted.values()))
            if len(values) > 1:
                first, other = (next(name for name, value in wanted.items() if value == one) for one in values[:2])
                raise NetworkError(
                    f"{first} and {other} differ in {option.replace('_', ' ')} ({values[0] or 'none'}, "
                    f"{values[1] or 'none'}), which a NIR graph does not tell of each node"
                )
            if values[0]:
                chosen[option] = values[0]
        return chosen

    def input(self, node: Input) -> None:
        """Say the input."""
        line = any(_on_a_line(other) for other in self.network.nodes) and node.height == 1
        size = (node.channels, node.height, node.width)
        dims = (size[0], size[2]) if line else size if not self.network.spec.flat else size[:1]
        self.nodes[node.name] = ("Input", {"input_type": _type("input", dims)})
        self._outputs[node.name], self._dims[node.name] = (node.name,), dims
        if self.network.spec.kind == "image":
            self.notes.append("the input is an image, the same at every timestep; feed it so")

    def conv(self, node: Conv2d) -> None:
        """Say a convolution, its BatchNorm folded in."""
        dims = self._dims[node.inputs[0]]
        weight, bias = _folded(self.network, node)
        shape = self.network.shapes[node.name]
        same = bool(node.padding_after) and node.padding_after != node.padding
        if same and (node.stride != (1, 1) or (shape.height, shape.width) != self._space(node)):
            raise NetworkError(f"{node.name} pads otherwise behind the last row and column, for which NIR has no node")
        if len(dims) == 2 and node.kernel[0] == 1 and node.padding[0] == 0 and node.stride[0] == 1:
            values = {
                "input_shape": dims[1], "weight": np.ascontiguousarray(weight[0].transpose(2, 1, 0)),
                "stride": node.stride[1], "padding": "same" if same else node.padding[1], "dilation": node.dilation[1],
            }  # fmt: skip
            self.say(
                node.name, "Conv1d", {**values, "groups": node.groups, "bias": bias}, node.inputs[0],
                (shape.channels, shape.width),
            )  # fmt: skip
            return
        self._as_map(node, dims, "is a convolution")
        values = {
            "input_shape": dims[1:], "weight": np.ascontiguousarray(weight.transpose(3, 2, 0, 1)),
            "stride": node.stride, "padding": "same" if same else node.padding, "dilation": node.dilation,
        }  # fmt: skip
        self.say(
            node.name, "Conv2d", {**values, "groups": node.groups, "bias": bias}, node.inputs[0],
            (shape.channels, shape.height, shape.width),
        )  # fmt: skip

    def linear(self, node: Linear) -> None:
        """Say a linear layer; one on each position of a map is a convolution of one tap."""
        dims = self._dims[node.inputs[0]]
        weight, bias = _folded(self.network, node)
        if self._reduction is not None and bias.any() and not _is_mean_or_last(self._reduction):
            raise NetworkError(
                f"{node.name} adds a bias to a sum over time, which NIR, adding it at each timestep, cannot"
            )
        turned = np.ascontiguousarray(weight.T)
        if len(dims) > 1:
            shape = self.network.shapes[node.name]
            self._as_map(node, dims, "is a linear layer on each position")
            values = {
                "input_shape": dims[1:], "weight": turned[:, :, np.newaxis, np.newaxis], "stride": (1, 1),
                "padding": (0, 0), "dilation": (1, 1), "groups": 1, "bias": bias,
            }  # fmt: skip
            self.say(node.name, "Conv2d", values, node.inputs[0], (shape.channels, shape.height, shape.width))
        elif bias.any():
            self.say(node.name, "Affine", {"weight": turned, "bias": bias}, node.inputs[0], (node.out_channels,))
        else:
            self.say(node.name, "Linear", {"weight": turned}, node.inputs[0], (node.out_channels,))

    def vote(self, node: Vote) -> None:
        """Say a mean over groups of channels as the linear layer that it is."""
        dims = self._dims[node.inputs[0]]
        if len(dims) > 1:
            raise NetworkError(f"{node.name} votes over channels of a map, for which NIR has no node")
        weight = np.kron(np.eye(dims[0] // node.voters), np.full((1, node.voters), 1.0 / node.voters))
        self.say(node.name, "Linear", {"weight": weight}, node.inputs[0], (dims[0] // node.voters,))

    def sum_pool(self, node: SumPool) -> None:
        """Say a pool that adds up."""
        self._pool(node, "SumPool2d")

    def average_pool(self, node: AveragePool) -> None:
        """Say a pool that averages."""
        self._pool(node, "AvgPool2d")

    def _pool(self, node: SumPool | AveragePool, kind: str) -> None:
        self._as_map(node, self._dims[node.inputs[0]], "is a pool")
        kernel, stride, padding = (np.array(pair) for pair in zip(*node.axes, strict=True))
        shape = self.network.shapes[node.name]
        values = {"kernel_size": kernel, "stride": stride, "padding": padding}
        self.say(node.name, kind, values, node.inputs[0], (shape.channels, shape.height, shape.width))

    def token_mean(self, node: TokenMean) -> None:
        """Say a mean over the map as a pool of its size, and what it gives as one axis."""
        dims = self._dims[node.inputs[0]]
        if len(dims) == 1:
            self._passed(node)
            return
        self._as_map(node, dims, "is a mean over a map")
        pool = self.fresh(f"{node.name}.pool")
        size = np.array(dims[1:])
        values = {"kernel_size": size, "stride": size, "padding": np.array((0, 0))}
        self.say(pool, "AvgPool2d", values, node.inputs[0], (dims[0], 1, 1))
        self.say(node.name, "Flatten", _flat((dims[0], 1, 1)), pool, (dims[0],))

    def flatten(self, node: Flatten) -> None:
        """Say a flattening; of what is flat already nothing."""
        dims = self._dims[node.inputs[0]]
        if len(dims) == 1:
            self._passed(node)
            return
        shape = self.network.shapes[node.name]
        self.say(node.name, "Flatten", _flat(dims), node.inputs[0], (shape.channels,))

    def neurons(self, node: LIF | Neuron) -> None:
        """Say neurons, and remember how they must be read."""
        dims = self._dims[node.inputs[0]]
        say: Callable[..., tuple[str, dict[str, Any], dict[str, str]]] = lif if type(node) is LIF else neuron
        kind, values, habits = say(self.network, node, dims, self.timestep)
        for option, wanted in habits.items():
            self.habits.setdefault(option, {})[node.name] = wanted
        self.say(node.name, kind, values, node.inputs[0])

    def scale(self, node: Scale) -> None:
        """Say factors."""
        if node.shifts:
            raise NetworkError(f"{node.name} adds a constant to a map, for which NIR has no node")
        factor = np.array(node.scale)
        if "scale" in node.arrays:
            factor = np.asarray(self.network.weights[f"{node.name}.scale"], np.float64)
        self.say(node.name, "Scale", {"scale": full(factor, self._dims[node.inputs[0]])}, node.inputs[0])

    def add(self, node: Add) -> None:
        """Say a sum, which in NIR is what several edges into a node bring."""
        left, right = node.inputs
        kinds = [self.network.shapes[name] for name in node.inputs]
        if any(shape.unit != 1.0 for shape in kinds):
            raise NetworkError(f"{node.name} adds integers of a unit of their own, which NIR does not have")
        if self._dims[left] != self._dims[right]:
            raise NetworkError(f"{node.name} adds maps of different shape, which edges of NIR cannot say")
        self._outputs[node.name] = self._outputs[left] + self._outputs[right]
        self._dims[node.name] = self._dims[left]

    def delay(self, node: Delay) -> None:
        """Say a delay; the edge into one that closes a cycle is drawn at the end."""
        shape, source = self.network.shapes[node.name], node.inputs[0]
        size = (shape.channels, shape.height, shape.width)
        known = self._dims.get(source)
        line = len(next(iter(self._dims.values()))) == 2
        dims = known or (size[:1] if shape.positions == 1 else size[::2] if line else size)
        values = {"delay": np.full(dims, node.steps * self.timestep)}
        if known:
            self.say(node.name, "Delay", values, source)
            return
        self.nodes[node.name] = ("Delay", values)
        self._outputs[node.name], self._dims[node.name] = (node.name,), dims
        self._late.append((source, node.name))

    def reduction(self, node: TimeMean | TimeReduction) -> None:
        """Pass on what is read out over time: a graph has no time to end, so its Output does."""
        self._passed(node)
        self._reduction = node
        kind = getattr(node, "reduction", "mean")
        if kind == "max" and node is not self.network.nodes[-1]:
            raise NetworkError(f"{node.name} is a maximum over time with layers behind it, which NIR has no node for")
        if kind == "mean":
            self.notes.append(
                f"{node.name}, a mean over time, becomes the sum of what the Output gets: T times as much"
            )
        self.habits["readout"] = {node.name: "sum" if kind == "mean" else kind}

    def _passed(self, node: Node) -> None:
        self._outputs[node.name] = self._outputs[node.inputs[0]]
        self._dims[node.name] = self._dims[node.inputs[0]]

    def _space(self, node: Conv2d) -> tuple[int, int]:
        """Return the size of the map that a convolution reads, if it is padded as "same" would; else none."""
        source = self.network.shapes[node.inputs[0]]
        halved = all(
            2 * before in (total, total - 1)
            for before, total in zip(
                node.padding, map(sum, zip(node.padding, node.padding_after, strict=True)), strict=True
            )
        )
        return (source.height, source.width) if halved else (0, 0)

    def _as_map(self, node: Node, dims: Dims, what: str) -> None:
        if len(dims) != 3:
            raise NetworkError(f"{node.name} {what}, but reads values of shape {list(dims)}; NIR wants [C, H, W]")


def _folded(network: Network, node: Conv2d | Linear) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Return weight and bias with the BatchNorm folded in, in float64 where there is one."""
    own = {key: network.weights[f"{node.name}.{key}"] for key in node.parameters()}
    weight = own["weight"]
    bias = own.get("bias", np.zeros(node.out_channels, weight.dtype))
    if not node.batch_norm:
        return weight, bias
    scale, shift = (np.asarray(own[key], np.float64) for key in ("bn_scale", "bn_shift"))
    return weight.astype(np.float64) * scale, bias.astype(np.float64) * scale + shift


def _type(end: str, dims: Dims) -> dict[str, NDArray[np.int64]]:
    return {end: np.array(dims, np.int64)}


def _flat(dims: Dims) -> dict[str, Any]:
    return {"input_type": _type("input", dims), "start_dim": 0, "end_dim": -1}


def _on_a_line(node: Node) -> bool:
    """Whether a node is a convolution over a line."""
    return getattr(node, "module", "") == "Conv1d"


def _is_mean_or_last(node: Node) -> bool:
    return getattr(node, "reduction", "mean") in ("mean", "last")


SAID: dict[type[Node], Callable[[_Speaker, Any], None]] = {
    Input: _Speaker.input, Conv2d: _Speaker.conv, Linear: _Speaker.linear, LIF: _Speaker.neurons,
    Neuron: _Speaker.neurons, SumPool: _Speaker.sum_pool, AveragePool: _Speaker.average_pool,
    TokenMean: _Speaker.token_mean, Flatten: _Speaker.flatten, Scale: _Speaker.scale, Add: _Speaker.add,
    Delay: _Speaker.delay, TimeMean: _Speaker.reduction, TimeReduction: _Speaker.reduction, Vote: _Speaker.vote,
}  # fmt: skip
"""Types of nodes that NIR can say, and how."""
