"""Running forms of Scale, Concatenate and Slice."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from evsim.kernels.vector import padded
from evsim.layers.attention import as_integers
from evsim.layers.context import Context
from evsim.layers.membrane import constant
from evsim.layers.reals import as_real
from evsim.primitives import Concatenate, Scale, Shape, Slice
from evsim.spikes import IntegerMap, Packet, RealMap, SpikeMap


class Scaling:
    """Constants times a map, and constants added."""

    def __init__(
        self, node: Scale, shape: Shape, weights: Mapping[str, NDArray[np.floating]], context: Context
    ) -> None:
        self.node, self.shape, self.context = node, shape, context
        self.scale, self.shift = (_padded(constant(node, name, shape, weights), context) for name in node.constants)

    def reset(self) -> None:
        """Constants are no state."""

    def step(self, *packets: Packet) -> RealMap:
        """Return ``x * scale + shift``."""
        real = as_real(packets[0], self.context)
        values = real.values
        if self.node.scales:
            values = values * self.scale
        if self.node.shifts:
            values = values + self.shift
        return RealMap(real.start, real.steps, values, real.channels, real.height, real.width)


def _padded(rows: NDArray[np.float64], context: Context) -> NDArray[np.floating]:
    """Return constants [1 or P, C] in the precision of the run, zeros behind the last channel."""
    wide = np.zeros((len(rows), padded(rows.shape[1])), context.dtype)
    wide[:, : rows.shape[1]] = rows
    return wide


class Joining:
    """The channels of two maps side by side."""

    def __init__(self, node: Concatenate, shape: Shape, context: Context) -> None:  # noqa: ARG002 - as all forms
        self.shape, self.context = shape, context

    def reset(self) -> None:
        """Do nothing: maps side by side have no state."""

    def step(self, *packets: Packet) -> Packet:
        """Return the map with the channels of both."""
        left, right = packets
        shape, start = self.shape, left.start
        if isinstance(left, SpikeMap) and isinstance(right, SpikeMap):
            both = np.concatenate([left.dense(), right.dense()], axis=2)
            return SpikeMap.from_dense(both, shape.height, shape.width, start)
        if shape.kind == "integers":
            values = np.concatenate([as_integers(packet) for packet in packets], axis=2)
            return IntegerMap(start, values, shape.height, shape.width, shape.unit)
        reals = [as_real(packet, self.context) for packet in packets]
        steps = max(len(real.values) for real in reals)
        out = np.zeros((steps, shape.positions, padded(shape.channels)), self.context.dtype)
        out[..., : left.channels] = reals[0].values[..., : left.channels]
        out[..., left.channels : shape.channels] = reals[1].values[..., : right.channels]
        return RealMap(start, left.steps, out, shape.channels, shape.height, shape.width)


class Slicing:
    """Some neighbouring channels of a map."""

    def __init__(self, node: Slice, shape: Shape, context: Context) -> None:
        self.node, self.shape, self.context = node, shape, context

    def reset(self) -> None:
        """Do nothing: a slice has no state."""

    def step(self, *packets: Packet) -> Packet:
        """Return those channels, of the packet's own kind."""
        (packet,) = packets
        node, shape = self.node, self.shape
        if isinstance(packet, SpikeMap):
            spikes = packet.dense()[..., node.start : node.stop]
            return SpikeMap.from_dense(spikes, shape.height, shape.width, packet.start)
        part = packet.values[..., node.start : node.stop]
        if isinstance(packet, IntegerMap):
            return IntegerMap(packet.start, np.ascontiguousarray(part), shape.height, shape.width, packet.unit)
        out = np.zeros((*part.shape[:2], padded(shape.channels)), self.context.dtype)
        out[..., : shape.channels] = part
        return RealMap(packet.start, packet.steps, out, shape.channels, shape.height, shape.width)
