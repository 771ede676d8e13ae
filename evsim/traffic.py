"""An observer that measures what moves: weight rows, spikes in their cheapest code, neurons touched, buffers.

Only `evsim.energy.counted_memory` asks for these figures, so a run gathers them on request alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, assert_never

import numpy as np
from numpy.typing import NDArray

from evsim.counters import Counts, Ints, Traffic
from evsim.kernels.counting import spikes_per_position
from evsim.kernels.traffic import attention_buffers, run_length_bits, touched_rows, windows
from evsim.layers.attention import as_integers
from evsim.layers.plan import Stage
from evsim.network import Network
from evsim.spikes import IntegerMap, Packet, RealMap, SpikeMap
from evsim.workload import Row, rows


class TrafficMeter:
    """Measures the traffic of every conv, linear, attention and LIF, see `evsim.counters.Traffic`.

    Parameters
    ----------
    network
        The network that runs.
    timesteps
        T of the run.
    """

    def __init__(self, network: Network, timesteps: int) -> None:
        self._meters = {work.name: _Meter(row, timesteps, work.repeated) for work, row in rows(network)}

    def observe(self, stage: Stage, inputs: tuple[Packet, ...], output: Packet | None) -> None:
        """Measure the step of every primitive that the stage stands for."""
        when = slice(inputs[0].start, inputs[0].start + inputs[0].steps)
        reached: Ints | None = None
        for node in stage.nodes:
            meter = self._meters.get(node.name)
            if meter is None:
                continue
            match meter.row.kind:
                case "conv" | "linear":
                    reached = meter.synapses(when, inputs[0])
                case "attention" if meter.size.attention:
                    meter.sums(when, inputs[0], output)
                case "attention":
                    assert isinstance(output, RealMap)
                    meter.attention(when, inputs, output)
                case "lif":
                    assert output is not None
                    # neurons fused behind their layer: its outputs that a nonzero input reached; else nonzero currents
                    touched = reached if reached is not None else _nonzeros(inputs[0]).sum(axis=1)
                    meter.neurons(when, output, touched)
                case _:
                    assert_never(meter.row.kind)

    def attached(self, counts: Counts) -> Counts:
        """Return the counts with the traffic of every layer."""
        rows = tuple(replace(layer, traffic=self._meters[layer.name].traffic()) for layer in counts.layers)
        return replace(counts, layers=rows)


class _Meter:
    """Running figures of one row."""

    def __init__(self, row: Row, timesteps: int, repeated: bool) -> None:
        self.row, self.size, self.repeated = row, row.geometry, repeated
        size = self.size
        keys = ("run_length", "least", "value", "events", "sum", "rows", "neurons")
        self.figures: dict[str, Ints] = {key: np.zeros(timesteps, np.int64) for key in keys}
        self.once = np.zeros((size.kernel[0] * size.kernel[1], -(-size.in_channels // 64)), np.uint64)
        self.coincidences, self.greatest = (np.zeros((2, timesteps, size.heads), np.int64) for _ in range(2))
        self.entries = np.zeros((timesteps, size.heads), np.int64)

    def synapses(self, when: slice, packet: Packet) -> Ints:
        """Measure a conv or linear layer by its input; return how many outputs each timestep reaches."""
        if self.repeated:  # what ran at the first timestep does not run again
            if when.start > 0:
                return np.zeros(1, np.int64)
            when = slice(0, 1)
        size, words = self.size, _words(packet)
        shape = ((size.in_height, size.in_width), (size.out_height, size.out_width))
        layout = (*shape, size.kernel, size.stride, size.padding, size.dilation)
        touched = np.zeros((len(words), *self.once.shape), np.uint64)
        touched_rows(words, *layout, touched)
        self.once |= np.bitwise_or.reduce(touched, axis=0)
        self.figures["rows"][when] += np.bitwise_count(touched).sum(axis=(1, 2), dtype=np.int64)
        greatest, reached = np.zeros(len(words), np.int64), np.zeros(len(words), np.int64)
        for totals in _totals(packet, size.groups):
            least = np.zeros_like(greatest)
            windows(np.ascontiguousarray(totals), *layout, least, reached)
            greatest = np.maximum(greatest, least)
        self.figures["sum"][when] += greatest
        self.figures["neurons"][when] += reached * size.row
        self._coded(when, packet, words)
        return reached * size.row

    def neurons(self, when: slice, output: Packet, touched: Ints) -> None:
        """Measure a layer of neurons by its output, and by how many of them anything reached."""
        self.figures["neurons"][when] += touched
        if not isinstance(output, RealMap):  # potentials are no events
            self._coded(when, output, _words(output))

    def sums(self, when: slice, packet: Packet, output: Packet | None) -> None:
        """Measure attention that adds up spikes, or the rows that they name: its spikes, the most in one sum."""
        self._coded(when, packet, _words(packet))
        if isinstance(output, IntegerMap):
            self.figures["sum"][when] += output.values.max(axis=(1, 2))
        elif isinstance(packet, SpikeMap):
            spikes = packet.dense()
            by_head = spikes.reshape(*spikes.shape[:2], self.size.heads, -1).sum(axis=3, dtype=np.int64)
            self.figures["sum"][when] += by_head.max(axis=(1, 2))

    def attention(self, when: slice, operands: tuple[Packet, ...], output: RealMap) -> None:
        """Measure attention: its operands, its two possible buffers, its greatest output."""
        words = [packet.words for packet in operands if isinstance(packet, SpikeMap)]
        for packet in operands:
            self._coded(when, packet, _words(packet))
        if len(words) < len(operands) or self.size.value_dim:
            self._buffers(when, [as_integers(packet) for packet in operands])
        else:
            attention_buffers(
                self.size.heads, self.size.head_dim, *words,
                self.coincidences[:, when], self.greatest[:, when], self.entries[when],
            )  # fmt: skip
        self.figures["sum"][when] += np.rint(output.values.max(axis=(1, 2)) / self.row.unit).astype(np.int64)

    def _buffers(self, when: slice, operands: list[NDArray[np.int32]]) -> None:
        """Measure both buffers of attention on integers, or with v of another width."""
        heads = self.size.heads
        for t in range(len(operands[0])):
            for h in range(heads):
                q, k, v = (np.split(values[t], heads, axis=1)[h].astype(np.float64) for values in operands)
                for which, (left, right) in enumerate(((k.T, v), (q, k.T))):
                    pairs, product = np.sign(left) @ np.sign(right), left @ right
                    self.coincidences[which, when.start + t, h] += round(float(pairs.sum()))
                    self.greatest[which, when.start + t, h] = round(float(product.max(initial=0.0)))
                    if which:
                        self.entries[when.start + t, h] += np.count_nonzero(product)

    def _coded(self, when: slice, packet: Packet, words: NDArray[np.uint64]) -> None:
        """Add the bits of a map in its cheapest code; real values are always moved whole, and not coded here."""
        events = np.bitwise_count(words).sum(axis=(1, 2), dtype=np.int64)
        self.figures["events"][when] += events
        if isinstance(packet, RealMap):
            return
        runs = np.zeros(len(words), np.int64)
        run_length_bits(words, packet.channels, runs)
        inputs = packet.height * packet.width * packet.channels
        graded = isinstance(packet, IntegerMap)
        greatest = packet.values.max(axis=(1, 2)).astype(np.int64) if graded else np.minimum(events, 1)  # type: ignore[union-attr]
        value = bit_length(greatest) if graded else np.zeros_like(events)
        address = (inputs - 1).bit_length()
        codes = (
            inputs * (value if graded else 1) * np.ones_like(events),
            events * (address + value),
            runs + events * value,
        )
        self.figures["run_length"][when] += runs
        self.figures["least"][when] += np.minimum.reduce(codes)
        self.figures["value"][when] = np.maximum(self.figures["value"][when], greatest)

    def traffic(self) -> Traffic:
        """Return the figures in their final form."""
        figures = self.figures
        common: dict[str, Any] = {
            "run_length_bits": figures["run_length"],
            "least_bits": figures["least"],
            "greatest_value": figures["value"],
            "peak_events": int(figures["events"].max()),
        }
        match self.row.kind:
            case "conv" | "linear":
                return Traffic(
                    **common,
                    greatest_sum=figures["sum"],
                    rows_touched=figures["rows"],
                    rows_touched_once=int(np.bitwise_count(self.once).sum()),
                    neurons_touched=figures["neurons"],
                )
            case "attention" if self.size.attention:
                return Traffic(**common, greatest_sum=figures["sum"])
            case "attention":
                return Traffic(
                    **common,
                    greatest_sum=figures["sum"],
                    kv_coincidences=self.coincidences[0],
                    qk_coincidences=self.coincidences[1],
                    kv_greatest=self.greatest[0],
                    qk_greatest=self.greatest[1],
                    qk_entries=self.entries,
                )
            case "lif":
                return Traffic(**common, neurons_touched=figures["neurons"])
        assert_never(self.row.kind)


def bit_length(values: Ints) -> Ints:
    """Return how many bits hold each of some integers (0 for 0)."""
    lengths: Ints = np.array([int(value).bit_length() for value in values], np.int64)
    return lengths


def _words(packet: Packet) -> NDArray[np.uint64]:
    """Return the packet's nonzero values as bits, [T, P, words]."""
    if isinstance(packet, SpikeMap):
        return packet.words
    values = packet.values[..., : packet.channels]
    return SpikeMap.from_dense(values != 0, packet.height, packet.width).words


def _totals(packet: Packet, groups: int) -> Iterator[NDArray[np.int64]]:
    """Yield, for each group of channels, the sums of integers, or the nonzeros, at every position: [T, P]."""
    if groups == 1:
        yield packet.values.sum(axis=2, dtype=np.int64) if isinstance(packet, IntegerMap) else _nonzeros(packet)
        return
    if isinstance(packet, RealMap):
        values = (packet.values[..., : packet.channels] != 0).astype(np.int32)
    else:
        values = as_integers(packet)
    yield from np.moveaxis(values.reshape(*values.shape[:2], groups, -1).sum(axis=3, dtype=np.int64), 2, 0)


def _nonzeros(packet: Packet) -> Ints:
    """Return the number of nonzero values at each position, [T, P]."""
    if not isinstance(packet, SpikeMap):
        nonzeros: Ints = np.count_nonzero(packet.values[..., : packet.channels], axis=2)
        return nonzeros
    active = np.empty(packet.words.shape[:2], np.int64)
    spikes_per_position(0, active.size, packet.words.reshape(active.size, -1), active.reshape(-1))
    return active
