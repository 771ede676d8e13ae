"""Lists of octets of a packet (`evsim.kernels.octets`), made once for all layers that want them alike."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from evsim.kernels.lists import ROOM, add_up
from evsim.kernels.octets import LINE, OCTET, Octets, count_octets, fill_octets
from evsim.layers.context import Context
from evsim.layers.segments import by_group, planes_of
from evsim.spikes import WORD, IntegerMap, SpikeMap

JOINED_WORDS, WORDS = 1, 4
"""Words of a tile: where rows are joined, and else: entries are of one byte."""


LARGEST = 1 << 24
"""Bytes of entries up to which there is room for all that could fire: nobody has to wait until spikes are counted."""


def octets(
    packet: SpikeMap | IntegerMap,
    context: Context,
    *,
    flat: bool = False,
    groups: int = 1,
    stride: int = 1,
    joined: bool = False,
    words: int = WORDS,
) -> Octets:
    """Return the packet's lists.

    Parameters
    ----------
    packet, context
        Spikes, or integers, in planes of bits.
    flat
        Whether the map is taken as one row, for layers in which positions do not mix.
    groups
        Into how many the channels are cut, whole words of them.
    stride
        By how much the inputs of neighbouring outputs lie apart.
    joined
        Whether the rows of windows of three are joined; a tile is of 64 channels then.
    words
        Words of a tile otherwise, at most 4.
    """
    words = JOINED_WORDS if joined else words
    key = ("octets", f"{flat} {groups} {stride} {joined} {words}")
    if key not in packet.lists:
        packet.lists[key] = _made(packet, context, flat, groups, stride, joined, words)
    made: Octets = packet.lists[key]
    return made


def _made(
    packet: SpikeMap | IntegerMap, context: Context, flat: bool, groups: int, stride: int, joined: bool, tile: int
) -> Octets:
    if groups > 1 or stride > 1 or isinstance(packet, IntegerMap):  # NumPy looks at what is there
        context.workers.finish()
    planes = planes_of(packet, context) if isinstance(packet, IntegerMap) else packet.words[np.newaxis]
    count, steps, positions, width = planes.shape
    rows, line = (1, positions) if flat else (packet.height, packet.width)
    maps = by_group(planes.reshape(count * steps, -1, width), groups, count)
    width //= groups
    if stride > 1:
        spread = np.pad(maps.reshape(-1, rows, line, width), ((0, 0), (0, 0), (0, -line % stride), (0, 0)))
        line = spread.shape[2] // stride
        apart = spread.reshape(len(spread), rows, line, stride, width).transpose(0, 3, 1, 2, 4)
        maps = np.ascontiguousarray(apart)
    lines = maps.reshape(-1, line, width)
    units = -(-width // tile) * (len(lines) // rows) * -(-line // OCTET)
    most = rows * tile * WORD * OCTET + ROOM  # entries of a unit, whatever fires, and what is written too much
    if units * most <= LARGEST:
        bases = _rooms(units, most)
    else:
        bases = np.empty(units + 1, np.int64)
        context.workers.share(count_octets, units, (lines, rows, tile, bases), 40 * lines.size)
        add_up(bases)
    entries = np.empty((int(bases[-1]) + ROOM,), np.uint8)
    starts = np.empty((units * (rows + 1) * LINE,), np.uint32)
    arguments = lines, rows, tile, joined, bases, starts, entries
    context.workers.post(fill_octets, units, arguments, 200 * lines.size)
    return Octets(entries, starts, 64 * tile, line, count, joined)


@functools.lru_cache(64)
def _rooms(units: int, most: int) -> NDArray[np.int64]:
    """Return where the entries of each unit begin, where there is room for all that it can have."""
    return np.arange(0, (units + 1) * most, most, dtype=np.int64)
