"""Observers of a run: they watch packets go by, the layers and kernels know nothing of them.

An observer is called after each step of a stage with the packets that it took and the one that it gave.
"""

from __future__ import annotations

from typing import Protocol, assert_never

import numpy as np
from numpy.typing import NDArray

from evsim.counters import AttentionCounts, Counts, Ints, NeuronCounts, SynapseCounts, SynapseKind
from evsim.kernels.counting import attention_operations, spikes_per_position, tally_values
from evsim.layers.plan import Stage
from evsim.network import Network
from evsim.spikes import IntegerMap, Packet, RealMap, SpikeMap
from evsim.workload import UNROWED, Row, Work, fan_out, rows, workload

TOGETHER = 128
"""Steps that are counted at once: one at a time, between kernels that fill the caches, costs twice as much."""

COLUMNS = 6
NONZEROS, SUM, SOPS, MACS, ACS, SPIKES = range(COLUMNS)
"""Columns of a row's running counts."""


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
        self._works, entries = workload(network), rows(network)
        fixed = [(row.input_size, row.bias_adds, row.neuron_updates) for _, row in entries]
        self._fixed = np.array(fixed, np.int64).reshape(-1, 3, 1)
        self._seen = np.zeros((len(entries), timesteps), np.bool_)
        values = np.zeros((len(entries), COLUMNS, timesteps), np.int64)
        parts = zip(entries, values, self._seen, strict=True)
        self._tallies = {each.name: _tally(each, row, own, seen) for (each, row), own, seen in parts}
        self._pending: list[tuple[slice, Stage, list[SpikeMap]]] = []
        self._kept: dict[int, SpikeMap] = {}
        self._known: dict[int, tuple[Ints, Ints]] = {}
        names = dict.fromkeys([*UNROWED, *(key for each in self._works.values() for key in each.other)])
        self._other = {key: np.zeros(timesteps, np.int64) for key in names}

    def observe(self, stage: Stage, inputs: tuple[Packet, ...], output: Packet | None) -> None:
        """Count the step of every primitive that the stage stands for."""
        when = slice(inputs[0].start, inputs[0].start + inputs[0].steps)
        first = self._tallies.get(stage.nodes[0].name)
        if isinstance(first, _Synapses) and not isinstance(inputs[0], SpikeMap):
            first.multiply(when, inputs[0])
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
                match self._tallies.get(node.name):
                    case _Synapses() as synapses:
                        if synapses.work.input_kind == "spikes":
                            synapses.gather(when, *self._spikes(spikes[0]))
                    case _Attention() as attention:
                        attention.multiply(when, spikes, [self._spikes(packet)[1] for packet in spikes])
                    case _Neurons() as neurons:
                        neurons.fire(when, self._spikes(spikes[-1])[1])
                    case None:
                        for key, amount in self._works[node.name].other.items():
                            self._other[key][when] += amount
                    case other:
                        assert_never(other)
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
        fixed = self._fixed * self._seen[:, np.newaxis]
        counted = tuple(tally.counts(*each) for tally, each in zip(self._tallies.values(), fixed, strict=True))
        return Counts(self.timesteps, counted, dict(self._other))


class _Synapses:
    """Running counts of a conv or linear layer."""

    def __init__(self, work: Work, row: Row, kind: SynapseKind, values: Ints, seen: NDArray[np.bool_]) -> None:
        self.work, self.geometry, self.kind, self.values, self.seen = work, row.geometry, kind, values, seen
        self.binary = True

    def gather(self, when: slice, by_position: Ints, by_step: Ints) -> None:
        """Count by input spikes, and the outputs that each reaches."""
        size = self.geometry
        self.seen[when] = True
        self.values[NONZEROS, when] += by_step
        if size.kernel == size.stride == (1, 1) and size.padding == (0, 0):
            self.values[SOPS, when] += by_step * size.out_channels
        else:
            self.values[SOPS, when] += by_position @ fan_out(size)

    def multiply(self, when: slice, packet: IntegerMap | RealMap) -> None:
        """Count by real or integer input: nonzeros, and the outputs that each reaches."""
        self.seen[when] = True
        counts = np.zeros((4, packet.values.shape[0]), np.int64)
        self.binary &= bool(tally_values(packet.values, packet.channels, fan_out(self.geometry), counts))
        self.values[NONZEROS, when] += counts[0]
        self.values[MACS, when] += counts[1]
        if isinstance(packet, IntegerMap):
            self.values[SUM, when] += counts[2]
            self.values[ACS, when] += counts[3]

    def counts(self, input_size: Ints, bias_adds: Ints, _updates: Ints) -> SynapseCounts:
        """Return the counts in their final form."""
        work, values = self.work, self.values
        return SynapseCounts(
            name=work.name,
            kind=self.kind,
            input_kind=work.input_kind,
            geometry=self.geometry,
            steps=int(np.count_nonzero(input_size)),
            input_size=input_size,
            input_nonzeros=values[NONZEROS],
            input_sum=values[NONZEROS if work.input_kind == "spikes" else SUM],
            sops=values[SOPS],
            macs=values[MACS],
            bias_adds=bias_adds,
            acs_unrolled=values[ACS] if work.input_kind == "integers" else None,
            binary_samples=int(self.binary),
            binary_nonzeros=int(values[NONZEROS].sum()) if self.binary else 0,
            reads_input=work.reads_input,
        )


class _Attention:
    """Running counts of attention."""

    def __init__(self, work: Work, row: Row, values: Ints, seen: NDArray[np.bool_]) -> None:
        self.work, self.geometry, self.seen = work, row.geometry, seen
        self.kv, self.qk = np.zeros((2, values.shape[1], row.geometry.heads), np.int64)
        self.operands = np.zeros((3, values.shape[1]), np.int64)

    def multiply(self, when: slice, packets: list[SpikeMap], by_step: list[Ints]) -> None:
        """Count both orders, per head."""
        size = self.geometry
        self.seen[when] = True
        attention_operations(
            size.heads, size.head_dim, *(packet.words for packet in packets), self.kv[when], self.qk[when]
        )
        self.operands[:, when] += by_step

    def counts(self, input_size: Ints, _bias_adds: Ints, _updates: Ints) -> AttentionCounts:
        """Return the counts in their final form."""
        work, size = self.work, self.geometry
        declared, other = (self.kv, self.qk) if size.order == "q(kv)" else (self.qk, self.kv)
        return AttentionCounts(
            name=work.name,
            input_kind=work.input_kind,
            geometry=size,
            steps=int(np.count_nonzero(input_size)),
            input_size=input_size,
            sops_per_head=declared,
            sops_other_order_per_head=other,
            operand_nonzeros=self.operands,
            reads_input=work.reads_input,
        )


class _Neurons:
    """Running counts of a layer of neurons."""

    def __init__(self, work: Work, row: Row, values: Ints, seen: NDArray[np.bool_]) -> None:
        self.work, self.geometry, self.spikes, self.seen = work, row.geometry, values[SPIKES], seen

    def fire(self, when: slice, by_step: Ints) -> None:
        """Count spikes."""
        self.seen[when] = True
        self.spikes[when] += by_step

    def counts(self, input_size: Ints, _bias_adds: Ints, updates: Ints) -> NeuronCounts:
        """Return the counts in their final form."""
        work = self.work
        return NeuronCounts(
            name=work.name,
            input_kind=work.input_kind,
            geometry=self.geometry,
            steps=int(np.count_nonzero(input_size)),
            input_size=input_size,
            spikes=self.spikes,
            neuron_updates=updates,
            reads_input=work.reads_input,
        )


def _tally(work: Work, row: Row, values: Ints, seen: NDArray[np.bool_]) -> _Synapses | _Attention | _Neurons:
    """Return what counts a row of its kind."""
    match row.kind:
        case "conv" | "linear" as kind:
            return _Synapses(work, row, kind, values, seen)
        case "attention":
            return _Attention(work, row, values, seen)
        case "lif":
            return _Neurons(work, row, values, seen)
    assert_never(row.kind)


class SpikeRecorder:
    """Keeps the spikes of every LIF layer, bit-packed as the run goes on.

    Attributes
    ----------
    trains
        LIF name to (``np.packbits`` of the C-ordered boolean array, its shape): the PyTorch module's own output
        shape without batch, [T, C, H, W], [T, C, N] or [T, N, C].
    """

    def __init__(self, network: Network) -> None:
        self._layouts = {work.name: row.layout for work, row in rows(network) if row.kind == "lif"}
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
