"""Lists of active channels of a packet, in the layout that a layer wants, made once for all layers that want it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from evsim.kernels.lists import TILE_WORDS, count_segments, fill_segments, graded_segments
from evsim.kernels.quads import LISTS, count_quads, fill_quads, quads_of
from evsim.kernels.threads import aligned
from evsim.layers.context import Context
from evsim.spikes import IntegerMap, Segments, SpikeMap

SPARSE = 0.06
"""Rate below which a tile is twice as long: its segments would be all but empty."""

Layout = Literal["tiles", "joined", "quads", "flat quads"]
"""How active channels are listed: by position and tile, joined (see `Segments`), or by quad (`evsim.kernels.quads`).

Flat quads take the map as one row, for layers in which positions do not mix: they reach over the ends of its rows.
"""


def segments(packet: SpikeMap | IntegerMap, context: Context, layout: Layout = "tiles") -> Segments:
    """Return the packet's lists of active channels, made at first use and shared by all layers that read it alike."""
    key = (context.dtype.char, layout)
    if key not in packet.lists:
        if isinstance(packet, IntegerMap):
            packet.lists[key] = _graded(packet, context, layout == "joined")
        elif layout in ("quads", "flat quads"):
            packet.lists[key] = _quads(packet, context, layout == "flat quads")
        else:
            packet.lists[key] = _spike_segments(packet, context, layout == "joined")
    return packet.lists[key]


def _quads(packet: SpikeMap, context: Context, flat: bool) -> Segments:
    steps, positions, width = packet.words.shape
    words = packet.words.reshape(steps * positions, width)
    line = positions if flat else packet.width
    quads = quads_of(steps * positions // line, line, width)
    starts = np.empty(quads * LISTS + 1, np.int64)
    count_quads(words, line, starts)
    index = _filled(context, quads, starts, lambda a, b, index: fill_quads(a, b, words, line, starts, index))
    return Segments(index, starts, TILE_WORDS * 64)


def _spike_segments(packet: SpikeMap, context: Context, joined: bool) -> Segments:
    steps, positions, width = packet.words.shape
    words = packet.words.reshape(steps * positions, width)
    tile_words, extent = (width, packet.channels) if joined else (TILE_WORDS, 0)
    starts = _starts(words, tile_words)
    if not joined and int(starts[-1]) < SPARSE * len(words) * packet.channels:
        tile_words *= 2
        starts = _starts(words, tile_words)
    turn = packet.width
    index = _filled(
        context,
        len(starts) - 1,
        starts,
        lambda a, b, index: fill_segments(a, b, words, tile_words, starts, index, turn, extent),
    )
    return Segments(index, starts, tile_words * 64)


def _filled(
    context: Context,
    count: int,
    starts: NDArray[np.int64],
    fill: Callable[[int, int, NDArray[np.uint16]], None],
) -> NDArray[np.uint16]:
    """Return an index of all entries, of which ``fill(first, last, index)`` writes those of some of `count` parts."""
    index = np.empty(int(starts[-1]), np.uint16)
    effort = 40 * len(index)  # up to 1 ns per entry
    context.workers.share(count, lambda first, last: fill(first, last, index), effort)
    return index


def _starts(words: NDArray[np.uint64], tile_words: int) -> NDArray[np.int64]:
    rows, width = words.shape
    starts = np.empty(-(-width // tile_words) * rows + 1, np.int64)
    count_segments(words, tile_words, starts)
    return starts


def _graded(packet: IntegerMap, context: Context, joined: bool) -> Segments:
    tile = TILE_WORDS * 64
    steps, positions, channels = packet.values.shape
    values = packet.values.reshape(steps * positions, channels)
    starts = np.empty(-(-channels // tile) * steps * positions + 1, np.int64)
    nonzero = int(np.count_nonzero(values))
    index = np.empty(nonzero, np.uint16)
    amounts = aligned((nonzero,), context.dtype)
    graded_segments(values, tile, starts, index, amounts, packet.width, channels if joined else 0)
    return Segments(index, starts, tile, amounts)
