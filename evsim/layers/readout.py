"""Running form of additions, means and changes of axes: Add, TokenMean, TimeMean, Vote, Flatten, Pad."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from evsim.kernels.integers import add_spikes
from evsim.layers.context import Context
from evsim.layers.reals import as_real, total
from evsim.primitives import Pad, Vote
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
        if not isinstance(left, RealMap) and not isinstance(right, RealMap) and _unit(left) == _unit(right):
            return IntegerMap(left.start, self._integers(left, right), left.height, left.width, _unit(left))
        return total(as_real(left, self.context), as_real(right, self.context))

    def _integers(self, left: SpikeMap | IntegerMap, right: SpikeMap | IntegerMap) -> NDArray[np.int32]:
        """Return the sums; spikes are added bit by bit, and never become numbers of their own."""
        if isinstance(left, IntegerMap) and isinstance(right, IntegerMap):
            return left.values + right.values
        if isinstance(left, IntegerMap):
            left, right = right, left
        steps, positions, channels = left.steps, left.height * left.width, left.channels
        size = steps, positions, channels
        sums = right.values.copy() if isinstance(right, IntegerMap) else np.zeros(size, np.int32)
        flat = sums.reshape(-1)
        for spikes in (left, right):
            if isinstance(spikes, SpikeMap):
                words = spikes.words.reshape(steps * positions, -1)
                self.context.workers.share(add_spikes, len(words), (words, channels, flat), 2 * flat.size)
        return sums


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
            self._sum = self.taken(self._sum, real.values[0 if real.static else i])
        last = real.start + real.steps
        if last < self.timesteps or self._sum is None:
            return None
        mean = self.after(self._sum, self.timesteps)
        return RealMap(self.timesteps - 1, 1, mean[np.newaxis], real.channels, real.height, real.width)

    def taken(self, kept: NDArray[np.floating] | None, frame: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return what is kept of the timesteps up to a frame's, given what was kept before it, if there was any."""
        return frame.copy() if kept is None else kept + frame

    def after(self, kept: NDArray[np.floating], timesteps: int) -> NDArray[np.floating]:
        """Return what would be emitted if as many timesteps were all, given what is kept of them."""
        mean: NDArray[np.floating] = kept / self.context.dtype.type(timesteps)
        return mean


def _unit(packet: SpikeMap | IntegerMap) -> float:
    return packet.unit if isinstance(packet, IntegerMap) else 1.0


class Flattening:
    """The map as one position, in the order channel, row, column."""

    def __init__(self, context: Context) -> None:
        self.context = context

    def reset(self) -> None:
        """Flattening has no state."""

    def step(self, *packets: Packet) -> Packet:
        """Return one position of all values, of the packet's own kind."""
        (packet,) = packets
        size = packet.channels * packet.height * packet.width
        if isinstance(packet, SpikeMap):
            spikes = packet.dense().transpose(0, 2, 1).reshape(packet.steps, 1, size)
            return SpikeMap.from_dense(spikes, 1, 1, packet.start)
        values = packet.values[..., : packet.channels]
        flat = np.ascontiguousarray(values.transpose(0, 2, 1)).reshape(len(values), 1, size)
        if isinstance(packet, IntegerMap):
            return IntegerMap(packet.start, flat, 1, 1, packet.unit)
        return RealMap(packet.start, packet.steps, flat, size, 1, 1)


class Padding:
    """A border of real values around the map."""

    def __init__(self, node: Pad, context: Context, border: NDArray[np.floating]) -> None:
        self.node, self.context, self.border = node, context, border.astype(context.dtype)

    def reset(self) -> None:
        """Borders have no state."""

    def step(self, *packets: Packet) -> RealMap:
        """Return the larger map."""
        real, pad = as_real(packets[0], self.context), self.node.padding
        height, width = real.height + 2 * pad, real.width + 2 * pad
        out = np.zeros((len(real.values), height, width, real.values.shape[2]), self.context.dtype)
        out[..., : real.channels] = self.border
        inside = real.values.reshape(len(real.values), real.height, real.width, -1)
        out[:, pad : height - pad, pad : width - pad] = inside
        flat = out.reshape(len(out), height * width, -1)
        return RealMap(real.start, real.steps, flat, real.channels, height, width)


class Voting:
    """Mean over groups of neighbouring channels."""

    def __init__(self, node: Vote, context: Context) -> None:
        self.node, self.context = node, context

    def reset(self) -> None:
        """Votes have no state."""

    def step(self, *packets: Packet) -> RealMap:
        """Return a number for each group."""
        real = as_real(packets[0], self.context)
        groups = real.values[..., : real.channels].reshape(*real.values.shape[:2], -1, self.node.voters)
        means = self._means(groups)
        return RealMap(real.start, real.steps, means, means.shape[2], real.height, real.width)

    def _means(self, groups: NDArray[Any]) -> NDArray[Any]:
        """Return the mean of the last axis."""
        means: NDArray[Any] = groups.mean(axis=3, dtype=self.context.dtype)
        return means
