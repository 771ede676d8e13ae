"""Running forms between spikes: And, IAnd, Mask, and the sums over heads and tokens."""

from __future__ import annotations

import numpy as np

from evsim.kernels.counting import masks_of_heads, spikes_per_head
from evsim.kernels.integers import sum_tokens
from evsim.layers.context import Context
from evsim.primitives import And, HeadSum, IAnd, Mask, Shape, TokenSum
from evsim.spikes import IntegerMap, Packet, SpikeMap


class Gate:
    """Spikes of the first source that the second lets through, or that it does not stop."""

    def __init__(self, node: And | IAnd, context: Context) -> None:  # noqa: ARG002 - as all running forms
        self._stops = isinstance(node, IAnd)

    def reset(self) -> None:
        """Gates have no state."""

    def step(self, *packets: Packet) -> SpikeMap:
        """Return ``a b`` or ``a (1 - b)``, words at a time."""
        left, right = (packet for packet in packets if isinstance(packet, SpikeMap))
        words = left.words & ~right.words if self._stops else left.words & right.words
        return SpikeMap(left.start, words, left.channels, left.height, left.width)


class Masking:
    """Spikes where a mask by channel, or by token and head, fired."""

    def __init__(self, node: Mask, context: Context) -> None:  # noqa: ARG002 - as all running forms
        self.node = node

    def reset(self) -> None:
        """Masks have no state."""

    def step(self, *packets: Packet) -> SpikeMap:
        """Return the spikes that the mask lets through."""
        values, mask = (packet for packet in packets if isinstance(packet, SpikeMap))
        if mask.channels == values.channels:  # by channel: of one position or, with heads of one channel, of all
            words = values.words & mask.words
            return SpikeMap(values.start, words, values.channels, values.height, values.width)
        gates = np.empty(values.words.shape, np.uint64)
        rows = values.steps * values.height * values.width
        masks_of_heads(
            mask.words.reshape(rows, -1), values.channels // mask.channels, mask.channels, gates.reshape(rows, -1)
        )
        words = values.words & gates
        return SpikeMap(values.start, words, values.channels, values.height, values.width)


class Sums:
    """Sums of spikes over each head's channels, or over all tokens."""

    def __init__(self, node: HeadSum | TokenSum, shape: Shape, context: Context) -> None:  # noqa: ARG002
        self.node, self.shape = node, shape

    def reset(self) -> None:
        """Do nothing: sums within a timestep have no state."""

    def step(self, *packets: Packet) -> IntegerMap:
        """Return the sums as integers."""
        (packet,) = packets
        assert isinstance(packet, SpikeMap)
        shape, (steps, positions, _) = self.shape, packet.words.shape
        if isinstance(self.node, TokenSum):
            sums = np.zeros((steps, 1, packet.channels), np.int32)
            for words, flat in zip(packet.words, sums.reshape(steps, -1), strict=True):
                sum_tokens(words, flat)
        else:
            counts = np.empty((steps, positions, self.node.heads), np.int64)
            spikes_per_head(packet.words, packet.channels // self.node.heads, counts)
            sums = counts.astype(np.int32)
        return IntegerMap(packet.start, sums, shape.height, shape.width)
