"""What a value of each node is made of: the values that it reads, and what each is multiplied by.

One handler per primitive, entered by ``@reads(Conv2d)``, as in `evsim.workload`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from evsim.errors import NetworkError
from evsim.explain.watch import Ints, Watched
from evsim.layers.synapses import folded
from evsim.primitives import (
    LIF,
    AdaptiveAveragePool,
    Add,
    And,
    AveragePool,
    Concatenate,
    Conv2d,
    Delay,
    Flatten,
    HeadProduct,
    HeadSum,
    IAnd,
    Linear,
    Mask,
    MaxPool,
    MultiSpike,
    Neuron,
    Node,
    Pad,
    Scale,
    Shape,
    Slice,
    SpikingSelfAttention,
    SumPool,
    TimeMean,
    TimeReduction,
    TokenMean,
    TokenSum,
    Vote,
)


@dataclass(frozen=True, eq=False)
class Part:
    """Values of one source at one timestep.

    Attributes
    ----------
    source, t
        Which node, when.
    positions, channels
        int64 [n], in the order in which they are added.
    weights
        [n], what each is multiplied by, in the precision of the run.
    """

    source: str
    t: int
    positions: Ints
    channels: Ints
    weights: NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Reads:
    """What a value is made of.

    Attributes
    ----------
    parts
        What is read.
    constant
        What is added besides: bias and shift of BatchNorm.
    joins
        "sum"; or "max", the greatest counts; "and", all must be there; "not", the second must not.
    """

    parts: tuple[Part, ...]
    constant: float = 0.0
    joins: Literal["sum", "max", "and", "not"] = "sum"


Handler = Callable[[Watched, Any, int, int, int], Reads]
N = TypeVar("N", bound=Node)
READS: dict[type[Node], Handler] = {}
"""Node type to ``(watched, node, t, position, channel) -> Reads``."""


def reads(*kinds: type[Node]) -> Callable[[Handler], Handler]:
    """Enter a function as the one that tells what values of these node types are made of."""

    def enter(handler: Handler) -> Handler:
        READS.update(dict.fromkeys(kinds, handler))
        return handler

    return enter


def read(seen: Watched, name: str, t: int, position: int, channel: int) -> Reads:
    """Return what a value of a node is made of.

    Raises
    ------
    NetworkError
        If nobody has told of a node of its type.
    """
    node = seen.network.node(name)
    if type(node) not in READS:
        raise NetworkError(
            f"{name} is a {type(node).__name__}, and nobody has told what its values are made of; "
            f"enter it in evsim/explain/reads.py by @reads({type(node).__name__})"
        )
    return READS[type(node)](seen, node, t, position, channel)


def _part(seen: Watched, node: Node, port: int, t: int, places: Ints, channels: Ints, weight: float = 1.0) -> Part:
    """Return values that count alike; integers that are read as real numbers by their unit."""
    source = node.inputs[port]
    unit = seen.shape(source).unit if seen.shape(node.name).kind == "real" else 1.0
    places, channels = np.broadcast_arrays(np.asarray(places, np.int64), np.asarray(channels, np.int64))
    return Part(source, t, places, channels, np.full(len(places), weight * unit, seen.real))


def _one(seen: Watched, node: Node, port: int, t: int, position: int, channel: int, weight: float = 1.0) -> Part:
    return _part(seen, node, port, t, np.array([position]), np.array([channel]), weight)


@reads(LIF, Neuron, MultiSpike)
def _neurons(seen: Watched, node: Node, t: int, position: int, channel: int) -> Reads:
    unit = seen.shape(node.inputs[0]).unit
    return Reads((_one(seen, node, 0, t, position, channel, 1.0 if seen.shape(node.name).kind == "real" else unit),))


def window_of(node: Conv2d | Linear, source: Shape, target: Shape, position: int) -> Iterator[tuple[int, int]]:
    """Yield the taps of the window of an output that lie on the map, and the position that each reads, in order."""
    (height, width), (down, right), (above, before) = node.window
    y, x = divmod(position, target.width)
    if node.window == ((1, 1), (1, 1), (0, 0)):
        yield 0, position
        return
    for tap in range(height * width):
        row = y * down - above + tap // width * node.dilation[0]
        column = x * right - before + tap % width * node.dilation[1]
        if 0 <= row < source.height and 0 <= column < source.width:
            yield tap, row * source.width + column


def scale_and_shift(seen: Watched, node: Conv2d | Linear) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Return scale and shift of each output, BatchNorm and bias folded in, as the running layer folds them."""
    weights = {key: seen.weight(node.name, key) for key in node.parameters() if key != "weight"}
    scale, shift = folded(weights, node.out_channels)
    return scale * seen.shape(node.inputs[0]).unit, np.broadcast_to(shift, node.out_channels).astype(seen.real)


@reads(Conv2d, Linear)
def _synapses(seen: Watched, node: Conv2d | Linear, t: int, position: int, channel: int) -> Reads:
    source, target = (seen.shape(name) for name in (node.inputs[0], node.name))
    scale, shift = scale_and_shift(seen, node)
    width = node.in_channels // node.groups
    first = channel // (node.out_channels // node.groups) * width
    rows = seen.weight(node.name, "weight").reshape(-1, width, node.out_channels)[..., channel]
    window = list(window_of(node, source, target, position))
    taps = np.array([tap for tap, _ in window], np.int64)
    places = np.array([place for _, place in window], np.int64)
    weights = (rows[taps] * np.float64(scale[channel])).astype(seen.real)
    channels = np.tile(np.arange(first, first + width), len(window))
    part = Part(node.inputs[0], t, np.repeat(places, width), channels, weights.reshape(-1))
    return Reads((part,), float(shift[channel]))


@reads(SpikingSelfAttention)
def _attention(seen: Watched, node: SpikingSelfAttention, t: int, position: int, channel: int) -> Reads:
    """Return the values of v at all tokens; the weight of a token is what q of this one and its k have in common."""
    q, k, v = (seen.shape(name) for name in node.inputs)
    size, head = q.channels // node.heads, channel // (v.channels // node.heads)
    channels = np.arange(head * size, (head + 1) * size)
    of_q = seen.values(node.inputs[0], t, np.full(size, position), channels)
    tokens = np.arange(k.positions)
    of_k = seen.values(node.inputs[1], t, np.repeat(tokens, size), np.tile(channels, len(tokens)))
    common = (of_k.reshape(-1, size) @ of_q).astype(np.float64)
    weights = (common * (node.scale * q.unit * k.unit * v.unit)).astype(seen.real)
    return Reads((Part(node.inputs[2], t, tokens, np.full(len(tokens), channel), weights),))


@reads(HeadProduct)
def _head_product(seen: Watched, node: HeadProduct, t: int, position: int, channel: int) -> Reads:
    """Return the real values whose rows the spikes of this token name; the others have weight 0."""
    spikes, reals = (seen.shape(name) for name in node.inputs)
    rows, length = node.matrix(reals)
    head, place = divmod(channel, length)
    factor = float(seen.weight(node.name, "scale")[head])
    named = seen.values(node.inputs[0], t, np.full(rows, position), np.arange(head * rows, (head + 1) * rows))
    begin = (head * node.parts + node.part) * (reals.channels // (node.heads * node.parts))
    inner = np.arange(rows)
    if node.rows == "channels":
        places, channels = np.full(rows, place), begin + inner
    else:
        places, channels = inner, np.full(rows, begin + place)
    assert spikes.kind == "spikes"
    return Reads((Part(node.inputs[1], t, places, channels, (named * factor).astype(seen.real)),))


@reads(HeadSum)
def _head_sum(seen: Watched, node: HeadSum, t: int, position: int, channel: int) -> Reads:
    size = seen.shape(node.inputs[0]).channels // node.heads
    return Reads((_part(seen, node, 0, t, np.array([position]), np.arange(channel * size, (channel + 1) * size)),))


@reads(TokenSum)
def _token_sum(seen: Watched, node: TokenSum, t: int, _position: int, channel: int) -> Reads:
    tokens = np.arange(seen.shape(node.inputs[0]).positions)
    return Reads((_part(seen, node, 0, t, tokens, np.array([channel])),))


@reads(Add)
def _add(seen: Watched, node: Add, t: int, position: int, channel: int) -> Reads:
    return Reads(tuple(_one(seen, node, port, t, position, channel) for port in (0, 1)))


@reads(And)
def _and(seen: Watched, node: And, t: int, position: int, channel: int) -> Reads:
    return Reads(tuple(_one(seen, node, port, t, position, channel) for port in (0, 1)), joins="and")


@reads(IAnd)
def _iand(seen: Watched, node: IAnd, t: int, position: int, channel: int) -> Reads:
    return Reads(tuple(_one(seen, node, port, t, position, channel) for port in (0, 1)), joins="not")


@reads(Mask)
def _mask(seen: Watched, node: Mask, t: int, position: int, channel: int) -> Reads:
    values, mask = (seen.shape(name) for name in node.inputs)
    by_channel = mask.channels == values.channels
    place = 0 if mask.positions == 1 else position
    gate = channel if by_channel else channel // (values.channels // mask.channels)
    parts = _one(seen, node, 0, t, position, channel), _one(seen, node, 1, t, place, gate)
    return Reads(parts, joins="and")


def _pooled(spans: tuple[Any, Any], width: int, target: Shape, position: int) -> Ints:
    """Return the positions of the window of an output; `spans` are the rows and the columns of each."""
    y, x = divmod(position, target.width)
    rows, columns = np.array([*spans[0][y]], np.int64), np.array([*spans[1][x]], np.int64)
    return (rows[:, np.newaxis] * width + columns).reshape(-1)


def _spans(axis: tuple[int, int, int], inner: int, outer: int) -> list[range]:
    kernel, stride, padding = axis
    return [range(max(0, i * stride - padding), min(inner, i * stride - padding + kernel)) for i in range(outer)]


@reads(MaxPool)
def _max_pool(seen: Watched, node: MaxPool, t: int, position: int, channel: int) -> Reads:
    source, target = seen.shape(node.inputs[0]), seen.shape(node.name)
    if node.heads:
        size = source.channels // node.heads
        head, inner = divmod(channel, size)
        axes = [_spans(axis, extent, extent) for axis, extent in zip(node.axes, (source.positions, size), strict=True)]
        tokens, channels = (np.array([*axis[at]]) for axis, at in zip(axes, (position, inner), strict=True))
        places = np.repeat(tokens, len(channels))
        return Reads((_part(seen, node, 0, t, places, np.tile(channels + head * size, len(tokens))),), joins="max")
    rows, columns = node.axes
    spans = _spans(rows, source.height, target.height), _spans(columns, source.width, target.width)
    places = _pooled(spans, source.width, target, position)
    return Reads((_part(seen, node, 0, t, places, np.array([channel])),), joins="max")


@reads(AveragePool)
def _average(seen: Watched, node: AveragePool, t: int, position: int, channel: int) -> Reads:
    rows, columns = node.axes
    return _windowed(seen, node, t, position, channel, 1.0 / (rows[0] * columns[0]))


@reads(SumPool)
def _sum(seen: Watched, node: SumPool, t: int, position: int, channel: int) -> Reads:
    return _windowed(seen, node, t, position, channel, 1.0)


def _windowed(seen: Watched, node: AveragePool | SumPool, t: int, position: int, channel: int, weight: float) -> Reads:
    source, target = seen.shape(node.inputs[0]), seen.shape(node.name)
    rows, columns = node.axes
    spans = _spans(rows, source.height, target.height), _spans(columns, source.width, target.width)
    places = _pooled(spans, source.width, target, position)
    return Reads((_part(seen, node, 0, t, places, np.array([channel]), weight),))


@reads(AdaptiveAveragePool)
def _adaptive(seen: Watched, node: AdaptiveAveragePool, t: int, position: int, channel: int) -> Reads:
    source, target = seen.shape(node.inputs[0]), seen.shape(node.name)
    places = _pooled(node.spans(source), source.width, target, position)
    return Reads((_part(seen, node, 0, t, places, np.array([channel]), 1.0 / len(places)),))


@reads(Flatten)
def _flatten(seen: Watched, node: Flatten, t: int, _position: int, channel: int) -> Reads:
    inner, place = divmod(channel, seen.shape(node.inputs[0]).positions)
    return Reads((_one(seen, node, 0, t, place, inner),))


@reads(Pad)
def _pad(seen: Watched, node: Pad, t: int, position: int, channel: int) -> Reads:
    source = seen.shape(node.inputs[0])
    y, x = (at - node.padding for at in divmod(position, source.width + 2 * node.padding))
    if not (0 <= y < source.height and 0 <= x < source.width):
        return Reads((), float(seen.weight(node.name, "border")[channel]))
    return Reads((_one(seen, node, 0, t, y * source.width + x, channel),))


@reads(Slice)
def _slice(seen: Watched, node: Slice, t: int, position: int, channel: int) -> Reads:
    return Reads((_one(seen, node, 0, t, position, channel + node.start),))


@reads(Concatenate)
def _concatenate(seen: Watched, node: Concatenate, t: int, position: int, channel: int) -> Reads:
    first = seen.shape(node.inputs[0]).channels
    port = int(channel >= first)
    return Reads((_one(seen, node, port, t, position, channel - first * port),))


@reads(Delay)
def _delay(seen: Watched, node: Delay, t: int, position: int, channel: int) -> Reads:
    earlier = t - node.steps
    return Reads((_one(seen, node, 0, earlier, position, channel),) if earlier >= 0 else ())


@reads(Scale)
def _scale(seen: Watched, node: Scale, t: int, position: int, channel: int) -> Reads:
    factor, shift = (_constant(seen, node, name, position, channel) for name in node.constants)
    return Reads((_one(seen, node, 0, t, position, channel, factor),), shift)


def _constant(seen: Watched, node: Scale, name: str, position: int, channel: int) -> float:
    if name not in node.arrays:
        return float(getattr(node, name))
    values = seen.weight(node.name, name)
    rows = values.reshape(-1, values.shape[-1])
    return float(rows[position if name in node.by_neuron else 0, channel])


@reads(Vote)
def _vote(seen: Watched, node: Vote, t: int, position: int, channel: int) -> Reads:
    voters = np.arange(channel * node.voters, (channel + 1) * node.voters)
    return Reads((_part(seen, node, 0, t, np.array([position]), voters, 1.0 / node.voters),))


@reads(TokenMean)
def _token_mean(seen: Watched, node: TokenMean, t: int, _position: int, channel: int) -> Reads:
    tokens = np.arange(seen.shape(node.inputs[0]).positions)
    return Reads((_part(seen, node, 0, t, tokens, np.array([channel]), 1.0 / len(tokens)),))


@reads(TimeMean)
def _time_mean(seen: Watched, node: TimeMean, _t: int, position: int, channel: int) -> Reads:
    steps = range(seen.timesteps)
    return Reads(tuple(_one(seen, node, 0, t, position, channel, 1.0 / len(steps)) for t in steps))


@reads(TimeReduction)
def _time_reduction(seen: Watched, node: TimeReduction, _t: int, position: int, channel: int) -> Reads:
    steps = range(seen.timesteps - 1 if node.reduction == "last" else 0, seen.timesteps)
    joins: Literal["max", "sum"] = "max" if node.reduction == "max" else "sum"
    return Reads(tuple(_one(seen, node, 0, t, position, channel) for t in steps), joins=joins)
