"""Packets as real values, and sums of them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from evsim.errors import NetworkError
from evsim.kernels.vector import padded
from evsim.layers.context import Context
from evsim.spikes import IntegerMap, Packet, RealMap, SpikeMap


def as_real(packet: Packet, context: Context) -> RealMap:
    """Return the packet's values as real numbers, channels padded to whole blocks."""
    if isinstance(packet, RealMap) and packet.values.shape[-1] == padded(packet.channels):
        return packet
    context.workers.finish()
    dense = packet.dense() if isinstance(packet, SpikeMap) else packet.values
    values = np.zeros((*dense.shape[:2], padded(packet.channels)), context.dtype)
    values[..., : packet.channels] = dense
    unit = packet.unit if isinstance(packet, IntegerMap) else 1.0
    if context.quantization and not isinstance(packet, RealMap):
        values *= whole_unit(unit, context.fraction)
    elif unit != 1.0:
        values *= context.dtype.type(unit)
    return RealMap(packet.start, packet.steps, values, packet.channels, packet.height, packet.width)


def whole_unit(unit: float, fraction: int) -> np.int32:
    """Return what 1 stands for in units of 2^-fraction.

    Raises
    ------
    NetworkError
        If that is no whole number.
    """
    scaled = math.ldexp(unit, fraction)
    if scaled != int(scaled):
        raise NetworkError(f"integers in units of {unit:g} are no whole numbers of 2^-{fraction}")
    return np.int32(scaled)


def shifted(packet: Packet, bits: int) -> Packet:
    """Return real values as they are, or fixed-point numbers shifted left; right, and rounded down, if `bits` < 0."""
    if not isinstance(packet, RealMap) or bits == 0:
        return packet
    return replace(packet, values=packet.values << bits if bits > 0 else packet.values >> -bits)


def total(left: RealMap, right: RealMap) -> RealMap:
    """Return the sum of two maps of the same timesteps; it is static where both are."""
    values = left.values + right.values
    return RealMap(left.start, left.steps, values, left.channels, left.height, left.width)
