"""Lists of active channels of a packet, in the layout that a layer wants, made once for all layers that want it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from evsim.kernels.counting import spikes_per_position, sum_integers
from evsim.kernels.frames import mark_events
from evsim.kernels.integers import cut_planes
from evsim.kernels.lists import TILE_WORDS, add_up, count_graded, count_segments, fill_graded, fill_segments
from evsim.kernels.quads import ROOM, cut_quads, quads_of
from evsim.kernels.threads import aligned
from evsim.layers.context import Context
from evsim.spikes import WORD, IntegerMap, Segments, SpikeMap

SPARSE = 0.06
"""Rate below which a tile is twice as long: its segments would be all but empty. Below half of it, `SPARSEST` times."""

SPARSEST = 4

NOTHING_SHARED = 0.05
"""Rate below which neighbours have next to nothing in common."""

FEW_EVENTS = 0.2
"""Share of integers that are not 0 up to which they are taken one by one."""

EVENTS = "events", ""
"""Under which the bits of `events` are kept."""

Layout = Literal["tiles", "whole", "joined"]
"""How active channels are listed: by position and tile, with one tile for all channels, or joined (see `Segments`)."""


@dataclass(frozen=True, eq=False)
class Shared:
    """What the positions of each quad have in common (`evsim.kernels.quads`).

    Attributes
    ----------
    parts
        uint64 [quads * ROOM].
    planes
        Of bits, one for spikes.
    """

    parts: NDArray[np.uint64]
    planes: int


def segments(packet: SpikeMap | IntegerMap, context: Context, layout: Layout = "tiles", groups: int = 1) -> Segments:
    """Return the packet's lists of active channels, made at first use and shared by all layers that read it alike.

    Parameters
    ----------
    packet, context
        Spikes or integers, of any size.
    layout
        How they are listed.
    groups
        Into how many the channels are cut, whole words of them; each has lists of its own.
    """
    key = (context.dtype.char, f"{layout} {groups}")
    if key not in packet.lists:
        if isinstance(packet, IntegerMap):
            packet.lists[key] = _graded(packet, context, layout == "joined")
        else:
            packet.lists[key] = _spike_segments(packet, context, layout, groups)
    lists: Segments = packet.lists[key]
    return lists


def quads(
    packet: SpikeMap | IntegerMap, context: Context, *, flat: bool = False, groups: int = 1, stride: int = 1
) -> Shared:
    """Return what the positions of the packet's quads have in common, of integers in planes of bits; kept with it.

    Parameters
    ----------
    packet, context
        As in `segments`.
    flat
        Whether the map is taken as one row, for layers in which positions do not mix: quads reach over its rows' ends.
    groups
        As in `segments`.
    stride
        By how much the inputs of neighbouring outputs lie apart.
    """
    key = ("quads", f"{flat} {groups} {stride}")
    if key not in packet.lists:
        planes = planes_of(packet, context) if isinstance(packet, IntegerMap) else packet.words[np.newaxis]
        packet.lists[key] = _quads(packet, planes, context, flat, groups, stride)
    shared: Shared = packet.lists[key]
    return shared


def events(packet: IntegerMap, context: Context) -> NDArray[np.uint64]:
    """Return as bits which of the packet's values are not 0: words [ceil(N / 64)]; kept with it."""
    if EVENTS not in packet.lists:
        values = packet.values.reshape(-1)
        marks = np.empty(-(-values.size // WORD), np.uint64)
        context.workers.share(mark_events, len(marks), (values, marks), 8 * len(marks))
        packet.lists[EVENTS] = marks
    words: NDArray[np.uint64] = packet.lists[EVENTS]
    return words


def few_events(packet: IntegerMap, context: Context) -> tuple[NDArray[np.uint64], int] | None:
    """Return which of the packet's values are not 0, as `events` does, and how many; None where these are not few."""
    marks = events(packet, context)
    count = int(np.bitwise_count(marks).sum())
    return (marks, count) if count <= FEW_EVENTS * packet.values.size else None


def counted(packet: SpikeMap | IntegerMap, context: Context, groups: int = 1) -> NDArray[np.int64]:
    """Return the sum of each position's values [groups, T, P], of spikes their number; kept with the packet.

    It is there for kernels that are posted later; who looks at it otherwise calls `Workers.finish` first.
    """
    key = ("counts", str(groups))
    if key not in packet.lists:
        if isinstance(packet, SpikeMap):
            if groups > 1:
                context.workers.finish()
            words = by_group(packet.words, groups)
            sums = np.empty(len(words), np.int64)
            context.workers.post(spikes_per_position, len(words), (words, sums), 20 * words.size)
        else:
            values = packet.values.reshape(-1, packet.channels)
            sums = np.empty(len(values), np.int64)
            context.workers.post(sum_integers, len(values), (values, sums), values.size)
        starts = sums.reshape(-1)
        packet.lists[key] = Segments(np.empty(0, np.uint16), starts, 0)
    lists: Segments = packet.lists[key]
    return lists.starts.reshape(groups, packet.steps, -1)


def is_sparse(packet: SpikeMap, context: Context) -> bool:
    """Whether the packet's positions have next to nothing in common; kept with it."""
    key = ("sparse", "")
    if key not in packet.lists:
        counts = counted(packet, context)
        context.workers.finish()
        places = packet.steps * packet.height * packet.width * packet.channels
        packet.lists[key] = int(counts.sum()) < NOTHING_SHARED * places
    return bool(packet.lists[key])


def _quads(
    packet: SpikeMap | IntegerMap,
    planes: NDArray[np.uint64],
    context: Context,
    flat: bool,
    groups: int,
    stride: int,
) -> Shared:
    count, steps, positions, width = planes.shape
    line = positions if flat else packet.width
    if groups > 1 or stride > 1:
        context.workers.finish()
    words = by_group(planes.reshape(count * steps, -1, width), groups, count)
    if stride > 1:
        rows = words.reshape(-1, line, words.shape[1])
        rows = np.pad(rows, ((0, 0), (0, -line % stride), (0, 0)))
        line = rows.shape[1] // stride
        words = np.ascontiguousarray(rows.reshape(len(rows), line, stride, -1).transpose(0, 2, 1, 3))
    words = words.reshape(-1, width // groups)
    total = quads_of(len(words) // line, line, words.shape[1])
    parts = aligned((total * ROOM,), np.uint64)
    context.workers.post(cut_quads, total, (words, line, parts), 200 * total)
    return Shared(parts, count)


def planes_of(packet: IntegerMap, context: Context) -> NDArray[np.uint64]:
    """Return the bits of the values, those of greatest weight first: words [planes, T, P, ceil(channels / 64)]."""
    steps, positions, channels = packet.values.shape
    context.workers.finish()
    count = max(1, int(packet.values.max(initial=0)).bit_length())
    planes = np.empty((count, steps * positions, -(-channels // WORD)), np.uint64)
    values = packet.values.reshape(-1)
    context.workers.share(cut_planes, steps * positions, (values, channels, planes), count * values.size)
    return planes.reshape(count, steps, positions, -1)


def by_group(words: NDArray[np.uint64], groups: int, planes: int = 1) -> NDArray[np.uint64]:
    """Return words [planes * T, P, W] as those of [planes, groups, T, P] in one axis, W / groups of each."""
    maps, positions, width = words.shape
    if groups > 1:
        cut = words.reshape(planes, maps // planes, positions, groups, width // groups)
        words = np.ascontiguousarray(cut.transpose(0, 3, 1, 2, 4))
    return words.reshape(-1, width // groups)


def _spike_segments(packet: SpikeMap, context: Context, layout: Layout, groups: int) -> Segments:
    joined = layout == "joined"
    context.workers.finish()
    words = by_group(packet.words, groups)
    width = words.shape[1]
    tile_words = SPARSEST * TILE_WORDS if layout == "tiles" else width
    extent = packet.channels if joined else 0
    starts = _starts(words, tile_words, context)
    rate = int(starts[-1]) * groups / (len(words) * packet.channels)
    if layout == "tiles" and rate >= SPARSE / 2:
        tile_words = TILE_WORDS if rate >= SPARSE else 2 * TILE_WORDS
        starts = _starts(words, tile_words, context)
    index = np.empty(int(starts[-1]), np.uint16)
    arguments = words, tile_words, starts, index, packet.width, extent
    context.workers.post(fill_segments, len(starts) - 1, arguments, 200 * words.size)
    return Segments(index, starts, tile_words * 64)


def _starts(words: NDArray[np.uint64], tile_words: int, context: Context) -> NDArray[np.int64]:
    rows, width = words.shape
    segments = -(-width // tile_words) * rows
    starts = np.empty(segments + 1, np.int64)
    context.workers.share(count_segments, segments, (words, tile_words, starts), 40 * words.size)
    add_up(starts)
    return starts


def _graded(packet: IntegerMap, context: Context, joined: bool) -> Segments:
    tile = TILE_WORDS * 64
    context.workers.finish()
    steps, positions, channels = packet.values.shape
    values = packet.values.reshape(steps * positions, channels)
    lists = -(-channels // tile) * steps * positions
    starts = np.empty(lists + 1, np.int64)
    context.workers.share(count_graded, lists, (values, tile, starts), 40 * values.size)
    add_up(starts)
    index = np.empty(int(starts[-1]), np.uint16)
    amounts = aligned((len(index),), context.dtype)
    arguments = values, tile, starts, index, amounts, packet.width, channels if joined else 0
    context.workers.post(fill_graded, lists, arguments, 40 * values.size)
    return Segments(index, starts, tile, amounts)
