"""Running counts of the rows of a network, one class per way to count."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import TypeAlias, assert_never

import numpy as np
from numpy.typing import NDArray

from evsim.counters import AttentionCounts, Ints, NeuronCounts, SynapseCounts, SynapseKind
from evsim.kernels.counting import attention_operations, spikes_per_head, weigh_integers, weigh_values
from evsim.kernels.threads import Workers
from evsim.spikes import IntegerMap, Packet, RealMap, SpikeMap
from evsim.workload import Geometry, Row, Work, fan_out

COLUMNS = 6
NONZEROS, SUM, SOPS, MACS, ACS, SPIKES = range(COLUMNS)
"""Columns of a row's running counts."""

PARTS = 8
"""Into how many parts the maps of few timesteps are cut, so that threads can share them."""

ALIKE = np.empty(0, np.int64)
"""Stands for weights that are all the same."""


class SynapsesTally:
    """Running counts of a conv or linear layer."""

    def __init__(self, work: Work, row: Row, kind: SynapseKind, values: Ints, seen: NDArray[np.bool_]) -> None:
        self.work, self.geometry, self.kind, self.values, self.seen = work, row.geometry, kind, values, seen
        self.binary = True

    def reach(self, width: int) -> Ints:
        """Return how many outputs each number reaches, of `width` at each position of a map; `ALIKE` if all as many."""
        size = self.geometry
        return ALIKE if size.pointwise else wide_reach(size, width)

    def gather(self, when: slice, spikes: Ints, reached: Ints) -> None:
        """Count input spikes [T], and the outputs that they reach in all."""
        self.seen[when] = True
        self.values[NONZEROS, when] += spikes
        self.values[SOPS, when] += reached

    def multiply(self, when: slice, packet: IntegerMap | RealMap, workers: Workers) -> None:
        """Count by real or integer input: nonzeros, and the outputs that each reaches.

        A layer that runs but at the first timestep is counted there, whatever carries its image on.
        """
        if self.work.repeated:
            if when.start > 0:
                return
            when = slice(0, 1)
        self.seen[when] = True
        reach = self.reach(packet.values.shape[2])
        nonzeros, reached, others = _weighed(weigh_values, packet, reach, workers, 3).T
        if not reach.size:
            reached = nonzeros * self.geometry.row
        self.binary &= not others.any()
        self.values[NONZEROS, when] += nonzeros
        self.values[MACS, when] += reached
        if isinstance(packet, IntegerMap):
            sums, reached = _weighed(weigh_integers, packet, reach, workers, 2).T
            self.values[SUM, when] += sums
            self.values[ACS, when] += reached if reach.size else sums * self.geometry.row

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


class AttentionTally:
    """Running counts of attention."""

    def __init__(self, work: Work, row: Row, values: Ints, seen: NDArray[np.bool_]) -> None:
        self.work, self.geometry, self.seen = work, row.geometry, seen
        self.kv, self.qk = np.zeros((2, values.shape[1], row.geometry.heads), np.int64)
        self.operands = np.zeros((3, values.shape[1]), np.int64)

    def multiply(self, when: slice, words: list[NDArray[np.uint64]], workers: Workers) -> None:
        """Count both orders, per head; the counts are there once posted calls are done."""
        size = self.geometry
        self.seen[when] = True
        workers.post(
            attention_operations,
            len(words[0]) * size.heads,
            (size.heads, size.head_dim, size.head_dim, *words, self.kv[when], self.qk[when]),
            600 * words[0].size,
        )

    def counts(self, input_size: Ints, _bias_adds: Ints, _updates: Ints) -> AttentionCounts:
        """Return the counts in their final form."""
        sops, other = _by_order(self.geometry, self.kv, self.qk)
        return _attention_counts(self.work, self.geometry, input_size, sops, other, self.operands)


class NeuronsTally:
    """Running counts of a layer of neurons."""

    def __init__(self, work: Work, row: Row, values: Ints, seen: NDArray[np.bool_]) -> None:
        self.work, self.geometry, self.spikes, self.seen = work, row.geometry, values[SPIKES], seen
        self.nonzeros = values[NONZEROS]

    def emit(self, when: slice, output: IntegerMap, workers: Workers) -> None:
        """Count what integer neurons emitted: k is k spikes."""
        self.seen[when] = True
        self.spikes[when] += summed(output, workers)
        self.nonzeros[when] += _weighed(weigh_values, output, ALIKE, workers, 3)[:, 0]

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
            nonzeros=self.nonzeros if self.geometry.levels else None,
            reads_input=work.reads_input,
        )


class IntegersTally:
    """Running counts of attention on integers, or with v of another width."""

    def __init__(self, work: Work, row: Row, values: Ints, seen: NDArray[np.bool_]) -> None:
        self.work, self.geometry, self.seen = work, row.geometry, seen
        steps, heads = values.shape[1], row.geometry.heads
        self.kv, self.qk, self.unrolled = np.zeros((3, steps, heads), np.int64)
        self.operands = np.zeros((3, steps), np.int64)
        self.weighted = np.zeros((2, steps), np.int64)
        self.graded = work.input_kind == "integers"

    def multiply(self, when: slice, packets: tuple[Packet, ...], workers: Workers) -> None:
        """Count both orders by nonzeros, per head, and the declared one by values.

        With values as weights no product is needed either: the sum of q (k^T v) over tokens and channels is that of q's
        sums over tokens times k^T times v's sums over channels.
        """
        self.seen[when] = True
        heads = self.geometry.heads
        words = [_nonzeros(packet) for packet in packets]
        sizes = [packet.channels // heads for packet in packets[1:]]
        arguments = heads, *sizes, *(each.words for each in words), self.kv[when], self.qk[when]
        workers.share(attention_operations, packets[0].steps * heads, arguments, 600 * words[0].words.size)
        for row, each in zip(self.operands, words, strict=True):
            row[when] += np.bitwise_count(each.words).sum(axis=(1, 2), dtype=np.int64)
        for t in range(packets[0].steps):
            self._weigh(when.start + t, *(_frame(packet, t, heads) for packet in packets))

    def _weigh(self, t: int, q: Ints, k: Ints, v: Ints) -> None:
        """Count one timestep by values; all [N, heads, C]."""
        of_q, of_v = q.sum(axis=0), v.sum(axis=2)
        pairs = (of_q * k.sum(axis=0)).sum(axis=1)
        both = (of_q * (k * of_v[..., np.newaxis]).sum(axis=0)).sum(axis=1)
        first = pairs if self.geometry.order == "(qk)v" else (k.sum(axis=2) * of_v).sum(axis=0)
        self.weighted[:, t] += pairs.sum(), both.sum()
        self.unrolled[t] += first + both

    def counts(self, input_size: Ints, _bias_adds: Ints, _updates: Ints) -> AttentionCounts:
        """Return the counts in their final form."""
        sops, other = _by_order(self.geometry, self.kv, self.qk)
        counts = _attention_counts(self.work, self.geometry, input_size, sops, other, self.operands)
        if not self.graded:
            return counts
        names = ("value_weighted_qk_pairs", "value_weighted_qkv")
        operations = dict(zip(names, self.weighted, strict=True))
        return replace(counts, sops_unrolled_per_head=self.unrolled, operations=operations)


class SumsTally:
    """Running counts of attention that adds up spikes: one operation for each, counted by the sums."""

    def __init__(self, work: Work, row: Row, values: Ints, seen: NDArray[np.bool_]) -> None:
        self.work, self.geometry, self.seen = work, row.geometry, seen
        self.sops = np.zeros((values.shape[1], row.geometry.heads), np.int64)
        self.operands = np.zeros((3, values.shape[1]), np.int64)
        self.operations = {name: np.zeros(values.shape[1], np.int64) for name, _ in row.operations}

    def add(self, when: slice, output: IntegerMap) -> None:
        """Count by the sums: [T, N, heads], or [T, 1, C] whose channels belong to heads in turn."""
        self.seen[when] = True
        by_head = _by_head(output.values, self.geometry)
        self.sops[when] += by_head
        self.operands[0, when] += by_head.sum(axis=1)

    def counts(self, input_size: Ints, _bias_adds: Ints, _updates: Ints) -> AttentionCounts:
        """Return the counts in their final form."""
        counts = _attention_counts(self.work, self.geometry, input_size, self.sops, None, self.operands)
        return replace(counts, operations=self.operations)


class RowsTally:
    """Running counts of real rows added up by spikes: each spike adds a row to as many sums."""

    def __init__(self, work: Work, row: Row, values: Ints, seen: NDArray[np.bool_]) -> None:
        self.work, self.geometry, self.seen = work, row.geometry, seen
        self.sops = np.zeros((values.shape[1], row.geometry.heads), np.int64)
        self.operands = np.zeros((3, values.shape[1]), np.int64)

    def add(self, when: slice, spikes: SpikeMap) -> None:
        """Count by the spikes of each head."""
        self.seen[when] = True
        size = self.geometry
        counts = np.empty((*spikes.words.shape[:2], size.heads), np.int64)
        spikes_per_head(spikes.words, spikes.channels // size.heads, counts)
        by_head = counts.sum(axis=1)
        self.sops[when] += by_head * self.geometry.width
        self.operands[0, when] += by_head.sum(axis=1)

    def counts(self, input_size: Ints, _bias_adds: Ints, _updates: Ints) -> AttentionCounts:
        """Return the counts in their final form."""
        counts = _attention_counts(self.work, self.geometry, input_size, self.sops, None, self.operands)
        return replace(counts, operations={"accumulates": self.sops})


def summed(packet: IntegerMap, workers: Workers) -> Ints:
    """Return the sum of each timestep's values [T]; it is worked out once for all who ask."""
    if not packet.counted:
        packet.counted.append(_weighed(weigh_integers, packet, ALIKE, workers, 2)[:, 0])
    return packet.counted[0]


def _weighed(
    kernel: Callable[..., None], packet: IntegerMap | RealMap, reach: Ints, workers: Workers, columns: int
) -> Ints:
    """Return the sums of a kernel that weighs values, [T, columns]; a map has zeros in its padding."""
    values = packet.values.reshape(len(packet.values), -1)
    steps, parts = len(values), max(1, PARTS // len(values))
    sums = np.empty((steps * parts, columns), np.int64)
    workers.share(kernel, steps * parts, (parts, values, reach, sums), 2 * values.size)
    whole: Ints = sums.reshape(steps, parts, columns).sum(axis=1)
    return whole


@lru_cache(maxsize=64)
def wide_reach(size: Geometry, width: int) -> Ints:
    """Return how many outputs each number of a map reaches, of `width` at each position; int64 [P * width]."""
    return np.repeat(fan_out(size), width)


def _by_order(size: Geometry, kv: Ints, qk: Ints) -> tuple[Ints, Ints]:
    """Return the counts of both orders, the declared one first."""
    return (kv, qk) if size.order == "q(kv)" else (qk, kv)


def _by_head(values: NDArray[np.generic], size: Geometry) -> Ints:
    """Sum up a map [T, N, C] by the head that each channel belongs to: [T, heads]."""
    by_channel = values.sum(axis=1, dtype=np.int64)
    sums: Ints = by_channel.reshape(len(by_channel), size.heads, -1).sum(axis=2)
    return sums


def _attention_counts(
    work: Work, size: Geometry, input_size: Ints, sops: Ints, other: Ints | None, operands: Ints
) -> AttentionCounts:
    """Return the counts that all attention has; `other` is None where there is no order of products."""
    return AttentionCounts(
        name=work.name,
        input_kind=work.input_kind,
        geometry=size,
        steps=int(np.count_nonzero(input_size)),
        input_size=input_size,
        sops_per_head=sops,
        sops_other_order_per_head=other,
        operand_nonzeros=operands,
        reads_input=work.reads_input,
    )


def _nonzeros(packet: Packet) -> SpikeMap:
    """Return where a map of spikes or integers is not 0, as spikes."""
    if isinstance(packet, SpikeMap):
        return packet
    return SpikeMap.from_dense(packet.values != 0, packet.height, packet.width)


def _frame(packet: Packet, t: int, heads: int) -> Ints:
    """Return one timestep's spikes or integers as int64 [N, heads, C]."""
    if isinstance(packet, SpikeMap):
        packet = SpikeMap(0, packet.words[t : t + 1], packet.channels, packet.height, packet.width)
        values: NDArray[np.generic] = packet.dense()[0]
    else:
        values = packet.values[t]
    whole: Ints = values.astype(np.int64).reshape(len(values), heads, -1)
    return whole


Tally: TypeAlias = SynapsesTally | AttentionTally | IntegersTally | SumsTally | RowsTally | NeuronsTally


def tally_of(work: Work, row: Row, values: Ints, seen: NDArray[np.bool_]) -> Tally:
    """Return what counts a row of its kind; values [COLUMNS, T] and seen [T] are its own to fill."""
    match row.kind:
        case "conv" | "linear" as kind:
            return SynapsesTally(work, row, kind, values, seen)
        case "attention":
            return _attention_tally(work, row)(work, row, values, seen)
        case "lif":
            return NeuronsTally(work, row, values, seen)
    assert_never(row.kind)


def _attention_tally(work: Work, row: Row) -> type[AttentionTally | IntegersTally | SumsTally | RowsTally]:
    size = row.geometry
    if size.attention:
        return RowsTally if size.attention == "dssa" else SumsTally
    return AttentionTally if work.input_kind == "spikes" and not size.value_dim else IntegersTally
