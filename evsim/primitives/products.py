"""Primitives between spikes: sums, masks, and the products of attention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from evsim.errors import NetworkError
from evsim.primitives.node import Kind, Node, Order, Shape

AttentionKind = Literal["ssa", "token-qk", "sdsa", "dssa"]
"""Spiking self-attention; QKFormer's token attention; Spike-driven Transformer's; SpikingResformer's."""

Operations = tuple[tuple[str, str], ...]
"""Pairs of an operation's name and the node whose spikes it counts."""


@dataclass(frozen=True)
class Add(Node):
    """Residual addition. Spikes plus spikes are integers; anything plus real values is real."""

    arity: ClassVar[int] = 2

    def infer(self, sources: tuple[Shape, ...]) -> Shape:
        """Return the sum's shape; integers of different units add up to real values."""
        self._alike(sources, "adds")
        left, right = sources
        real = "real" in (left.kind, right.kind) or left.unit != right.unit
        kind: Kind = "real" if real else "integers"
        return Shape(kind, *left.size, 1.0 if real else left.unit)

    def guess(self, sources: tuple[Shape | None, ...]) -> Shape | None:
        """Return the shape of the source that has one: both are of one size."""
        known = next((source for source in sources if source), None)
        return known and self.infer((known, known))


@dataclass(frozen=True)
class And(Node):
    """Spikes where both fired: ``a b``."""

    arity: ClassVar[int] = 2

    def infer(self, sources: tuple[Shape, ...]) -> Shape:
        """Return the spikes' shape."""
        return _gated(self, sources)


@dataclass(frozen=True)
class IAnd(Node):
    """Spikes of the first where the second did not fire: ``a (1 - b)``."""

    arity: ClassVar[int] = 2

    def infer(self, sources: tuple[Shape, ...]) -> Shape:
        """Return the spikes' shape."""
        return _gated(self, sources)


@dataclass(frozen=True)
class Mask(Node):
    """Spikes of the first source where the mask, the second, fired.

    A mask of one position and all channels goes by channel; one of all positions has a channel per head and goes by
    token and head, channel c belonging to head ``c // (channels / heads)``.
    """

    arity: ClassVar[int] = 2

    def infer(self, sources: tuple[Shape, ...]) -> Shape:
        """Return the spikes' shape."""
        values, mask = sources
        _expect_spikes(self, sources)
        by_channel = mask.positions == 1 and mask.channels == values.channels
        by_token = (mask.height, mask.width) == (values.height, values.width) and values.channels % mask.channels == 0
        self._expect(by_channel or by_token, mask, f"a mask by channel, or by token and head, of {values}", 1)
        return values


@dataclass(frozen=True)
class HeadSum(Node):
    """Sum over each head's channels, at every token: integers, one channel per head.

    It is the work of token attention (QKFormer) and owns its row: one operation per spike that it adds. `operations`
    says what else the row shows: name and the node whose spikes it counts, such as ("mask_spikes", "attn_lif").
    """

    heads: int
    operations: Operations = ()

    def infer(self, sources: tuple[Shape, ...]) -> Shape:
        """Return the map of sums."""
        (source,) = sources
        _expect_spikes(self, sources)
        _check_operations(self, self.operations)
        self._divides(source.channels, self.heads)
        return Shape("integers", self.heads, source.height, source.width)

    def mentions(self) -> tuple[str, ...]:
        """Return the nodes whose spikes its row shows."""
        return tuple(name for _, name in self.operations)

    def largest(self, sources: tuple[int, ...], shapes: tuple[Shape, ...]) -> int:  # noqa: ARG002 - spikes are 1
        """Return the channels of a head: all may fire."""
        return shapes[0].channels // self.heads


@dataclass(frozen=True)
class TokenSum(Node):
    """Sum over all tokens, of every channel: integers at one position.

    It is the work of spike-driven self-attention (Spike-driven Transformer), whose `heads` share no sums; it owns its
    row, with `operations` as of a `HeadSum`.
    """

    heads: int = 1
    operations: Operations = ()

    def infer(self, sources: tuple[Shape, ...]) -> Shape:
        """Return one position of sums."""
        (source,) = sources
        _expect_spikes(self, sources)
        _check_operations(self, self.operations)
        self._divides(source.channels, self.heads)
        return Shape("integers", source.channels, 1, 1)

    def mentions(self) -> tuple[str, ...]:
        """Return the nodes whose spikes its row shows."""
        return tuple(name for _, name in self.operations)

    def largest(self, sources: tuple[int, ...], shapes: tuple[Shape, ...]) -> int:  # noqa: ARG002 - spikes are 1
        """Return the number of tokens: all may fire."""
        return shapes[0].positions


@dataclass(frozen=True)
class SpikingSelfAttention(Node):
    """Softmax-free attention on spikes: ``scale * q (k^T v)`` per head (Spikingformer, eq. 8).

    Inputs are q, k, v, in this order; channel c belongs to head ``c // (channels / heads)``. `order` is the order
    in which the original code multiplies: it changes the operation count, never the result. q, k and v may be
    integers, and v may have channels of its own number.
    """

    heads: int
    scale: float = 0.125
    order: Order = "q(kv)"
    arity: ClassVar[int] = 3

    def infer(self, sources: tuple[Shape, ...]) -> Shape:
        """Return a map of real values (integers times `scale` and the units of the sources)."""
        q, _, v = sources
        for name, source, channels in zip(self.inputs, sources, (q.channels, q.channels, v.channels), strict=True):
            same = (source.channels, source.height, source.width) == (channels, q.height, q.width)
            if not same or source.kind == "real" or source.kind != q.kind:
                raise NetworkError(
                    f"{self.name} wants three spike maps of one shape, but {self.inputs[0]} gives {q} "
                    f"and {name} gives {source}"
                )
            if source.unit != q.unit:
                raise NetworkError(
                    f"{self.name} wants q, k and v in one unit, but {self.inputs[0]} counts in {q.unit:g} "
                    f"and {name} in {source.unit:g}"
                )
        self._divides(q.channels, self.heads)
        self._divides(v.channels, self.heads)
        self._single(scale=self.scale)
        return Shape("real", *v.size)


@dataclass(frozen=True)
class HeadProduct(Node):
    """Real rows added up by spikes, per head: for every spike a row, times the head's `scale` (SpikingResformer).

    Inputs are spikes [N tokens, heads x J] and real values [M tokens, heads x parts x K], of whose channels each head
    uses its part number `part`. A spike of channel j names row j of the head's K x M matrix, the values of one channel
    over all tokens, where `rows` are "channels" (then J = K, and the output has heads x M channels); where they are
    "tokens", row j of its M x K matrix (J = M, heads x K channels). The parameter `scale` has one number per head.
    """

    heads: int
    rows: Literal["channels", "tokens"]
    part: int = 0
    parts: int = 2
    arity: ClassVar[int] = 2

    def infer(self, sources: tuple[Shape, ...]) -> Shape:
        """Return the map of sums at every token of the spikes."""
        spikes, reals = sources
        self._expect(spikes.kind == "spikes", spikes, "spikes")
        self._expect(reals.kind == "real", reals, "real values", 1)
        self._at_least(1, parts=self.parts)
        self._divides(spikes.channels, self.heads)
        self._divides(reals.channels, self.heads * self.parts)
        if not 0 <= self.part < self.parts:
            raise NetworkError(f"{self.name}: part {self.part} is none of {self.parts} parts")
        inner, (rows, length) = spikes.channels // self.heads, self.matrix(reals)
        self._expect(inner == rows, spikes, f"{rows} channels in each of {self.heads} heads")
        return Shape("real", self.heads * length, spikes.height, spikes.width)

    def matrix(self, reals: Shape) -> tuple[int, int]:
        """Return number and length of the rows of each head."""
        channels = reals.channels // (self.heads * self.parts)
        return (channels, reals.positions) if self.rows == "channels" else (reals.positions, channels)

    def parameters(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of the scale."""
        return {"scale": (self.heads,)}


def _gated(node: Node, sources: tuple[Shape, ...]) -> Shape:
    """Return the shape of spikes that let through spikes."""
    _expect_spikes(node, sources)
    node._alike(sources, "joins")  # noqa: SLF001 - a node's own check
    return sources[0]


def _expect_spikes(node: Node, sources: tuple[Shape, ...]) -> None:
    for port, source in enumerate(sources):
        node._expect(source.kind == "spikes", source, "spikes", port)  # noqa: SLF001 - a node's own check


def _check_operations(node: Node, operations: Operations) -> None:
    """Refuse names of operations that no file can hold, and one that stands twice."""
    names = [name for name, _ in operations]
    if not all(name.isidentifier() and len(name) < 100 for name in names) or len(set(names)) < len(names):
        raise NetworkError(f"{node.name}: operations must have names of their own, of letters, digits and _")
