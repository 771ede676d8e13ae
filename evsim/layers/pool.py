"""Running forms of pooling over space: MaxPool, SumPool, AveragePool, AdaptiveAveragePool."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from evsim.kernels.pool import pool_numbers, pool_words
from evsim.layers.context import Context
from evsim.layers.reals import as_real
from evsim.primitives import AdaptiveAveragePool, AveragePool, MaxPool, Shape, SumPool
from evsim.spikes import IntegerMap, Packet, RealMap, SpikeMap


class Pool:
    """Max-pooling of spikes (an OR of words), integers or real values."""

    def __init__(self, node: MaxPool, target: Shape, context: Context) -> None:
        self.node, self.target, self.context = node, target, context
        self.defers = not node.heads

    def reset(self) -> None:
        """Pooling has no state."""

    def step(self, *packets: Packet) -> Packet:
        """Return the smaller map, of the packet's own kind."""
        (packet,) = packets
        height, width = self.target.height, self.target.width
        if self.node.heads:
            return _like(packet, self._by_head(packet), height, width)
        spikes = isinstance(packet, SpikeMap)
        values = packet.words if isinstance(packet, SpikeMap) else packet.values
        source = values.reshape(values.shape[0], packet.height, packet.width, -1)
        kernel = pool_words if spikes else pool_numbers
        pooled = self._pooled(kernel, source, height, width)
        return _like(packet, pooled.reshape(values.shape[0], height * width, -1), height, width)

    def _by_head(self, packet: Packet) -> NDArray[np.generic]:
        """Return the values, spikes as words, pooled over the plane [tokens, channels] of each head."""
        heads, channels = self.node.heads, packet.channels
        values = packet.dense().astype(np.int32) if isinstance(packet, SpikeMap) else packet.values
        steps, tokens, _ = values.shape
        size = channels // heads
        planes = values[..., :channels].reshape(steps, tokens, heads, size).transpose(0, 2, 1, 3)
        source = np.ascontiguousarray(planes).reshape(steps * heads, tokens, size, 1)
        pooled = self._pooled(pool_numbers, source, tokens, size).reshape(steps, heads, tokens, size)
        self.context.workers.finish()
        flat = pooled.transpose(0, 2, 1, 3).reshape(steps, tokens, channels)
        if isinstance(packet, SpikeMap):
            return SpikeMap.from_dense(flat != 0, packet.height, packet.width).words
        out = np.zeros_like(values)
        out[..., :channels] = flat
        return out

    def _pooled(
        self, kernel: Callable[..., None], source: NDArray[np.generic], height: int, width: int
    ) -> NDArray[np.generic]:
        rows, columns = self.node.axes
        target = np.empty((source.shape[0], height, width, source.shape[-1]), source.dtype)
        self.context.workers.post(
            kernel,
            source.shape[0] * height,
            (source, target, rows, columns),
            20 * source.size,
        )
        return target


def _like(packet: Packet, values: NDArray[np.generic], height: int, width: int) -> Packet:
    """Return a packet of the same kind and timesteps with other values."""
    if isinstance(packet, SpikeMap):
        return SpikeMap(packet.start, values, packet.channels, height, width)  # type: ignore[arg-type]
    if isinstance(packet, IntegerMap):
        return IntegerMap(packet.start, values, height, width, packet.unit)  # type: ignore[arg-type]
    return RealMap(packet.start, packet.steps, values, packet.channels, height, width)


class Average:
    """Average or sum over windows: real values, or integers where spikes or integers are summed up."""

    def __init__(
        self, node: AveragePool | SumPool | AdaptiveAveragePool, source: Shape, target: Shape, context: Context
    ) -> None:
        self.node, self.target, self.context = node, target, context
        self._copies = isinstance(node, AdaptiveAveragePool) and node.copies(source)
        if isinstance(node, AdaptiveAveragePool):
            self._spans = node.spans(source)
        else:
            rows, columns = node.axes
            self._spans = _windows(rows, source.height, target.height), _windows(columns, source.width, target.width)

    def reset(self) -> None:
        """Pooling has no state."""

    def step(self, *packets: Packet) -> Packet:
        """Return the map of that size."""
        (packet,) = packets
        height, width = self.target.height, self.target.width
        if self._copies:
            at = np.array(
                [rows[0] * packet.width + columns[0] for rows in self._spans[0] for columns in self._spans[1]]
            )
            values = packet.words if isinstance(packet, SpikeMap) else packet.values
            return _like(packet, np.ascontiguousarray(values[:, at]), height, width)
        if self.target.kind == "integers":
            integers = packet.dense().astype(np.int32) if isinstance(packet, SpikeMap) else packet.values
            return IntegerMap(packet.start, self._summed(integers, packet), height, width, self.target.unit)  # type: ignore[arg-type]
        real = as_real(packet, self.context)
        sums = self._summed(real.values, packet)
        if not isinstance(self.node, SumPool):
            counts = np.multiply.outer(*map(self._shares, (0, 1))).reshape(-1, 1)
            sums = sums / counts.astype(self.context.dtype)
        return RealMap(real.start, real.steps, sums, real.channels, height, width)

    def _shares(self, axis: int) -> list[int]:
        """Return how many rows or columns each window counts for: of a fixed one all, padding included."""
        if isinstance(self.node, AveragePool):
            return [self.node.axes[axis][0]] * len(self._spans[axis])
        return [len(span) for span in self._spans[axis]]

    def _summed(self, values: NDArray[np.generic], packet: Packet) -> NDArray[np.generic]:
        """Return the sums over the windows, rows first: a map at a time, so that schedules agree."""
        maps = values.reshape(len(values), packet.height, packet.width, -1)
        rows = np.stack([maps[:, span.start : span.stop].sum(axis=1, dtype=maps.dtype) for span in self._spans[0]], 1)
        both = [rows[:, :, span.start : span.stop].sum(axis=2, dtype=maps.dtype) for span in self._spans[1]]
        return np.ascontiguousarray(np.stack(both, 2)).reshape(len(values), -1, maps.shape[-1])


def _windows(axis: tuple[int, int, int], inner: int, outer: int) -> tuple[range, ...]:
    """Return the rows or columns inside the map that each window covers: kernel, stride and padding are the axis's."""
    kernel, stride, padding = axis
    begins = (i * stride - padding for i in range(outer))
    return tuple(range(max(0, begin), min(inner, begin + kernel)) for begin in begins)
