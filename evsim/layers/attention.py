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

        def work(first: int, last: int) -> None:
            attend(first, last, node.heads, self.head_dim, q, k, v, scale, context.block, out)

        context.workers.share(steps * node.heads, work, 8 * steps * tokens * self.shape.channels)
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
        sums = np.empty(v.shape, np.int64)
        self.context.workers.share(
            steps * self.node.heads,
            lambda first, last: attend_integers(first, last, self.node.heads, q, k, v, sums),
            8 * q.size * (channels // self.node.heads),
        )
        if int(sums.max(initial=0)) > EXACT[self.context.dtype]:
            raise NetworkError(f"{self.node.name}: sums are not exact; give `precision=float64`")
        out = aligned((steps, tokens, padded(channels)), self.context.dtype)
        out[..., channels:] = 0.0
        out[..., :channels] = sums
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
        steps, tokens = reals.values.shape[0], self.reals.positions
        whole = reals.values[..., : reals.channels].reshape(steps, tokens, node.heads, node.parts, -1)
        axes = (0, 2, 3, 1) if node.rows == "channels" else (0, 2, 1, 3)
        rows = np.ascontiguousarray(whole[:, :, :, node.part].transpose(axes))
        if steps < spikes.steps:  # a static map stands for all of them
            rows = np.broadcast_to(rows, (spikes.steps, *rows.shape[1:]))
        dense = spikes.dense()
        out = aligned((spikes.steps, shape.positions, padded(shape.channels)), self.context.dtype)
        out[..., shape.channels :] = 0.0
        self.context.workers.share(
            spikes.steps * shape.positions,
            lambda first, last: add_named_rows(first, last, dense, rows, self.scale, out),
            dense.size * rows.shape[3],
        )
        return RealMap(spikes.start, spikes.steps, out, shape.channels, shape.height, shape.width)


def as_integers(packet: Packet) -> NDArray[np.int32]:
    """Return spikes or integers as int32 [T, P, C]."""
    if isinstance(packet, SpikeMap):
        return packet.dense().astype(np.int32)
    assert isinstance(packet, IntegerMap)
    return packet.values
