"""The sum of a layer with weights, added up once more in the order in which the kernels added it.

So the additions that are shown can be held against the engine's own sum, to the last bit. The orders are those that
`evsim.kernels.synapses` (tap, then channel), `evsim.kernels.quads` (what four neighbours have in common first) and
`evsim.kernels.grouped` tell.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from evsim.explain.reads import Part, Reads, window_of
from evsim.explain.watch import Watched
from evsim.kernels.lists import TILE_WORDS
from evsim.kernels.quads import QUAD
from evsim.layers.grouped import Grouped
from evsim.layers.synapses import Synapses
from evsim.primitives import Conv2d, Linear

TILE = TILE_WORDS * 64
"""Input channels that are added up before the next."""

Values = NDArray[Any]


def replayed(seen: Watched, name: str, t: int, position: int, made: Reads) -> np.floating | None:
    """Return the sum of a layer with weights, in the order of the engine; None for nodes that have no such order."""
    layer = seen.stages[name].layer
    if isinstance(layer, Synapses):
        (part,) = made.parts
        total = _of_quads(seen, layer, t, position, part) if "quads" in layer.layout else _in_order(seen, part)
    elif isinstance(layer, Grouped):
        (part,) = made.parts
        wide = seen.shape(part.source).kind == "integers" and not layer.depthwise
        total = _in_order(seen, part, wide=wide)
    else:
        return None
    sum_: np.floating = total + seen.real(made.constant)
    return sum_


def _in_order(seen: Watched, part: Part, *, wide: bool = False) -> np.floating:
    """Add one by one; where `wide`, each product and addition is one of float64, rounded once."""
    values = seen.values(part.source, part.t, part.positions, part.channels)
    (active,) = np.nonzero(values)
    weights, factors = part.weights[active], values[active]
    if wide:
        total = seen.real(0)
        for weight, factor in zip(weights, factors, strict=True):
            total = seen.real(np.float64(total) + np.float64(weight) * np.float64(factor))
        return total
    return _added(seen, weights * factors.astype(seen.real))


def _added(seen: Watched, products: NDArray[np.floating], first: np.floating | None = None) -> np.floating:
    """Add numbers one by one, each sum rounded to the precision of the run."""
    terms = products if first is None else np.concatenate([np.array([first]), products])
    if not len(terms):
        return seen.real(0)
    # a running sum cannot be added in pairs, as a sum is
    total: np.floating = np.add.accumulate(terms, dtype=seen.real)[-1]
    return total


def _of_quads(seen: Watched, layer: Synapses, t: int, position: int, part: Part) -> np.floating:
    """Add up by plane of bits, tap and tile what four neighbours share, what two do, and the rest."""
    node, source = layer.node, layer.source
    target, width = layer.target, node.in_channels // node.groups
    window = list(window_of(node, source, target, position))
    weights = part.weights.reshape(len(window), width)
    first = int(part.channels[0]) if len(part.channels) else 0
    channels = np.arange(first, first + width)
    quads = [_quad(seen, node, layer, t, place, channels) for _, place in window]
    planes = max(1, int(_most(seen, part.source, t)).bit_length())
    total = seen.real(0)
    for plane in reversed(range(planes)):
        total = total + total
        for (members, own), row in zip(quads, weights, strict=True):
            bits = (members >> plane) & 1 != 0
            for begin in range(0, width, TILE):
                tile = slice(begin, begin + TILE)
                total = _add_quad(seen, total, bits[:, tile], own, row[tile])
    return total


def _add_quad(
    seen: Watched, total: np.floating, bits: NDArray[np.bool_], own: int, row: NDArray[np.floating]
) -> np.floating:
    """Add the weights of a tile, [channels], to the sum of member `own` of a quad, whose spikes are bits [4, ...]."""
    pair = bits[0] & bits[1] if own < 2 else bits[2] & bits[3]
    every = bits.all(axis=0)
    shared = _added(seen, row[every])
    shared = _added(seen, row[pair & ~every], shared)
    return _added(seen, row[bits[own] & ~pair], total + shared)


def _quad(
    seen: Watched, node: Conv2d | Linear, layer: Synapses, t: int, place: int, channels: NDArray[np.int64]
) -> tuple[Values, int]:
    """Return the values [4, channels] of the quad that a position lies in, and which of the four it is."""
    source, stride = layer.source, node.window[1][1]
    line = source.positions if layer.layout == "flat quads" else source.width
    row, column = divmod(place, line)
    turn, at = column % stride, column // stride
    begin = at // QUAD * QUAD
    columns = [(begin + i) * stride + turn for i in range(QUAD)]
    members = np.zeros((QUAD, len(channels)), np.int64)
    for i, each in enumerate(columns):
        if each < line:
            places = np.full(len(channels), row * line + each)
            members[i] = seen.values(node.inputs[0], t, places, channels)
    return members, at - begin


def _most(seen: Watched, name: str, t: int) -> int:
    """Return the greatest integer of a map; 1 of spikes."""
    packet = seen.packets[name, t]
    return int(packet.values.max(initial=0)) if seen.shape(name).kind == "integers" else 1  # type: ignore[union-attr]
