"""Running form of MaxPool."""

from __future__ import annotations

import numpy as np

from evsim.kernels.pool import pool_numbers, pool_words
from evsim.layers.context import Context
from evsim.network import MaxPool, Shape
from evsim.spikes import IntegerMap, Packet, RealMap, SpikeMap


class Pool:
    """Max-pooling of spikes (an OR of words), integers or real values."""

    def __init__(self, node: MaxPool, target: Shape, context: Context) -> None:
        self.node, self.target, self.context = node, target, context

    def reset(self) -> None:
        """Pooling has no state."""

    def step(self, *packets: Packet) -> Packet:
        """Return the smaller map, of the packet's own kind."""
        (packet,) = packets
        spikes = isinstance(packet, SpikeMap)
        values = packet.words if isinstance(packet, SpikeMap) else packet.values
        height, width = self.target.height, self.target.width
        source = values.reshape(values.shape[0], packet.height, packet.width, -1)
        target = np.empty((values.shape[0], height, width, source.shape[-1]), source.dtype)
        kernel = pool_words if spikes else pool_numbers
        window, stride, padding = self.node.kernel, self.node.stride, self.node.padding
        self.context.workers.share(
            target.shape[0] * height,
            lambda a, b: kernel(a, b, source, target, window, stride, padding),
            20 * source.size,
        )
        pooled = target.reshape(values.shape[0], height * width, -1)
        if isinstance(packet, SpikeMap):
            return SpikeMap(packet.start, pooled, packet.channels, height, width)
        if isinstance(packet, IntegerMap):
            return IntegerMap(packet.start, pooled, height, width)
        return RealMap(packet.start, packet.steps, pooled, packet.channels, height, width)
