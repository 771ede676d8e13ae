"""Running forms of SpikingSelfAttention, and of the products of real rows by spikes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from evsim.errors import NetworkError
from evsim.kernels.attention import attend
from evsim.kernels.products import add_named_rows, attend_integers
from evsim.kernels.threads import aligned
from evsim.kernels.vector import padded
from evsim.layers.context import Context
from evsim.primitives import HeadProduct, Shape, SpikingSelfAttention
from evsim.spikes import IntegerMap, Packet, RealMap, SpikeMap

EXACT = {np.dtype(np.float32): 2**24, np.dtype(np.float64): 2**53}
"""Integers up to here are exact."""

MOST_TOKENS = 2**16 - 1
"""Tokens in which a channel can fire: they are counted in 16 bits."""


class Attention:
    """Attention on spike maps of q, k and v."""

    defers = True

    def __init__(self, node: SpikingSelfAttention, shape: Shape, context: Context) -> None:
        self.node, self.shape, self.context = node, shape, context
        self.head_dim = shape.channels // node.heads
        tokens = shape.positions
        if tokens > MOST_TOKENS:
            raise NetworkError(f"{node.name} has {tokens} tokens; evsim attends to at most {MOST_TOKENS}")
        if tokens * self.head_dim > EXACT[context.dtype]:
            raise NetworkError(f"{node.name} has {tokens} tokens: sums are not exact; give `precision=float64`")

    def reset(self) -> None:
        """Attention has no state."""

    def step(self, *packets: Packet) -> RealMap:
        """Take q, k and v of some timesteps and return scale * q (k^T v)."""
        q, k, v = (packet.words for packet in packets if isinstance(packet, SpikeMap))
        steps, tokens, _ = q.shape
        context, node = self.context, self.node
        out = aligned((steps, tokens, padded(self.shape.channels)), context.dtype)
        out[..., self.shape.channels :] = 0.0
        scale = context.dtype.type(node.scale)

        arguments = node.heads, self.head_dim, q, k, v, scale, context.block, out, context.empty()
        context.workers.post(attend, steps * node.heads, arguments, 8 * steps * tokens * self.shape.channels)
        shape = self.shape
        return RealMap(packets[0].start, steps, out, shape.channels, shape.height, shape.width)


class IntegerAttention:
    """Attention on integers, or on spikes of which v has channels of its own number."""

    def __init__(self, node: SpikingSelfAttention, sources: tuple[Shape, ...], shape: Shape, context: Context) -> None:
        self.node, self.shape, self.context = node, shape, context
        q, k, v = sources
        self._scale = node.scale * q.unit * k.unit * v.unit

    def reset(self) -> None:
        """Attention has no state."""

    def step(self, *packets: Packet) -> RealMap:
        """Take q, k and v of some timesteps and return scale * q (k^T v), in the units of all three."""
        q, k, v = (as_integers(packet) for packet in packets)
        steps, tokens, channels = v.shape
        out = aligned((steps, tokens, padded(channels)), self.context.dtype)
        out[..., channels:] = 0.0
        self.context.workers.share(
            attend_integers,
            steps * self.node.heads,
            (self.node.heads, q, k, v, out),
            8 * q.size * (channels // self.node.heads),
        )
        if not out.max() <= EXACT[self.context.dtype]:
            raise NetworkError(f"{self.node.name}: sums are not exact; give `precision=float64`")
        out *= self.context.dtype.type(self._scale)
        return RealMap(packets[0].start, steps, out, channels, self.shape.height, self.shape.width)


class NamedRows:
    """Real rows added up by the spikes that name them: the products of SpikingResformer's attention."""

    def __init__(
        self, node: HeadProduct, reals: Shape, shape: Shape, context: Context, scale: NDArray[np.floating]
    ) -> None:
        self.node, self.reals, self.shape, self.context = node, reals, shape, context
        self.scale = scale.astype(context.dtype)

    def reset(self) -> None:
        """Do nothing: a product within a timestep has no state."""

    def step(self, *packets: Packet) -> RealMap:
        """Take spikes and real values of some timesteps and return the sums."""
        spikes, reals = packets
        assert isinstance(spikes, SpikeMap)
        assert isinstance(reals, RealMap)
        node, shape = self.node, self.shape
        size, by_channel = reals.channels // (node.heads * node.parts), node.rows == "channels"
        block = self.context.block
        out = aligned((spikes.steps, shape.positions, padded(shape.channels)), self.context.dtype)
        out[..., shape.channels :] = 0.0
        self.context.workers.share(
            add_named_rows,
            spikes.steps * node.heads,
            (spikes.words, reals.values, node.part, node.parts, size, by_channel, self.scale, block, out),
            spikes.steps * shape.positions * (spikes.channels // node.heads) * shape.channels,
        )
        return RealMap(spikes.start, spikes.steps, out, shape.channels, shape.height, shape.width)


def as_integers(packet: Packet) -> NDArray[np.int32]:
    """Return spikes or integers as int32 [T, P, C]."""
    if isinstance(packet, SpikeMap):
        return packet.dense().astype(np.int32)
    assert isinstance(packet, IntegerMap)
    return packet.values
