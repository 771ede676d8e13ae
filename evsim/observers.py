"""Observers of a run: they watch packets go by, the layers and kernels know nothing of them.

An observer is called after each step of a stage with the packets that it took and the one that it gave.
"""

from __future__ import annotations

from typing import Protocol, assert_never

import numpy as np
from numpy.typing import NDArray

from evsim.counters import Counts, Ints
from evsim.kernels.counting import weigh_spikes
from evsim.kernels.threads import Workers
from evsim.layers.plan import Stage
from evsim.network import Network
from evsim.spikes import IntegerMap, Packet, RealMap, SpikeMap
from evsim.tallies import (
    ALIKE,
    COLUMNS,
    NONZEROS,
    SOPS,
    SPIKES,
    AttentionTally,
    IntegersTally,
    NeuronsTally,
    RowsTally,
    SumsTally,
    SynapsesTally,
    summed,
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
        self._values = np.zeros((len(entries), COLUMNS, timesteps), np.int64)
        self._places = {each.name: place for place, (each, _) in enumerate(entries)}
        parts = zip(entries, self._values, self._seen, strict=True)
        self._tallies = {each.name: tally_of(each, row, own, seen) for (each, row), own, seen in parts}
        self._pending: list[tuple[slice, Stage, list[NDArray[np.uint64]], slice | None]] = []
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
                counted[_when(output)] += summed(output, stage.workers)
        spikes = [packet.words for packet in (*inputs, output) if isinstance(packet, SpikeMap)]
        self._pending.append((when, stage, spikes, _when(output) if isinstance(output, SpikeMap) else None))
        if len(self._pending) == TOGETHER:
            self._flush()

    def _flush(self) -> None:
        """Count the steps seen since the last time: many at once, while the code that counts is in the cache."""
        if not self._pending:
            return
        workers = self._pending[-1][1].workers  # runs before the last one are over
        sums: dict[tuple[int, int], Sums] = {}
        with workers.later():
            for when, stage, spikes, fired in self._pending:
                own = self._sums(sums, when)
                if fired and stage.name in self._watched:
                    late = self._sums(sums, fired)
                    late.watched.extend(
                        (each, late.of(spikes[-1], ALIKE, workers)) for each in self._watched[stage.name]
                    )
                for node in stage.nodes:
                    match self._tallies.get(node.name):
                        case SynapsesTally() as synapses:
                            if synapses.work.input_kind == "spikes":
                                reach = synapses.reach(spikes[0].shape[2])
                                factor = 0 if reach.size else synapses.geometry.row
                                own.gathered.append(
                                    (self._places[node.name], own.of(spikes[0], reach, workers), factor)
                                )
                        case AttentionTally() as attention:
                            attention.multiply(when, spikes, workers)
                            counts = [own.of(words, ALIKE, workers) for words in spikes]
                            own.watched.extend(zip(attention.operands, counts, strict=True))
                        case NeuronsTally():
                            if fired:
                                own.fired.append((self._places[node.name], own.of(spikes[-1], ALIKE, workers)))
                        case IntegersTally() | SumsTally() | RowsTally():
                            pass  # counted as they came by
                        case None:
                            for key, amount in self._works[node.name].other.items():
                                self._other[key][when] += amount
                        case other:
                            assert_never(other)
        for each in sums.values():
            each.add_to(self._values, self._seen)
        self._pending.clear()

    def _sums(self, sums: dict[tuple[int, int], Sums], when: slice) -> Sums:
        """Return the counts of some timesteps."""
        key = when.start, when.stop
        if key not in sums:
            sums[key] = Sums(when, 4 * len(self._pending))
        return sums[key]

    def counts(self) -> Counts:
        """Return what was counted, once the run is over."""
        self._flush()
        fixed = self._fixed * self._seen[:, np.newaxis]
        counted = tuple(tally.counts(*each) for tally, each in zip(self._tallies.values(), fixed, strict=True))
        return Counts(self.timesteps, counted, dict(self._other))


class Sums:
    """Spikes that are counted at the same timesteps, each map of them once, and who wants to know.

    Attributes
    ----------
    gathered
        Rows of synapses: their place, that of their counts, and the outputs that each spike reaches, 0 if they differ.
    fired
        Rows of neurons, and the place of their counts.
    watched
        Other running counts [T of the run], and the place of theirs.
    """

    def __init__(self, when: slice, most: int) -> None:
        self.when = when
        self._counts = np.empty((most, when.stop - when.start, 2), np.int64)
        self._known: dict[tuple[int, int], tuple[int, Ints]] = {}
        self.gathered: list[tuple[int, int, int]] = []
        self.fired: list[tuple[int, int]] = []
        self.watched: list[tuple[Ints, int]] = []

    def of(self, words: NDArray[np.uint64], reach: Ints, workers: Workers) -> int:
        """Return the place of the counts of words [T, P, W], each of which reaches as much as told, if it is told."""
        key = id(words), id(reach)
        if key not in self._known:
            place = len(self._known)
            self._known[key] = place, reach
            steps = len(words)
            arguments = words.reshape(steps, -1), reach, self._counts[place]
            workers.post(weigh_spikes, steps, arguments, 5 * words.size)
        return self._known[key][0]

    def add_to(self, values: Ints, seen: NDArray[np.bool_]) -> None:
        """Add what was counted to the running counts of rows, [rows, COLUMNS, T], and say that they were seen."""
        when, spikes, reached = self.when, self._counts[..., 0], self._counts[..., 1]
        if self.gathered:
            rows, places, factors = np.array(self.gathered).T
            values[rows, NONZEROS, when] += spikes[places]
            values[rows, SOPS, when] += reached[places] + spikes[places] * factors[:, np.newaxis]
            seen[rows, when] = True
        if self.fired:
            rows, places = np.array(self.fired).T
            values[rows, SPIKES, when] += spikes[places]
            seen[rows, when] = True
        for counts, place in self.watched:
            counts[when] += spikes[place]


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


def _when(packet: Packet) -> slice:
    """Return the timesteps that a packet stands for: its own, as a delay's output is of later ones than its input."""
    return slice(packet.start, packet.start + packet.steps)


def _unrolled(packet: SpikeMap | IntegerMap, levels: int) -> NDArray[np.bool_]:
    """Return spikes [T, P, C], or [T x levels, P, C] of integers."""
    if isinstance(packet, SpikeMap):
        return packet.dense()
    above = packet.values[:, np.newaxis] > np.arange(levels)[:, np.newaxis, np.newaxis]
    return above.reshape(-1, *packet.values.shape[1:])
