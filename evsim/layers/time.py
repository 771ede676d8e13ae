"""Running forms across timesteps: Delay, and what is read out of all timesteps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from evsim.kernels.vector import padded
from evsim.layers.context import Context
from evsim.layers.reals import as_real
from evsim.primitives import Delay, Shape, TimeReduction
from evsim.spikes import WORD, IntegerMap, Packet, RealMap, SpikeMap


class Delaying:
    """What came some timesteps earlier.

    Where timesteps come one by one, a packet is addressed to a later timestep, and waits in the queue; the first
    timesteps get maps of nothing before the run begins (`beginnings`). Else all timesteps come at once, and move.
    """

    def __init__(self, node: Delay, shape: Shape, timesteps: int, context: Context) -> None:
        self.shape, self.timesteps, self.context = shape, timesteps, context
        self.steps = min(node.steps, timesteps)

    def reset(self) -> None:
        """Do nothing: what is on its way waits in the queue."""

    def beginnings(self) -> Iterator[Packet]:
        """Return the packets of the timesteps for which nothing came yet, where timesteps come one by one."""
        for start in range(self.steps if self.context.streaming else 0):
            yield self._nothing(start, 1)

    def step(self, *packets: Packet) -> Packet | None:
        """Return the packet for its later timestep; None where that is behind the last."""
        (packet,) = packets
        if self.context.streaming:
            late = packet.start + self.steps
            return replace(packet, start=late) if late < self.timesteps else None
        before = self._nothing(packet.start, self.steps)
        if isinstance(packet, SpikeMap):
            assert isinstance(before, SpikeMap)
            words = np.concatenate([before.words, packet.words[: packet.steps - self.steps]])
            return SpikeMap(packet.start, words, packet.channels, packet.height, packet.width)
        assert not isinstance(before, SpikeMap)
        values: NDArray[np.generic] = packet.values
        if isinstance(packet, RealMap):
            values = as_real(packet, self.context).values
            values = np.broadcast_to(values, (packet.steps, *values.shape[1:]))
        # of a map that stands for all timesteps, NumPy would make an array in another order
        behind = np.ascontiguousarray(np.concatenate([before.values, values[: packet.steps - self.steps]]))
        if isinstance(packet, RealMap):
            return replace(packet, values=behind)
        return IntegerMap(packet.start, behind, packet.height, packet.width, packet.unit)

    def _nothing(self, start: int, steps: int) -> Packet:
        """Return a packet of zeros."""
        shape = self.shape
        size = (steps, shape.positions)
        if shape.kind == "spikes":
            words = np.zeros((*size, -(-shape.channels // WORD)), np.uint64)
            return SpikeMap(start, words, shape.channels, shape.height, shape.width)
        if shape.kind == "integers":
            return IntegerMap(start, np.zeros((*size, shape.channels), np.int32), shape.height, shape.width, shape.unit)
        values = np.zeros((*size, padded(shape.channels)), self.context.dtype)
        return RealMap(start, steps, values, shape.channels, shape.height, shape.width)


class Reduction:
    """Sum, maximum or last of all timesteps; emits after the last."""

    def __init__(self, node: TimeReduction, timesteps: int, context: Context) -> None:
        self.node, self.timesteps, self.context = node, timesteps, context
        self._kept: NDArray[np.floating] | None = None

    def reset(self) -> None:
        """Forget the timesteps seen."""
        self._kept = None

    def step(self, *packets: Packet) -> RealMap | None:
        """Take the packet's timesteps in; return what they come to once all have come."""
        real = as_real(packets[0], self.context)
        for i in range(real.steps):
            self._kept = self.taken(self._kept, real.values[0 if real.static else i])
        if real.start + real.steps < self.timesteps or self._kept is None:
            return None
        whole = self.after(self._kept, self.timesteps)
        return RealMap(self.timesteps - 1, 1, whole[np.newaxis], real.channels, real.height, real.width)

    def taken(self, kept: NDArray[np.floating] | None, frame: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return what is kept of the timesteps up to a frame's, given what was kept before it, if there was any."""
        if kept is None or self.node.reduction == "last":
            return frame.copy()
        return kept + frame if self.node.reduction == "sum" else np.maximum(kept, frame)

    def after(self, kept: NDArray[np.floating], timesteps: int) -> NDArray[np.floating]:  # noqa: ARG002
        """Return what would be emitted if as many timesteps were all, given what is kept of them."""
        return kept
