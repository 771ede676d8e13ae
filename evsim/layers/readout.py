"""Running form of the additions and means that have no synapses: Add, TokenMean, TimeMean."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from evsim.layers.context import Context
from evsim.layers.reals import as_real, total
from evsim.spikes import IntegerMap, Packet, RealMap, SpikeMap


class Addition:
    """Residual addition that could not be fused with the layer before it."""

    def __init__(self, context: Context) -> None:
        self.context = context

    def reset(self) -> None:
        """Additions have no state."""

    def step(self, *packets: Packet) -> Packet:
        """Return the sum: integers if both are spikes or integers, else real."""
        left, right = packets
        if not isinstance(left, RealMap) and not isinstance(right, RealMap):
            return IntegerMap(left.start, _integers(left) + _integers(right), left.height, left.width)
        return total(as_real(left, self.context), as_real(right, self.context))


class TokenAverage:
    """Mean over the positions of each timestep."""

    def __init__(self, context: Context) -> None:
        self.context = context

    def reset(self) -> None:
        """Do nothing: the mean over tokens has no state."""

    def step(self, *packets: Packet) -> RealMap:
        """Return one position per timestep."""
        real = as_real(packets[0], self.context)
        # one timestep at a time, so that the order of additions is the same in both schedules
        means = np.stack([frame.mean(axis=0, dtype=self.context.dtype) for frame in real.values])
        return RealMap(real.start, real.steps, means[:, np.newaxis], real.channels, 1, 1)


class TimeAverage:
    """Mean over all timesteps; emits after the last."""

    def __init__(self, timesteps: int, context: Context) -> None:
        self.timesteps, self.context = timesteps, context
        self._sum: NDArray[np.floating] | None = None

    def reset(self) -> None:
        """Forget the timesteps seen."""
        self._sum = None

    def step(self, *packets: Packet) -> RealMap | None:
        """Add the packet's timesteps; return the mean once all have come."""
        real = as_real(packets[0], self.context)
        for i in range(real.steps):
            frame = real.values[0 if real.static else i]
            self._sum = frame.copy() if self._sum is None else self._sum + frame
        last = real.start + real.steps
        if last < self.timesteps or self._sum is None:
            return None
        mean = self._sum / self.context.dtype.type(self.timesteps)
        return RealMap(self.timesteps - 1, 1, mean[np.newaxis], real.channels, real.height, real.width)


def _integers(packet: Packet) -> NDArray[np.int32]:
    if isinstance(packet, SpikeMap):
        return packet.dense().astype(np.int32)
    assert isinstance(packet, IntegerMap)
    return packet.values
