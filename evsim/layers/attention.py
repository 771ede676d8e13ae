"""Running form of SpikingSelfAttention."""

from __future__ import annotations

import numpy as np

from evsim.errors import NetworkError
from evsim.kernels.attention import attend
from evsim.kernels.threads import aligned
from evsim.kernels.vector import padded
from evsim.layers.context import Context
from evsim.network import Shape, SpikingSelfAttention
from evsim.spikes import Packet, RealMap, SpikeMap

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
