"""Running forms of integer networks beside synapses and neurons: attention, means, pools, constants.

Means are a sum in 64 bits and one division that rounds down. What only moves values, or adds them, runs as everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evsim.errors import NetworkError
from evsim.kernels.attention import attend
from evsim.kernels.products import attend_integers
from evsim.kernels.threads import aligned
from evsim.kernels.vector import padded
from evsim.layers.attention import MOST_TOKENS, as_integers
from evsim.layers.context import Context
from evsim.layers.membrane import constant
from evsim.layers.pool import Average
from evsim.layers.readout import Padding, TimeAverage, Voting
from evsim.layers.reals import as_real
from evsim.primitives import (
    AdaptiveAveragePool,
    AveragePool,
    HeadProduct,
    Pad,
    Scale,
    Shape,
    SpikingSelfAttention,
    SumPool,
)
from evsim.quantized import fixed, scaling
from evsim.spikes import Packet, RealMap, SpikeMap

BLOCK = 64
"""Lanes of a block of int32 in attention."""

LARGEST, MOST_SHORT = 2**31 - 1, 2**15 - 1


class IntegerSpikeAttention:
    """Attention on spike maps of q, k and v."""

    defers = True

    def __init__(self, node: SpikingSelfAttention, shape: Shape, context: Context) -> None:
        self.node, self.shape, self.context = node, shape, context
        self.head_dim = shape.channels // node.heads
        if shape.positions > MOST_TOKENS:
            raise NetworkError(f"{node.name} has {shape.positions} tokens; evsim attends to at most {MOST_TOKENS}")
        factor, self._shift = scaling(node.scale, context.fraction)
        self._factor = int(factor)
        whole = shape.positions * self.head_dim
        self._kind = np.empty(0, np.int16 if whole <= MOST_SHORT else np.int32)
        if whole * self._factor > LARGEST << self._shift or whole > LARGEST:
            raise NetworkError(f"{node.name} has {shape.positions} tokens: sums leave 32 bits")

    def reset(self) -> None:
        """Attention has no state."""

    def step(self, *packets: Packet) -> RealMap:
        """Take q, k and v of some timesteps and return scale * q (k^T v)."""
        q, k, v = (packet.words for packet in packets if isinstance(packet, SpikeMap))
        steps, tokens, _ = q.shape
        context, node = self.context, self.node
        out = aligned((steps, tokens, padded(self.shape.channels)), np.int32)
        out[..., self.shape.channels :] = 0
        factor = np.int32(1 if self._shift else self._factor)

        arguments = node.heads, self.head_dim, q, k, v, factor, BLOCK, out, self._kind
        context.workers.post(attend, steps * node.heads, arguments, 8 * steps * tokens * self.shape.channels)
        if self._shift:
            context.workers.finish()
            out = scaled(out, self._factor, self._shift)
        shape = self.shape
        return RealMap(packets[0].start, steps, out, shape.channels, shape.height, shape.width)


class AttentionOfIntegers:
    """Attention on integers, or on spikes of which v has channels of its own number."""

    def __init__(self, node: SpikingSelfAttention, sources: tuple[Shape, ...], shape: Shape, context: Context) -> None:
        self.node, self.shape, self.context = node, shape, context
        q, k, v = sources
        factor, self._shift = scaling(node.scale * q.unit * k.unit * v.unit, context.fraction)
        self._factor = int(factor)

    def reset(self) -> None:
        """Attention has no state."""

    def step(self, *packets: Packet) -> RealMap:
        """Take q, k and v of some timesteps and return scale * q (k^T v), in the units of all three."""
        q, k, v = (as_integers(packet) for packet in packets)
        steps, tokens, channels = v.shape
        out = aligned((steps, tokens, padded(channels)), np.int64)
        out[..., channels:] = 0
        arguments = self.node.heads, q, k, v, out
        effort = 8 * q.size * (channels // self.node.heads)
        self.context.workers.share(attend_integers, steps * self.node.heads, arguments, effort)
        if int(out.max()) * self._factor > LARGEST << self._shift:
            raise NetworkError(f"{self.node.name}: its sums leave 32 bits; run it with `precision=float64`")
        values = scaled(out, self._factor, self._shift)
        return RealMap(packets[0].start, steps, values, channels, self.shape.height, self.shape.width)


def scaled(values: NDArray[np.signedinteger], factor: int, shift: int) -> NDArray[np.int32]:
    """Return ``values * factor >> shift``, by way of 64 bits."""
    return (values.astype(np.int64) * factor >> shift).astype(np.int32)


class IntegerNamedRows:
    """Fixed-point rows added up by the spikes that name them: the products of SpikingResformer's attention."""

    def __init__(self, node: HeadProduct, shape: Shape, context: Context, scale: NDArray[np.floating]) -> None:
        self.node, self.shape, self.context = node, shape, context
        self._factors, self._bits = scaling(scale.ravel(), 0)

    def reset(self) -> None:
        """Do nothing: a product within a timestep has no state."""

    def step(self, *packets: Packet) -> RealMap:
        """Take spikes and fixed-point numbers of some timesteps and return the sums."""
        spikes, reals = packets
        assert isinstance(spikes, SpikeMap)
        assert isinstance(reals, RealMap)
        node, shape, heads = self.node, self.shape, self.node.heads
        size = reals.channels // (heads * node.parts)
        out = aligned((spikes.steps, shape.positions, padded(shape.channels)), np.int32)
        out[:] = 0
        dense = spikes.dense().astype(np.float64).reshape(spikes.steps, shape.positions, heads, -1)
        length = shape.channels // heads

        for unit in range(spikes.steps * heads):  # sums of int32 are exact in float64
            t, h = divmod(unit, heads)
            begin = (h * node.parts + node.part) * size
            rows = reals.values[t if len(reals.values) > 1 else 0, :, begin : begin + size].astype(np.float64)
            product = dense[t, :, h] @ (rows.T if node.rows == "channels" else rows)
            values = scaled(product.astype(np.int64), int(self._factors[h]), self._bits)
            out[t, :, h * length : (h + 1) * length] = values
        return RealMap(spikes.start, spikes.steps, out, shape.channels, shape.height, shape.width)


class IntegerTokenAverage:
    """Mean over the positions of each timestep."""

    def __init__(self, context: Context) -> None:
        self.context = context

    def reset(self) -> None:
        """Do nothing: the mean over tokens has no state."""

    def step(self, *packets: Packet) -> RealMap:
        """Return one position per timestep."""
        real = as_real(packets[0], self.context)
        sums = real.values.sum(axis=1, dtype=np.int64, keepdims=True)
        means = (sums // real.values.shape[1]).astype(np.int32)
        return RealMap(real.start, real.steps, means, real.channels, 1, 1)


class IntegerTimeAverage(TimeAverage):
    """Mean over all timesteps; emits after the last."""

    def taken(self, kept: NDArray[Any] | None, frame: NDArray[Any]) -> NDArray[Any]:
        """Return the sum of the timesteps up to a frame's."""
        wide: NDArray[Any] = frame.astype(np.int64)
        return wide if kept is None else kept + wide

    def after(self, kept: NDArray[Any], timesteps: int) -> NDArray[Any]:
        """Return what would be emitted if as many timesteps were all."""
        mean: NDArray[Any] = (kept // timesteps).astype(np.int32)
        return mean


class IntegerAverage(Average):
    """Average over windows, or sum of fixed-point numbers; sums of spikes and integers are integers as everywhere."""

    def __init__(
        self, node: AveragePool | SumPool | AdaptiveAveragePool, source: Shape, target: Shape, context: Context
    ) -> None:
        super().__init__(node, source, target, context)
        self._plain = self._copies or target.kind == "integers"

    def step(self, *packets: Packet) -> Packet:
        """Return the map of that size."""
        if self._plain:
            return super().step(*packets)
        real = as_real(packets[0], self.context)
        sums = self._summed(real.values.astype(np.int64), real)
        if not isinstance(self.node, SumPool):
            counts = np.multiply.outer(*map(self._shares, (0, 1))).reshape(-1, 1)
            sums = sums // counts
        height, width = self.target.height, self.target.width
        return RealMap(real.start, real.steps, sums.astype(np.int32), real.channels, height, width)


class IntegerVoting(Voting):
    """Mean over groups of neighbouring channels, in fixed-point numbers."""

    def _means(self, groups: NDArray[Any]) -> NDArray[Any]:
        """Return the mean of the last axis, rounded down."""
        means: NDArray[np.int32] = (groups.sum(axis=3, dtype=np.int64) // self.node.voters).astype(np.int32)
        return means


class IntegerPadding(Padding):
    """A border of fixed-point numbers around the map."""

    def __init__(self, node: Pad, context: Context, border: NDArray[np.floating]) -> None:
        units: NDArray[Any] = fixed(border, context.fraction)
        super().__init__(node, context, units)


class IntegerScaling:
    """Constants times a map, and constants added."""

    def __init__(
        self,
        node: Scale,
        source: Shape,
        shape: Shape,
        weights: Mapping[str, NDArray[np.floating]],
        context: Context,
    ) -> None:
        self.node, self.shape, self.context = node, shape, context
        scale, shift = (constant(node, name, shape, weights) for name in node.constants)
        real = source.kind == "real"
        factors, self._bits = scaling(scale * source.unit, 0 if real else context.fraction)
        self._factors = _padded(np.broadcast_to(factors, scale.shape))
        self._shift = _padded(fixed(shift, context.fraction))

    def reset(self) -> None:
        """Constants are no state."""

    def step(self, *packets: Packet) -> RealMap:
        """Return ``x * scale + shift``: of spikes and integers as they are, which the factors turn into units."""
        (packet,) = packets
        steps = packet.steps
        if isinstance(packet, RealMap):
            values: NDArray[Any] = packet.values[..., : packet.channels]
            steps = len(packet.values)
        else:
            values = as_integers(packet)
        channels = self.shape.channels
        wide = (values.astype(np.int64) * self._factors[:, :channels] >> self._bits) + self._shift[:, :channels]
        out = np.zeros((steps, self.shape.positions, padded(channels)), np.int32)
        out[..., :channels] = wide
        return RealMap(packet.start, packet.steps, out, channels, self.shape.height, self.shape.width)


def _padded(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return constants [1 or P, C] with zeros behind the last channel."""
    wide = np.zeros((len(rows), padded(rows.shape[1])), np.int64)
    wide[:, : rows.shape[1]] = rows
    return wide
