"""Whom a neuron reaches: the layers that read its spikes, and the neurons behind them that they can move."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from evsim.explain.potential import STEPS
from evsim.explain.reads import scale_and_shift, window_of
from evsim.explain.watch import Watched
from evsim.primitives import (
    AdaptiveAveragePool,
    AveragePool,
    Concatenate,
    Conv2d,
    Flatten,
    HeadProduct,
    HeadSum,
    Linear,
    Mask,
    MaxPool,
    Node,
    Pad,
    Shape,
    Slice,
    SpikingSelfAttention,
    SumPool,
    TokenMean,
    TokenSum,
    Vote,
)
from evsim.workload import workload

Bools = NDArray[np.bool_]
Area = tuple[Bools, Bools]
"""Which positions, and which channels at each of them."""

Spread = Callable[[Any, int, Area, tuple[Shape, ...], Shape], Area]
N = TypeVar("N", bound=Node)
SPREADS: dict[type[Node], Spread] = {}
"""Node type to ``(node, port, area, shapes of the sources, shape of the output) -> area``; others map one to one."""


@dataclass(frozen=True, eq=False)
class Reach:
    """A layer that reads the neuron's spikes.

    Attributes
    ----------
    layer, kind
        Its name and primitive.
    fan_out
        Sums of it that a spike is added to: operations of each spike; 0 where it does not add spikes up.
    multiplies
        Whether it multiplies, as it reads integers.
    positions, channels
        How many positions and channels of its output the neuron can move.
    strongest
        The largest weights with which it does: (weight, position, channel), the strongest first.
    """

    layer: str
    kind: str
    fan_out: int
    multiplies: bool
    positions: int
    channels: int
    strongest: tuple[tuple[float, int, int], ...]


@dataclass(frozen=True, eq=False)
class Wave:
    """Neurons that a spike can move, some layers on.

    Attributes
    ----------
    layer, depth
        The layer of neurons, and how many layers of neurons after the spike.
    t
        The timestep; later than the spike's behind a delay.
    area
        What can be moved.
    neurons, fired
        How many neurons these are, and how many of them fired at that timestep.
    """

    layer: str
    depth: int
    t: int
    area: Area
    neurons: int
    fired: int


def spread(*kinds: type[Node]) -> Callable[[Spread], Spread]:
    """Enter a function as the one that tells whom these node types reach."""

    def enter(handler: Spread) -> Spread:
        SPREADS.update(dict.fromkeys(kinds, handler))
        return handler

    return enter


def _any(channels: Bools, groups: int) -> Bools:
    """Return in which of so many groups of neighbouring channels there is one."""
    grouped: Bools = np.logical_or.reduce(channels.reshape(groups, -1), axis=1)
    return grouped


def _everywhere(size: int) -> Bools:
    return np.ones(size, np.bool_)


@spread(Conv2d, Linear)
def _synapses(node: Conv2d | Linear, _port: int, area: Area, sources: tuple[Shape, ...], target: Shape) -> Area:
    positions, channels = area
    groups = channels.reshape(node.groups, -1).any(axis=1)
    reached = np.repeat(groups, node.out_channels // node.groups)
    if node.window == ((1, 1), (1, 1), (0, 0)):
        return positions, reached
    (height, width), (down, right), (above, before) = node.window
    out = np.zeros((target.height, target.width), np.bool_)
    for y, x in zip(*np.nonzero(positions.reshape(sources[0].height, -1)), strict=True):
        for tap in range(height * width):
            row = int(y) + above - tap // width * node.dilation[0]
            column = int(x) + before - tap % width * node.dilation[1]
            inside = 0 <= row < target.height * down and 0 <= column < target.width * right
            if inside and row % down == column % right == 0:
                out[row // down, column // right] = True
    return out.reshape(-1), reached


@spread(MaxPool, AveragePool, SumPool)
def _pool(node: MaxPool, _port: int, area: Area, sources: tuple[Shape, ...], target: Shape) -> Area:
    if getattr(node, "heads", 0):
        return _everywhere(target.positions), _everywhere(target.channels)
    (kernel, stride, padding), (width, right, before) = node.axes
    out = np.zeros((target.height, target.width), np.bool_)
    ends = np.arange(target.height) * stride - padding, np.arange(target.width) * right - before
    for y, x in zip(*np.nonzero(area[0].reshape(sources[0].height, -1)), strict=True):
        rows = (ends[0] <= y) & (y < ends[0] + kernel)
        columns = (ends[1] <= x) & (x < ends[1] + width)
        out |= rows[:, np.newaxis] & columns
    return out.reshape(-1), area[1]


@spread(AdaptiveAveragePool)
def _adaptive(node: AdaptiveAveragePool, _port: int, area: Area, sources: tuple[Shape, ...], _target: Shape) -> Area:
    here = area[0].reshape(sources[0].height, -1)
    rows, columns = node.spans(sources[0])
    out = [[here[r.start : r.stop, c.start : c.stop].any() for c in columns] for r in rows]
    return np.array(out, np.bool_).reshape(-1), area[1]


@spread(SpikingSelfAttention)
def _attention(node: SpikingSelfAttention, port: int, area: Area, _sources: tuple[Shape, ...], target: Shape) -> Area:
    """Return whom q, k or v can move: q its own token, k and v all of them; v its own channels."""
    positions = area[0] if port == 0 else _everywhere(target.positions)
    if port == 2:
        return positions, area[1]
    heads: Bools = _any(area[1], node.heads)
    return positions, np.repeat(heads, target.channels // node.heads)


@spread(HeadProduct)
def _head_product(node: HeadProduct, port: int, area: Area, _sources: tuple[Shape, ...], target: Shape) -> Area:
    if port:
        return _everywhere(target.positions), _everywhere(target.channels)
    return area[0], np.repeat(_any(area[1], node.heads), target.channels // node.heads)


@spread(HeadSum)
def _head_sum(node: HeadSum, _port: int, area: Area, _sources: tuple[Shape, ...], _target: Shape) -> Area:
    heads: Bools = _any(area[1], node.heads)
    return area[0], heads


@spread(TokenSum, TokenMean)
def _tokens(_node: Node, _port: int, area: Area, _sources: tuple[Shape, ...], _target: Shape) -> Area:
    return _everywhere(1), area[1]


@spread(Mask)
def _mask(_node: Mask, port: int, area: Area, sources: tuple[Shape, ...], target: Shape) -> Area:
    if port == 0:
        return area
    positions = _everywhere(target.positions) if sources[1].positions == 1 else area[0]
    return positions, np.repeat(area[1], target.channels // sources[1].channels)


@spread(Flatten)
def _flatten(_node: Flatten, _port: int, area: Area, _sources: tuple[Shape, ...], _target: Shape) -> Area:
    return _everywhere(1), np.outer(area[1], area[0]).reshape(-1)


@spread(Pad)
def _pad(node: Pad, _port: int, area: Area, sources: tuple[Shape, ...], _target: Shape) -> Area:
    return np.pad(area[0].reshape(sources[0].height, -1), node.padding).reshape(-1), area[1]


@spread(Slice)
def _slice(node: Slice, _port: int, area: Area, _sources: tuple[Shape, ...], _target: Shape) -> Area:
    return area[0], area[1][node.start : node.stop]


@spread(Concatenate)
def _concatenate(_node: Concatenate, port: int, area: Area, sources: tuple[Shape, ...], _target: Shape) -> Area:
    other = np.zeros(sources[1 - port].channels, np.bool_)
    return area[0], np.concatenate([other, area[1]] if port else [area[1], other])


@spread(Vote)
def _vote(node: Vote, _port: int, area: Area, _sources: tuple[Shape, ...], _target: Shape) -> Area:
    groups: Bools = _any(area[1], len(area[1]) // node.voters)
    return area[0], groups


def area_of(seen: Watched, name: str, position: int, channel: int) -> Area:
    """Return one neuron as an area."""
    shape = seen.shape(name)
    positions, channels = np.zeros(shape.positions, np.bool_), np.zeros(shape.channels, np.bool_)
    positions[position] = channels[channel] = True
    return positions, channels


def _through(seen: Watched, reader: str, port: int, area: Area) -> Area:
    node = seen.network.node(reader)
    sources = tuple(seen.shape(name) for name in node.inputs)
    handler = SPREADS.get(type(node))
    return handler(node, port, area, sources, seen.shape(reader)) if handler else area


def _readers(seen: Watched, name: str) -> list[tuple[str, int]]:
    return [
        (reader, port)
        for reader in dict.fromkeys(seen.network.consumers()[name])
        for port, source in enumerate(seen.network.node(reader).inputs)
        if source == name
    ]


def reach_of(seen: Watched, name: str, position: int, channel: int, most: int = 3) -> tuple[Reach, ...]:
    """Return the layers that read a neuron's spikes, through pools, gates and delays, with the strongest weights."""
    works, reached = workload(seen.network), []
    waiting = [(name, area_of(seen, name, position, channel))]
    once = {name}
    while waiting:
        here, area = waiting.pop(0)
        for reader, port in _readers(seen, here):
            node, after = seen.network.node(reader), _through(seen, reader, port, area)
            row = works[reader].row
            if row is None and type(node) not in STEPS and seen.shape(reader).kind != "real":
                if reader not in once:
                    once.add(reader)
                    waiting.append((reader, after))
                continue
            synaptic = row is not None and row.synaptic
            outputs = int(after[0].sum()), int(after[1].sum())
            direct = synaptic and here == name
            strongest = _strongest(seen, reader, after, (position, channel), most) if direct else ()
            fan_out = _fan_out(node, area, sources=seen.shape(here), target=seen.shape(reader)) if synaptic else 0
            graded = seen.shape(here).kind != "spikes"
            reached.append(Reach(reader, type(node).__name__, fan_out, graded, *outputs, strongest))
    return tuple(reached)


def _fan_out(node: Node, area: Area, sources: Shape, target: Shape) -> int:
    """Return to how many sums the spikes of an area are added, each its own; behind a pool as if it alone passed."""
    total = 0
    for position in np.flatnonzero(area[0]):
        one = np.zeros_like(area[0])
        one[position] = True
        places, channels = SPREADS[type(node)](node, 0, (one, area[1]), (sources,), target)
        total += int(places.sum()) * int(channels.sum())
    return total


def _strongest(
    seen: Watched, reader: str, area: Area, neuron: tuple[int, int], most: int
) -> tuple[tuple[float, int, int], ...]:
    """Return the largest weights, by magnitude, from a neuron to the outputs of a layer that reads it."""
    position, channel = neuron
    channels = np.flatnonzero(area[1])
    best: list[tuple[float, int, int]] = []
    node: Any = seen.network.node(reader)
    scale, _ = scale_and_shift(seen, node)
    scale = np.broadcast_to(scale, node.out_channels)
    width = node.in_channels // node.groups
    rows = seen.weight(reader, "weight").reshape(-1, width, node.out_channels)[:, channel % width]
    source, target = seen.shape(node.inputs[0]), seen.shape(reader)
    for place in np.flatnonzero(area[0]).tolist():
        taps = [tap for tap, at in window_of(node, source, target, place) if at == position]
        for tap in taps:
            weights = (rows[tap, channels] * scale[channels]).astype(seen.real)
            order = np.argsort(-np.abs(weights), kind="stable")[:most]
            best += [(float(weights[i]), place, int(channels[i])) for i in order]
    return tuple(sorted(best, key=lambda each: -abs(each[0]))[:most])


def waves(seen: Watched, name: str, position: int, channel: int, t: int, depth: int) -> tuple[Wave, ...]:
    """Return the neurons that a spike can move, layer after layer of neurons, down to `depth`.

    What can be moved is a bound: all positions and channels to which some way leads.
    """
    found: dict[tuple[str, int], tuple[int, Area]] = {}
    waiting = [(name, t, 0, area_of(seen, name, position, channel))]
    while waiting:
        here, when, level, area = waiting.pop(0)
        for reader, port in _readers(seen, here):
            node = seen.network.node(reader)
            later = when + node.lag
            if later >= seen.timesteps or node.once:
                continue
            after, deeper = _through(seen, reader, port, area), level + (type(node) in STEPS)
            known = found.get((reader, later))
            both = after if known is None else (after[0] | known[1][0], after[1] | known[1][1])
            if known is not None and all((a == b).all() for a, b in zip(both, known[1], strict=True)):
                continue
            found[reader, later] = (deeper if known is None else min(deeper, known[0])), both
            if deeper < depth or type(node) not in STEPS:
                waiting.append((reader, later, deeper, both))
    rows = [
        _wave(seen, layer, when, level, area)
        for (layer, when), (level, area) in found.items()
        if type(seen.network.node(layer)) in STEPS and 0 < level <= depth
    ]
    ranks = {node.name: rank for rank, node in enumerate(seen.network.nodes)}
    return tuple(sorted(rows, key=lambda wave: (wave.depth, wave.t, ranks[wave.layer])))


def _wave(seen: Watched, layer: str, t: int, depth: int, area: Area) -> Wave:
    places, channels = (np.flatnonzero(each) for each in area)
    values = seen.values(layer, t, np.repeat(places, len(channels)), np.tile(channels, len(places)))
    fired = int(np.count_nonzero(values)) if seen.shape(layer).kind != "real" else 0
    return Wave(layer, depth, t, area, len(values), fired)
