"""Observers of a run: they watch packets go by, the layers and kernels know nothing of them.

An observer is called after each step of a stage with the packets that it took and the one that it gave.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, assert_never

import numpy as np
from numpy.typing import NDArray

from evsim.counters import Counts, Ints
from evsim.kernels.counting import spikes_per_position, spikes_per_step
from evsim.kernels.threads import Workers
from evsim.layers.plan import Stage
from evsim.network import Network
from evsim.spikes import IntegerMap, Packet, RealMap, SpikeMap
from evsim.tallies import (
    COLUMNS,
    AttentionTally,
    IntegersTally,
    NeuronsTally,
    RowsTally,
    SumsTally,
    SynapsesTally,
    by_position,
    tally_of,
)
from evsim.workload import UNROWED, Row, rows, workload

MOST_UNROLLED = 64
"""Levels of integer neurons that are recorded in as many virtual timesteps, whatever they emit."""

TOGETHER = 128
"""Steps that are counted at once: one at a time, between kernels that fill the caches, costs twice as much."""


class Observer(Protocol):
    """Whoever wants to see the packets of a run.

    One with an attribute `later` that is true looks at no value of a packet before the run is over, or calls
    ``stage.workers.finish()`` first: what it is shown may still be waited for.
    """

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

    later = True

    def __init__(self, network: Network, timesteps: int) -> None:
        self.network, self.timesteps = network, timesteps
        self._works, entries = workload(network), rows(network)
        fixed = [(row.input_size, row.bias_adds, row.neuron_updates) for _, row in entries]
        self._fixed = np.array(fixed, np.int64).reshape(-1, 3, 1)
        self._seen = np.zeros((len(entries), timesteps), np.bool_)
        values = np.zeros((len(entries), COLUMNS, timesteps), np.int64)
        parts = zip(entries, values, self._seen, strict=True)
        self._tallies = {each.name: tally_of(each, row, own, seen) for (each, row), own, seen in parts}
        self._pending: list[tuple[slice, Stage, list[SpikeMap], slice | None]] = []
        self._kept: dict[int, SpikeMap] = {}
        self._known: dict[tuple[int, bool], Ints] = {}
        self._watched: dict[str, list[Ints]] = {}
        for each, row in entries:
            tally = self._tallies[each.name]
            if isinstance(tally, SumsTally):
                for operation, node in row.operations:
                    self._watched.setdefault(node, []).append(tally.operations[operation])
        names = dict.fromkeys([*UNROWED, *(key for each in self._works.values() for key in each.other)])
        self._other = {key: np.zeros(timesteps, np.int64) for key in names}

    def observe(self, stage: Stage, inputs: tuple[Packet, ...], output: Packet | None) -> None:
        """Count the step of every primitive that the stage stands for."""
        when = _when(inputs[0])
        match self._tallies.get(stage.nodes[0].name):
            case SynapsesTally() as synapses if not isinstance(inputs[0], SpikeMap):
                synapses.multiply(when, inputs[0], stage.workers)
            case IntegersTally() as attention:
                stage.workers.finish()
                attention.multiply(when, inputs, stage.workers)
            case SumsTally() as sums if isinstance(output, IntegerMap):
                stage.workers.finish()
                sums.add(when, output)
            case RowsTally() as named if isinstance(inputs[0], SpikeMap):
                stage.workers.finish()
                named.add(when, inputs[0])
            case NeuronsTally() as neurons if isinstance(output, IntegerMap):
                neurons.emit(when, output, stage.workers)
            case NeuronsTally() as neurons if isinstance(output, RealMap):
                neurons.seen[when] = True  # potentials: nothing was fired
        if isinstance(output, IntegerMap):
            for counted in self._watched.get(stage.name, ()):
                counted[_when(output)] += by_position(output, stage.workers)[1].sum(axis=1)
        spikes = [self._keep(p) for p in (*inputs, output) if isinstance(p, SpikeMap)]
        self._pending.append((when, stage, spikes, _when(output) if isinstance(output, SpikeMap) else None))
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
        if not self._pending:
            return
        sums: list[tuple[Callable[..., None], slice, Any]] = []
        with self._pending[0][1].workers.later():
            for when, stage, spikes, fired in self._pending:
                if fired and stage.name in self._watched:
                    counts = self._spikes(spikes[-1], stage.workers)
                    sums.extend((partial(_add, counted), fired, counts) for counted in self._watched[stage.name])
                for node in stage.nodes:
                    match self._tallies.get(node.name):
                        case SynapsesTally() as synapses:
                            if synapses.work.input_kind == "spikes":
                                by_position = synapses.by_position
                                counts = self._spikes(spikes[0], stage.workers, by_position=by_position)
                                sums.append((synapses.gather, when, counts))
                        case AttentionTally() as attention:
                            attention.multiply(when, spikes, stage.workers)
                            by_step = [self._spikes(packet, stage.workers) for packet in spikes]
                            sums.append((attention.read, when, by_step))
                        case NeuronsTally() as neurons:
                            if fired:
                                sums.append((neurons.fire, when, self._spikes(spikes[-1], stage.workers)))
                        case IntegersTally() | SumsTally() | RowsTally():
                            pass  # counted as they came by
                        case None:
                            for key, amount in self._works[node.name].other.items():
                                self._other[key][when] += amount
                        case other:
                            assert_never(other)
        for add, when, counts in sums:
            add(when, counts)
        self._pending.clear()
        self._kept.clear()
        self._known.clear()

    def _spikes(self, packet: SpikeMap, workers: Workers, *, by_position: bool = False) -> Ints:
        """Return the spikes of each timestep [T], or of each position [T, P]."""
        key = id(packet.words), by_position
        if key not in self._known:
            steps, positions, width = packet.words.shape
            if by_position:
                self._known[key] = np.empty((steps, positions), np.int64)
                arguments = packet.words.reshape(-1, width), self._known[key].reshape(-1)
                workers.post(spikes_per_position, steps * positions, arguments, 20 * packet.words.size)
            else:
                self._known[key] = np.empty(steps, np.int64)
                arguments = packet.words.reshape(steps, -1), self._known[key]
                workers.post(spikes_per_step, steps, arguments, 5 * packet.words.size)
        return self._known[key]

    def counts(self) -> Counts:
        """Return what was counted, once the run is over."""
        self._flush()
        fixed = self._fixed * self._seen[:, np.newaxis]
        counted = tuple(tally.counts(*each) for tally, each in zip(self._tallies.values(), fixed, strict=True))
        return Counts(self.timesteps, counted, dict(self._other))


class SpikeRecorder:
    """Keeps the spikes of every layer of neurons, bit-packed as the run goes on.

    Attributes
    ----------
    trains
        Name to (``np.packbits`` of the C-ordered boolean array, its shape): the PyTorch module's own output
        shape without batch, [T, C, H, W], [T, C, N] or [T, N, C], or [T, ...] of the layer's `view`. Integer neurons
        are unrolled: [T x D, ...], step d of a timestep set where the value exceeds d.
    """

    later = True

    def __init__(self, network: Network) -> None:
        self._rows = {work.name: row for work, row in rows(network) if row.kind == "lif"}
        self._parts: dict[str, list[SpikeMap | IntegerMap]] = {name: [] for name in self._rows}

    def observe(self, stage: Stage, inputs: tuple[Packet, ...], output: Packet | None) -> None:  # noqa: ARG002
        """Keep the packet if it comes from neurons."""
        if stage.name in self._parts and isinstance(output, SpikeMap | IntegerMap):
            self._parts[stage.name].append(output)

    @property
    def trains(self) -> dict[str, tuple[NDArray[np.uint8], tuple[int, ...]]]:
        """Return the packed spike trains and their shapes, by layer."""
        return {name: self._pack(self._rows[name], parts) for name, parts in self._parts.items() if parts}

    def _pack(self, row: Row, parts: list[SpikeMap | IntegerMap]) -> tuple[NDArray[np.uint8], tuple[int, ...]]:
        first = parts[0]
        ordered = sorted(parts, key=lambda part: part.start)
        levels = row.geometry.levels
        if levels > MOST_UNROLLED:  # as many virtual timesteps as the most spikes at once ask for
            levels = max(1, *(int(part.values.max()) for part in ordered if isinstance(part, IntegerMap)))
        spikes = np.concatenate([_unrolled(part, levels) for part in ordered])
        if row.layout != "rows":
            spikes = spikes.transpose(0, 2, 1)
        if row.view:
            spikes = spikes.reshape(len(spikes), *row.view)
        elif row.layout == "map":
            spikes = spikes.reshape(len(spikes), first.channels, first.height, first.width)
        return np.packbits(spikes), spikes.shape


def _add(counted: Ints, when: slice, spikes: Ints) -> None:
    counted[when] += spikes


def _when(packet: Packet) -> slice:
    """Return the timesteps that a packet stands for: its own, as a delay's output is of later ones than its input."""
    return slice(packet.start, packet.start + packet.steps)


def _unrolled(packet: SpikeMap | IntegerMap, levels: int) -> NDArray[np.bool_]:
    """Return spikes [T, P, C], or [T x levels, P, C] of integers."""
    if isinstance(packet, SpikeMap):
        return packet.dense()
    above = packet.values[:, np.newaxis] > np.arange(levels)[:, np.newaxis, np.newaxis]
    return above.reshape(-1, *packet.values.shape[1:])
