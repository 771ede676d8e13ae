"""Observers of a run: they watch packets go by, the layers and kernels know nothing of them.

An observer is called after each step of a stage with the packets that it took and the one that it gave.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from evsim.counters import Counts, Geometry, Ints, LayerCounts
from evsim.kernels.counting import attention_operations, spikes_per_position, tally_values
from evsim.layers.plan import Stage
from evsim.network import (
    LIF,
    Add,
    Conv2d,
    Input,
    Kind,
    Linear,
    MaxPool,
    Network,
    Node,
    SpikingSelfAttention,
    TimeMean,
    TokenMean,
)
from evsim.spikes import IntegerMap, Packet, RealMap, SpikeMap

TOGETHER = 128
"""Steps that are counted at once: one at a time, between kernels that fill the caches, costs twice as much."""

ROWS = 10
NONZEROS, SIZE, SUM, SOPS, MACS, ACS, SPIKES, BIAS, UPDATES, OTHER = range(ROWS)
"""Rows of a layer's running counts."""

RowKind = Literal["conv", "linear", "attention", "lif"]
KINDS: dict[type[Node], RowKind] = {
    Conv2d: "conv",
    Linear: "linear",
    SpikingSelfAttention: "attention",
    LIF: "lif",
}


class Observer(Protocol):
    """Whoever wants to see the packets of a run."""

    def observe(self, stage: Stage, inputs: tuple[Packet, ...], output: Packet | None) -> None:
        """Take note of one step; `output` is None while a stage still gathers."""


class Counter:
    """Counts every synaptic operation exactly, see `evsim.counters.LayerCounts` for what is counted.

    Parameters
    ----------
    network
        The network that runs.
    timesteps
        T of the run.
    """

    def __init__(self, network: Network, timesteps: int) -> None:
        self.network, self.timesteps = network, timesteps
        self._layers = _layers(network)
        self._rows = np.zeros((len(self._layers), ROWS, timesteps), np.int64)
        self._seen = np.zeros((len(self._layers), timesteps), np.bool_)
        parts = zip(self._layers, self._rows, self._seen, strict=True)
        self._tallies = {layer.node.name: _Tally(layer, rows, seen) for layer, rows, seen in parts}
        self._pending: list[tuple[slice, Stage, list[SpikeMap]]] = []
        self._kept: dict[int, SpikeMap] = {}
        self._known: dict[int, tuple[Ints, Ints]] = {}
        self._other = {key: np.zeros(timesteps, np.int64) for key in ("residual_adds", "pool_comparisons", "mean_adds")}

    def observe(self, stage: Stage, inputs: tuple[Packet, ...], output: Packet | None) -> None:
        """Count the step of every primitive that the stage stands for."""
        when = slice(inputs[0].start, inputs[0].start + inputs[0].steps)
        if isinstance(stage.nodes[0], Conv2d | Linear) and not isinstance(inputs[0], SpikeMap):
            self._tallies[stage.nodes[0].name].multiply(when, inputs[0])
        spikes = [self._keep(p) for p in (*inputs, output) if isinstance(p, SpikeMap)]
        self._pending.append((when, stage, spikes))
        if len(self._pending) == TOGETHER:
            self._flush()

    def _keep(self, packet: SpikeMap) -> SpikeMap:
        """Return the packet's bits without its lists, one and the same for its maker and all its readers."""
        key = id(packet.words)
        if key not in self._kept:
            self._kept[key] = SpikeMap(packet.start, packet.words, packet.channels, packet.height, packet.width)
        return self._kept[key]

    def _flush(self) -> None:
        """Count the steps seen since the last time: many at once, while the code that counts is in the cache."""
        for when, stage, spikes in self._pending:
            for node in stage.nodes:
                if isinstance(node, LIF):
                    self._tallies[node.name].neurons(when, self._spikes(spikes[-1])[1])
                elif isinstance(node, SpikingSelfAttention):
                    self._tallies[node.name].attention(when, spikes, [self._spikes(packet)[1] for packet in spikes])
                elif not isinstance(node, Conv2d | Linear):
                    key, amount = _other_operations(node, self.network)
                    self._other[key][when] += amount
                elif self._tallies[node.name].layer.input_kind == "spikes":
                    self._tallies[node.name].gather(when, *self._spikes(spikes[0]))
        self._pending.clear()
        self._kept.clear()
        self._known.clear()

    def _spikes(self, packet: SpikeMap) -> tuple[Ints, Ints]:
        """Return the spikes of each position [T, P] and timestep [T]."""
        key = id(packet.words)
        if key not in self._known:
            by_position = np.empty(packet.words.shape[:2], np.int64)
            spikes_per_position(packet.words, by_position)
            self._known[key] = by_position, by_position.sum(axis=1)
        return self._known[key]

    def counts(self) -> Counts:
        """Return what was counted, once the run is over."""
        self._flush()
        rows, layers, tallies = self._rows, self._layers, self._tallies.values()
        constants = np.array([layer.constants for layer in layers], np.int64).reshape(-1, 3, 1)
        rows[:, [SIZE, BIAS, UPDATES]] = constants * self._seen[:, np.newaxis]
        for tally in tallies:
            if tally.layer.kind == "attention":
                tally.rows[NONZEROS] = tally.operands.sum(axis=0)
        spiking = np.array([layer.input_kind == "spikes" for layer in layers], np.bool_)
        rows[:, SUM] = np.where(spiking[:, np.newaxis], rows[:, NONZEROS], rows[:, SUM])
        steps = np.count_nonzero(rows[:, SIZE], axis=1).tolist()
        nonzeros = rows[:, NONZEROS].sum(axis=1).tolist()
        counted = tuple(map(_Tally.counts, tallies, steps, nonzeros))
        return Counts(self.timesteps, counted, dict(self._other))


@dataclass(frozen=True)
class _Layer:
    """What is known of a layer before any run."""

    node: Node
    kind: RowKind
    input_kind: Kind
    geometry: Geometry
    reads_input: bool
    constants: tuple[int, int, int]
    """Of each timestep, whatever fires: size of the input, additions of a shift, membrane potentials updated."""


@lru_cache(maxsize=4)
def _layers(network: Network) -> tuple[_Layer, ...]:
    """List the layers that have a row; kept for the runs to come."""
    layers = []
    for node in network.nodes:
        if type(node) in KINDS:
            kind, size = KINDS[type(node)], geometry(node, network)
            outputs = size.out_positions * size.out_channels
            shifted = kind != "lif" and (size.bias or size.batch_norm)
            constants = (
                (3 if kind == "attention" else 1) * size.tokens * size.in_channels,
                outputs if shifted else 0,
                outputs if kind == "lif" else 0,
            )
            source = network.shapes[node.inputs[0]].kind
            layers.append(_Layer(node, kind, source, size, _reads_input(node, network), constants))
    return tuple(layers)


class _Tally:
    """Running counts of one layer."""

    def __init__(self, layer: _Layer, rows: Ints, seen: NDArray[np.bool_]) -> None:
        self.layer, self.geometry, self.rows, self.seen = layer, layer.geometry, rows, seen
        timesteps = rows.shape[1]
        self.binary = True
        if layer.kind == "attention":
            self.heads = {key: np.zeros((timesteps, self.geometry.heads), np.int64) for key in ("kv", "qk")}
            self.operands = np.zeros((3, timesteps), np.int64)

    def gather(self, when: slice, by_position: Ints, by_step: Ints) -> None:
        """Count a conv or linear layer by its input spikes, and the outputs that each reaches."""
        size = self.geometry
        self.seen[when] = True
        self.rows[NONZEROS, when] += by_step
        if size.kernel == size.stride == (1, 1) and size.padding == (0, 0):
            self.rows[SOPS, when] += by_step * size.out_channels
        else:
            self.rows[SOPS, when] += by_position @ _fan_out(size)

    def multiply(self, when: slice, packet: IntegerMap | RealMap) -> None:
        """Count a conv or linear layer by its real or integer input: nonzeros, and the outputs that each reaches."""
        self.seen[when] = True
        counts = np.zeros((4, packet.values.shape[0]), np.int64)
        self.binary &= bool(tally_values(packet.values, packet.channels, _fan_out(self.geometry), counts))
        self.rows[NONZEROS, when] += counts[0]
        self.rows[MACS, when] += counts[1]
        if isinstance(packet, IntegerMap):
            self.rows[SUM, when] += counts[2]
            self.rows[ACS, when] += counts[3]

    def neurons(self, when: slice, by_step: Ints) -> None:
        """Count a LIF layer's spikes."""
        self.seen[when] = True
        self.rows[SPIKES, when] += by_step

    def attention(self, when: slice, packets: list[SpikeMap], by_step: list[Ints]) -> None:
        """Count both orders of attention, per head."""
        size = self.geometry
        self.seen[when] = True
        kv, qk = self.heads["kv"][when], self.heads["qk"][when]
        attention_operations(size.heads, size.head_dim, *(packet.words for packet in packets), kv, qk)
        self.operands[:, when] += by_step
        declared, other = (kv, qk) if size.order == "q(kv)" else (qk, kv)
        self.rows[SOPS, when] += declared.sum(axis=1)
        self.rows[OTHER, when] += other.sum(axis=1)

    def counts(self, steps: int, nonzeros: int) -> LayerCounts:
        """Return the counts in their final form; of how many timesteps, and the sum of input nonzeros, is known."""
        layer, rows, kind = self.layer, self.rows, self.layer.kind
        attention, lif, graded = kind == "attention", kind == "lif", layer.input_kind == "integers"
        declared, other = ("kv", "qk") if self.geometry.order == "q(kv)" else ("qk", "kv")
        binary = self.binary and kind in ("conv", "linear")
        return LayerCounts(
            name=layer.node.name,
            kind=kind,
            input_kind=layer.input_kind,
            geometry=self.geometry,
            steps=steps,
            input_nonzeros=rows[NONZEROS],
            input_size=rows[SIZE],
            input_sum=rows[SUM],
            sops=rows[SOPS],
            macs=rows[MACS],
            bias_adds=rows[BIAS],
            neuron_updates=rows[UPDATES],
            sops_other_order=rows[OTHER] if attention else None,
            acs_unrolled=rows[ACS] if graded and not lif else None,
            spikes=rows[SPIKES] if lif else None,
            sops_per_head=self.heads[declared] if attention else None,
            sops_other_order_per_head=self.heads[other] if attention else None,
            operand_nonzeros=self.operands if attention else None,
            binary_samples=int(binary),
            binary_nonzeros=nonzeros if binary else 0,
            reads_input=layer.reads_input,
        )


class SpikeRecorder:
    """Keeps the spikes of every LIF layer, bit-packed as the run goes on.

    Attributes
    ----------
    trains
        LIF name to (``np.packbits`` of the C-ordered boolean array, its shape): the PyTorch module's own output
        shape without batch, [T, C, H, W], [T, C, N] or [T, N, C].
    """

    def __init__(self, network: Network) -> None:
        self._layouts = {node.name: node.layout for node in network.nodes if isinstance(node, LIF)}
        self._parts: dict[str, list[SpikeMap]] = {name: [] for name in self._layouts}

    def observe(self, stage: Stage, inputs: tuple[Packet, ...], output: Packet | None) -> None:  # noqa: ARG002
        """Keep the packet if it comes from a LIF."""
        if stage.name in self._parts and isinstance(output, SpikeMap):
            self._parts[stage.name].append(output)

    @property
    def trains(self) -> dict[str, tuple[NDArray[np.uint8], tuple[int, ...]]]:
        """Return the packed spike trains and their shapes, by layer."""
        return {name: self._pack(name, parts) for name, parts in self._parts.items() if parts}

    def _pack(self, name: str, parts: list[SpikeMap]) -> tuple[NDArray[np.uint8], tuple[int, ...]]:
        first = parts[0]
        spikes = np.concatenate([part.dense() for part in sorted(parts, key=lambda part: part.start)])
        if self._layouts[name] != "rows":
            spikes = spikes.transpose(0, 2, 1)
        if self._layouts[name] == "map":
            spikes = spikes.reshape(len(spikes), first.channels, first.height, first.width)
        return np.packbits(spikes), spikes.shape


def geometry(node: Node, network: Network) -> Geometry:
    """Return the sizes of a conv, linear, attention or LIF layer."""
    source, target = network.shapes[node.inputs[0]], network.shapes[node.name]
    sizes = (source.channels, target.channels, source.height, source.width, target.height, target.width)
    match node:
        case Conv2d():
            return Geometry(node.module, *sizes, node.kernel, node.stride, node.padding, node.bias, node.batch_norm)
        case Linear():
            return Geometry(node.module, *sizes, bias=node.bias, batch_norm=node.batch_norm)
        case LIF():
            return Geometry("LIF", *sizes, tau=node.tau, v_threshold=node.v_threshold)
        case SpikingSelfAttention():
            width = source.channels // node.heads
            return Geometry("SpikingSelfAttention", *sizes, heads=node.heads, head_dim=width, order=node.order)
    raise TypeError(f"{type(node).__name__} has no row")


def _reads_input(node: Node, network: Network) -> bool:
    """Whether a layer reads image or frames, with at most max-poolings in between."""
    source = network.node(node.inputs[0])
    while isinstance(source, MaxPool):
        source = network.node(source.inputs[0])
    return isinstance(source, Input)


@lru_cache(maxsize=256)
def _fan_out(size: Geometry) -> Ints:
    """Return how many outputs an input at each position reaches, padding not counted: int64 [P]."""
    axes = []
    for i, (inner, outer) in enumerate(((size.in_height, size.out_height), (size.in_width, size.out_width))):
        reached = np.arange(outer)[:, np.newaxis] * size.stride[i] - size.padding[i] + np.arange(size.kernel[i])
        inside = reached[(reached >= 0) & (reached < inner)]
        axes.append(np.bincount(inside, minlength=inner))
    return np.multiply.outer(axes[0], axes[1]).reshape(-1).astype(np.int64) * size.out_channels


@lru_cache(maxsize=1024)
def _other_operations(node: Node, network: Network) -> tuple[str, int]:
    """Name and number per timestep of the operations of a primitive that has no row."""
    source, target = network.shapes[node.inputs[0]], network.shapes[node.name]
    match node:
        case Add():
            return "residual_adds", target.positions * target.channels
        case MaxPool():
            taps = 1
            for inner, outer in ((source.height, target.height), (source.width, target.width)):
                begin = np.arange(outer) * node.stride - node.padding
                taps *= int((np.minimum(begin + node.kernel, inner) - np.maximum(begin, 0)).sum())
            return "pool_comparisons", (taps - target.positions) * target.channels
        case TokenMean():
            return "mean_adds", (source.positions - 1) * source.channels
        case TimeMean():
            return "mean_adds", source.positions * source.channels
    raise TypeError(f"{type(node).__name__} counts nothing")
