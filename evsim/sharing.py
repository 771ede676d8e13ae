"""An observer that counts what machines could leave out: sums that neighbours share, and weights that are 0.

Gathered on request alone, from the spikes: no figure depends on the machine, threads, schedule or precision of the
run, nor on whether its kernels share anything. `evsim.kernels.sharing` has both definitions of shared sums.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evsim.counters import Counts, Ints, SynapseCounts
from evsim.geometry import Geometry
from evsim.kernels.sharing import FIGURES, QUAD, shared_by_products, shared_by_quads, weighed
from evsim.layers.plan import Stage
from evsim.network import Network
from evsim.sharedsums import SHARED_SUMS
from evsim.spikes import Packet, RealMap, SpikeMap
from evsim.workload import Work, rows


class SharingMeter:
    """Counts shared sums and weights that are not 0 of every conv and linear layer, see `evsim.counters.SynapseCounts`.

    Parameters
    ----------
    network
        The network that runs; the weights of its layers are read once.
    timesteps
        T of the run.
    """

    def __init__(self, network: Network, timesteps: int) -> None:
        self._meters = {
            work.name: _Meter(work, row.geometry, network.weights[f"{work.name}.weight"], timesteps)
            for work, row in rows(network)
            if row.synaptic
        }
        self._latest: tuple[NDArray[np.uint64], Geometry, Ints] | None = None  # q, k and v read one map

    def observe(self, stage: Stage, inputs: tuple[Packet, ...], output: Packet | None) -> None:  # noqa: ARG002
        """Count the step of every layer with weights that the stage stands for."""
        for node in stage.nodes:
            if node.name in self._meters:
                self._observe(self._meters[node.name], inputs[0])

    def _observe(self, meter: _Meter, packet: Packet) -> None:
        when = slice(packet.start, packet.start + packet.steps)
        if meter.work.repeated:  # what ran at the first timestep does not run again
            if when.start > 0:
                return
            when = slice(0, 1)
        words = _words(packet)
        meter.weigh(when, words)
        if not isinstance(packet, SpikeMap) or (whole := meter.gathered(when.start, words)) is None:
            return
        alike = replace(meter.size, out_channels=meter.size.groups, bias=False, batch_norm=False)
        if self._latest is None or self._latest[0] is not whole or self._latest[1] != alike:
            self._latest = whole, alike, shared_sums(whole, alike)
        meter.shared[:, -len(whole) :] = self._latest[2]

    def attached(self, counts: Counts) -> Counts:
        """Return the counts with what was counted here."""
        layers = tuple(
            self._meters[layer.name].attached(layer) if isinstance(layer, SynapseCounts) else layer
            for layer in counts.layers
        )
        return replace(counts, layers=layers)


class _Meter:
    """Running figures of one layer."""

    def __init__(self, work: Work, size: Geometry, weight: NDArray[np.floating], timesteps: int) -> None:
        self.work, self.size = work, size
        self.classes, self.table = _reach(size, weight)
        self.reached = np.zeros(timesteps, np.int64)
        self.shared = np.zeros((2 * FIGURES, timesteps), np.int64)
        self._awaited = 1 if work.runs_once else timesteps
        self._parts: dict[int, NDArray[np.uint64]] = {}

    def weigh(self, when: slice, words: NDArray[np.uint64]) -> None:
        """Count operations with weights that are not 0; an image stands for each of its timesteps."""
        totals = np.zeros(len(words), np.int64)
        weighed(words, self.classes, self.table, totals)
        self.reached[when] += totals

    def gathered(self, start: int, words: NDArray[np.uint64]) -> NDArray[np.uint64] | None:
        """Keep a packet's spikes; return those of all timesteps that the layer runs, once they are there."""
        if len(words) == self._awaited:
            return words
        self._parts.update((start + t, words[t : t + 1]) for t in range(len(words)))
        if len(self._parts) < self._awaited:
            return None
        whole = np.concatenate([self._parts[t] for t in sorted(self._parts)])
        self._parts.clear()
        return whole

    def attached(self, layer: SynapseCounts) -> SynapseCounts:
        """Return the layer's counts with these."""
        own: dict[str, Any] = {"nonzero_weight_operations": self.reached}
        if layer.input_kind == "spikes":
            own |= dict(zip(SHARED_SUMS, self.shared * self.size.row, strict=True))
        return replace(layer, **own)


def shared_sums(words: NDArray[np.uint64], size: Geometry) -> Ints:
    """Return what shared sums take for one output channel of each group, by both definitions.

    Parameters
    ----------
    words
        Spikes of all timesteps, uint64 [T, P, words] as `evsim.spikes.SpikeMap` has them.
    size
        Of the conv or linear layer that reads them.

    Returns
    -------
    int64 [6, T]
        `evsim.counters.SHARED_SUMS`, over the groups, before they are multiplied by the outputs of a group.
    """
    steps, group = len(words), size.in_channels // size.groups
    quads, products = np.zeros((2, steps, FIGURES), np.int64)
    flat = (size.kernel, size.stride, size.padding) == ((1, 1), (1, 1), (0, 0))  # positions do not mix: one long row
    width, out_width = (size.tokens, size.out_positions) if flat else (size.in_width, size.out_width)
    lines = _lines(size.tokens // width, size.out_positions // out_width, *(pair[0] for pair in _window(size)))
    reaches = _reaches(width, out_width, *(pair[1] for pair in _window(size)))
    shared_by_quads(words, size.in_channels, size.groups, width, size.stride[1], lines, reaches, quads)
    shape = ((size.in_height, size.in_width), (size.out_height, size.out_width))
    for first in range(0, size.in_channels, group):
        shared_by_products(words, first, group, *shape, *_window(size), products)
    return np.concatenate([quads.T, products.T])


def _window(size: Geometry) -> tuple[tuple[int, int], ...]:
    return size.kernel, size.stride, size.padding, size.dilation


def _sources(inner: int, outer: int, taps: int, stride: int, padding: int, dilation: int) -> NDArray[np.int64]:
    """Return which input each output reads by each tap along an axis: int64 [outer, taps], -1 outside the map."""
    at = np.arange(outer)[:, np.newaxis] * stride - padding + np.arange(taps) * dilation
    return np.where((at >= 0) & (at < inner), at, -1)


@lru_cache(maxsize=256)
def _lines(inner: int, outer: int, taps: int, stride: int, padding: int, dilation: int) -> NDArray[np.int64]:
    """Return how many rows of outputs each row of inputs reaches over all taps: int64 [inner]."""
    sources = _sources(inner, outer, taps, stride, padding, dilation)
    return np.bincount(sources[sources >= 0], minlength=inner).astype(np.int64)


@lru_cache(maxsize=256)
def _reaches(inner: int, outer: int, taps: int, stride: int, padding: int, dilation: int) -> NDArray[np.int64]:
    """Return of each quad along a row how many taps reach from which of its positions.

    int64 [stride * quads, 16]: quads of the columns 0, stride, 2 stride ..., then of 1, stride + 1 ...; the bits of the
    second index are the positions.
    """
    quads = -(-inner // (QUAD * stride))
    reached = np.zeros((stride * quads, 1 << QUAD), np.int64)
    for column in _sources(inner, outer, taps, stride, padding, dilation).T:
        x = column[column >= 0]
        of_quad = np.zeros(stride * quads, np.int64)
        np.add.at(of_quad, x % stride * quads + x // stride // QUAD, 1 << x // stride % QUAD)
        reached[np.arange(stride * quads), of_quad] += 1
    return reached


def _reach(size: Geometry, weight: NDArray[np.floating]) -> tuple[Ints, Ints]:
    """Return the class of each position, by the taps that reach from it, and what a spike there takes.

    int64 [P] and [classes, C]: operations of an input of each channel with weights that are not 0.
    """
    group = size.in_channels // size.groups
    by_tap = np.count_nonzero(weight.reshape(-1, group, size.groups, size.row), axis=3).transpose(0, 2, 1)
    axes = []
    for i, (inner, outer) in enumerate(((size.in_height, size.out_height), (size.in_width, size.out_width))):
        sources = _sources(inner, outer, *(pair[i] for pair in _window(size)))
        axes.append(np.stack([np.bincount(column[column >= 0], minlength=inner) for column in sources.T], axis=1))
    kinds, places = zip(*(np.unique(axis, axis=0, return_inverse=True) for axis in axes), strict=True)
    taps = np.einsum("ai,bj->abij", *kinds).reshape(len(kinds[0]) * len(kinds[1]), -1)
    classes = places[0].reshape(-1)[:, np.newaxis] * len(kinds[1]) + places[1].reshape(-1)
    table = taps @ by_tap.reshape(len(by_tap), -1)
    return classes.reshape(-1).astype(np.int64), np.ascontiguousarray(table, np.int64)


def _words(packet: Packet) -> NDArray[np.uint64]:
    """Return where a packet's values are not 0, as bits [T, P, words]."""
    if isinstance(packet, SpikeMap):
        return packet.words
    values = packet.values[..., : packet.channels] if isinstance(packet, RealMap) else packet.values
    return SpikeMap.from_dense(values != 0, packet.height, packet.width).words
