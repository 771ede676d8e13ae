"""Packets as real values, and sums of them."""

from __future__ import annotations

import numpy as np

from evsim.kernels.vector import padded
from evsim.layers.context import Context
from evsim.spikes import IntegerMap, Packet, RealMap, SpikeMap


def as_real(packet: Packet, context: Context) -> RealMap:
    """Return the packet's values as real numbers, channels padded to whole blocks."""
    if isinstance(packet, RealMap) and packet.values.shape[-1] == padded(packet.channels):
        return packet
    dense = packet.dense() if isinstance(packet, SpikeMap) else packet.values
    values = np.zeros((*dense.shape[:2], padded(packet.channels)), context.dtype)
    values[..., : packet.channels] = dense
    if isinstance(packet, IntegerMap) and packet.unit != 1.0:
        values *= context.dtype.type(packet.unit)
    return RealMap(packet.start, packet.steps, values, packet.channels, packet.height, packet.width)


def total(left: RealMap, right: RealMap) -> RealMap:
    """Return the sum of two maps of the same timesteps; it is static where both are."""
    values = left.values + right.values
    return RealMap(left.start, left.steps, values, left.channels, left.height, left.width)
