"""Observers of a run: they watch packets go by, the layers and kernels know nothing of them.

An observer is called after each step of a stage with the packets that it took and the one that it gave.
"""

from __future__ import annotations

from collections import deque
from functools import lru_cache
from typing import Protocol

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
    Linear,
    MaxPool,
    Network,
    Node,
    SpikingSelfAttention,
    TimeMean,
    TokenMean,
)
from evsim.spikes import IntegerMap, Packet, RealMap, SpikeList

ROWS = ("nonzeros", "size", "sum", "sops", "macs", "acs", "spikes", "bias", "updates", "other")
KINDS = {Conv2d: "conv", Linear: "linear", SpikingSelfAttention: "attention", LIF: "lif"}


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
        self._tallies = {node.name: _Tally(network, node, timesteps) for node in network.nodes if type(node) in KINDS}
        self._recent: deque[tuple[SpikeList, Ints, Ints]] = deque(maxlen=4)
        self._other = {key: np.zeros(timesteps, np.int64) for key in ("residual_adds", "pool_comparisons", "mean_adds")}

    def observe(self, stage: Stage, inputs: tuple[Packet, ...], output: Packet | None) -> None:
        """Count the step of every primitive that the stage stands for."""
        when = slice(inputs[0].start, inputs[0].start + inputs[0].steps)
        for node in stage.nodes:
            if isinstance(node, LIF):
                assert isinstance(output, SpikeList)
                self._tallies[node.name].neurons(when, self._spikes(output)[1])
            elif isinstance(node, SpikingSelfAttention):
                spikes = [packet for packet in inputs if isinstance(packet, SpikeList)]
                self._tallies[node.name].attention(when, spikes, [self._spikes(packet)[1] for packet in spikes])
            elif isinstance(node, Conv2d | Linear):
                packet = inputs[0]
                if isinstance(packet, SpikeList):
                    self._tallies[node.name].gather(when, *self._spikes(packet))
                else:
                    self._tallies[node.name].multiply(when, packet)
            else:
                key, amount = _other_operations(node, self.network)
                self._other[key][when] += amount

    def _spikes(self, packet: SpikeList) -> tuple[Ints, Ints]:
        """Return the spikes of each position [T, P] and timestep [T]; maker and readers of a packet follow closely."""
        for known, by_position, by_step in self._recent:
            if known is packet:
                return by_position, by_step
        by_position = np.empty(packet.words.shape[:2], np.int64)
        spikes_per_position(packet.words, by_position)
        by_step = by_position.sum(axis=1)
        self._recent.append((packet, by_position, by_step))
        return by_position, by_step

    def counts(self) -> Counts:
        """Return what was counted, once the run is over."""
        rows = tuple(tally.counts() for tally in self._tallies.values())
        return Counts(self.timesteps, rows, dict(self._other))


class _Tally:
    """Running counts of one layer."""

    def __init__(self, network: Network, node: Node, timesteps: int) -> None:
        self.node = node
        self.source, self.target = network.shapes[node.inputs[0]], network.shapes[node.name]
        self.geometry = geometry(node, network)
        self.reads_input = _reads_input(node, network)
        self.timesteps = timesteps
        self.rows: dict[str, Ints] = dict(zip(ROWS, np.zeros((len(ROWS), timesteps), np.int64), strict=True))
        self.seen = np.zeros(timesteps, np.bool_)
        self.binary = True
        if isinstance(node, SpikingSelfAttention):
            self.heads = {key: np.zeros((timesteps, node.heads), np.int64) for key in ("kv", "qk")}
            self.operands = np.zeros((3, timesteps), np.int64)

    def gather(self, when: slice, by_position: Ints, by_step: Ints) -> None:
        """Count a conv or linear layer by its input spikes, and the outputs that each reaches."""
        size = self.geometry
        self.seen[when] = True
        self.rows["nonzeros"][when] += by_step
        if size.kernel == size.stride == (1, 1) and size.padding == (0, 0):
            self.rows["sops"][when] += by_step * size.out_channels
        else:
            self.rows["sops"][when] += by_position @ _fan_out(size)

    def multiply(self, when: slice, packet: IntegerMap | RealMap) -> None:
        """Count a conv or linear layer by its real or integer input: nonzeros, and the outputs that each reaches."""
        self.seen[when] = True
        counts = np.zeros((4, packet.values.shape[0]), np.int64)
        self.binary &= bool(tally_values(packet.values, packet.channels, _fan_out(self.geometry), counts))
        self.rows["nonzeros"][when] += counts[0]
        self.rows["macs"][when] += counts[1]
        if isinstance(packet, IntegerMap):
            self.rows["sum"][when] += counts[2]
            self.rows["acs"][when] += counts[3]

    def neurons(self, when: slice, by_step: Ints) -> None:
        """Count a LIF layer's spikes."""
        self.seen[when] = True
        self.rows["spikes"][when] += by_step

    def attention(self, when: slice, packets: list[SpikeList], by_step: list[Ints]) -> None:
        """Count both orders of attention, per head."""
        size = self.geometry
        self.seen[when] = True
        kv, qk = self.heads["kv"][when], self.heads["qk"][when]
        attention_operations(size.heads, size.head_dim, *(packet.words for packet in packets), kv, qk)
        self.operands[:, when] += by_step
        declared, other = (kv, qk) if size.order == "q(kv)" else (qk, kv)
        self.rows["sops"][when] += declared.sum(axis=1)
        self.rows["other"][when] += other.sum(axis=1)

    def _constants(self, kind: str) -> None:
        """Fill in what is the same for every timestep that was seen, whatever fired."""
        rows, size, steps = self.rows, self.geometry, self.seen.astype(np.int64)
        outputs = size.out_positions * size.out_channels
        if kind == "attention":
            rows["nonzeros"][:] = self.operands.sum(axis=0)
            rows["size"][:] = steps * (3 * size.tokens * size.in_channels)
        else:
            rows["size"][:] = steps * (size.tokens * size.in_channels)
        if self.source.kind == "spikes":
            rows["sum"][:] = rows["nonzeros"]
        if kind == "lif":
            rows["updates"][:] = steps * outputs
        elif size.bias or size.batch_norm:
            rows["bias"][:] = steps * outputs

    def counts(self) -> LayerCounts:
        """Return the counts in their final form."""
        rows, kind = self.rows, KINDS[type(self.node)]
        self._constants(kind)
        attention, lif, graded = kind == "attention", kind == "lif", self.source.kind == "integers"
        declared, other = ("kv", "qk") if self.geometry.order == "q(kv)" else ("qk", "kv")
        binary = self.binary and kind in ("conv", "linear")
        return LayerCounts(
            name=self.node.name,
            kind=kind,  # type: ignore[arg-type]
            input_kind=self.source.kind,
            geometry=self.geometry,
            steps=int(np.count_nonzero(rows["size"])),
            input_nonzeros=rows["nonzeros"],
            input_size=rows["size"],
            input_sum=rows["sum"],
            sops=rows["sops"],
            macs=rows["macs"],
            bias_adds=rows["bias"],
            neuron_updates=rows["updates"],
            sops_other_order=rows["other"] if attention else None,
            acs_unrolled=rows["acs"] if graded and not lif else None,
            spikes=rows["spikes"] if lif else None,
            sops_per_head=self.heads[declared] if attention else None,
            sops_other_order_per_head=self.heads[other] if attention else None,
            operand_nonzeros=self.operands if attention else None,
            binary_samples=int(binary),
            binary_nonzeros=int(rows["nonzeros"].sum()) if binary else 0,
            reads_input=self.reads_input,
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
        self._parts: dict[str, list[SpikeList]] = {name: [] for name in self._layouts}

    def observe(self, stage: Stage, inputs: tuple[Packet, ...], output: Packet | None) -> None:  # noqa: ARG002
        """Keep the packet if it comes from a LIF."""
        if stage.name in self._parts and isinstance(output, SpikeList):
            self._parts[stage.name].append(output)

    @property
    def trains(self) -> dict[str, tuple[NDArray[np.uint8], tuple[int, ...]]]:
        """Return the packed spike trains and their shapes, by layer."""
        return {name: self._pack(name, parts) for name, parts in self._parts.items() if parts}

    def _pack(self, name: str, parts: list[SpikeList]) -> tuple[NDArray[np.uint8], tuple[int, ...]]:
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
