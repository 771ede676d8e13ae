"""Synapses of spikes in float32 where neighbours share sums: what four positions have in common is added up once.

Neighbouring positions of a spike map fire in much the same channels. So positions are taken in *quads*, four side by
side in a row of the map, and the active channels of a quad are cut into seven lists: those of all four, those of both
of the first pair, of the second pair, and the rest of each of the four. With `+` over weight rows in ascending
channels, an output gets, for each tap and tile of 128 input channels,

    sums + ((all four) + (its pair)) + (its rest)

which takes 40 to 60 % of the additions that its synaptic operations would, where a third of the channels fires.
Operations are counted from the spikes, as they are defined, not from what is added here. A quad is a matter of one
timestep and one row: no result depends on schedule, threads or vector width. Sums in float64 are not shared: there
each output adds its rows one by one (`evsim.kernels.synapses`, which also tells how loops and memory are laid out).

Integers share as spikes do, bit by bit: plane b of a map of integers is the spike map of their bits of weight 2^b. The
planes are summed up from the highest down, and between two of them all sums are doubled, which rounds nothing. A plane
without bits leaves the sums as they are, so a result does not depend on how many there are.

At stride 2 the outputs side by side read every second input. So a line of the map is cut into its even columns and its
odd ones, each a line of its own: a tap reads one of them, at stride 1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from evsim.kernels.compiling import inner, kernel
from evsim.kernels.lists import ROOM, TILE_WORDS, put_word
from evsim.kernels.neuron import Unit
from evsim.kernels.synapses import (
    Lists,
    Sink,
    Size,
    after,
    clear,
    drain,
    group_of,
    line_of,
    pace_of,
    rows_of,
    run_of,
    scratch_of,
    unit_of,
)
from evsim.kernels.vector import add_quad, popcount, prefetch

QUAD = 4
"""Positions that share."""

LISTS = 7
"""Lists of a quad: of all four, of the first pair, of the second pair, of each position alone."""

ZERO = np.uint64(0)


def quads_of(rows: int, width: int, words: int) -> int:
    """Return the number of quads of a map with `rows` lines of `width` positions, for all its tiles."""
    return -(-words // TILE_WORDS) * rows * -(-width // QUAD)


@kernel
def count_quads(first: int, last: int, words: NDArray[np.uint64], width: int, starts: NDArray[np.int64]) -> None:
    """Write the lengths of the lists of quads ``first .. last - 1``, each behind its place in `starts` [quads * 7 + 1].

    words [rows * width, W]. Quad (k * rows + row) * ceil(width / 4) + j holds, of tile k, the positions from 4 j on of
    a row.
    """
    quads = -(-width // QUAD)
    rows = words.shape[0] // width
    parts = np.zeros(LISTS * TILE_WORDS, np.uint64)
    quad = first
    while quad < last:
        row, begin = quad // quads, quad % quads
        tile = row // rows * TILE_WORDS
        if tile + 1 == words.shape[1]:
            parts[:] = ZERO  # the last tile has one word
        for place in range(begin, min(quads, begin + last - quad)):
            _cut(words, row % rows * width + place * QUAD, width - place * QUAD, tile, parts)
            s = quad * LISTS
            quad += 1
            for i in range(LISTS):
                starts[s + i + 1] = np.int64(popcount(parts[2 * i]) + popcount(parts[2 * i + 1]))


@kernel
def fill_quads(
    first: int, last: int, words: NDArray[np.uint64], width: int, starts: NDArray[np.int64], index: NDArray[np.uint16]
) -> None:
    """Write the channel numbers of quads ``first .. last - 1``: words [rows * width, W]; index [entries] uint16."""
    quads = -(-width // QUAD)
    rows = words.shape[0] // width
    room = starts[last * LISTS] - ROOM  # what is written too much must not reach into what another thread fills
    parts = np.zeros(LISTS * TILE_WORDS, np.uint64)
    quad = first
    while quad < last:  # row by row of the map, so that nothing is divided per quad
        row, begin = quad // quads, quad % quads
        tile = row // rows * TILE_WORDS
        step = 1 if tile + 1 < words.shape[1] else 2
        for place in range(begin, min(quads, begin + last - quad)):
            _cut(words, row % rows * width + place * QUAD, width - place * QUAD, tile, parts)
            at = starts[np.uint64(quad * LISTS)]
            quad += 1
            roomy = starts[np.uint64(quad * LISTS)] <= room
            for i in range(0, LISTS * TILE_WORDS, step):
                at += put_word(index, at, roomy, parts[i], i % 2 * 64)


@inner
def _cut(words: NDArray[np.uint64], position: int, count: int, tile: int, parts: NDArray[np.uint64]) -> None:
    """Cut the words of the quad at `position` into those of its lists, [7 * 2]; a row has `count` more positions."""
    for w in range(min(TILE_WORDS, words.shape[1] - tile)):
        a = words[position, tile + w]
        b = words[position + 1, tile + w] if count > 1 else ZERO
        c = words[position + 2, tile + w] if count > 2 else ZERO
        d = words[position + 3, tile + w] if count > 3 else ZERO
        left, right = a & b, c & d
        every = left & right
        parts[w], parts[2 + w], parts[4 + w] = every, left & ~every, right & ~every
        parts[6 + w], parts[8 + w], parts[10 + w], parts[12 + w] = a & ~left, b & ~left, c & ~right, d & ~right


@kernel
def synapses_of_quads(
    first: int, last: int, seat: int, size: Size, lists: Lists, scratch: NDArray[np.floating], sink: Sink
) -> None:
    """Run units ``first .. last - 1`` of a layer on lists of quads; scratch [threads * steps * band * block].

    Segments are ordered by (tile, plane from the highest down, group, timestep, row, column modulo stride, quad).
    """
    scratch = scratch_of(size, scratch, seat)
    while first < last:
        unit = unit_of(size, first, last, seat)
        first = after(size, first, unit)
        gather_quads(size, lists, scratch, unit)
        drain(size, sink, scratch, unit)


@inner
def gather_quads(size: Size, lists: Lists, scratch: NDArray[np.generic], unit: Unit) -> None:
    """Sum up a unit [steps, end - begin, lanes] from lists of quads."""
    entries, starts, _, weights = lists  # taken out once: reference counts stay out of the loop
    taps = size.kernel_height * size.kernel_width
    tiles = -(-size.in_channels // size.tile)
    stride = size.stride_width
    may_skip = size.planes > 1  # high bits are rare
    quads = -(-size.in_width // (QUAD * stride))
    _, lanes, begin, end, _ = unit
    span = (end - begin) * lanes
    line_size = line_of(weights)
    pace = pace_of(size, unit, QUAD, line_size)
    group = group_of(size, unit)
    for plane in range(size.planes):
        if plane > 0:
            for k in range(size.steps * span):
                scratch[k] += scratch[k]
        for tap in range(taps):
            offset = tap % size.kernel_width * size.dilation_width - size.pad_width
            shift = offset // stride
            turn = offset - shift * stride
            for tile in range(tiles):
                row, ahead = rows_of(size, unit, tap, tile)
                fresh = plane + tap + tile == 0
                maps = ((tile * size.planes + plane) * size.groups + group) * size.steps
                for y in range(begin // size.out_width, (end - 1) // size.out_width + 1):
                    left, right, source = run_of(size, unit, y, tap)
                    if fresh:
                        clear(size, scratch, unit, y, left, right)
                    if left == right:
                        continue
                    for t in range(size.steps):
                        line = ((maps + t) * size.in_height + source // size.in_width) * stride + turn
                        for quad in range((left + shift) // QUAD, (right - 1 + shift) // QUAD + 1):
                            for _ in range(pace):
                                prefetch(weights, ahead)
                                ahead += line_size
                            x = quad * QUAD - shift
                            at = t * span + (y * size.out_width + x - begin) * lanes
                            s = (line * quads + quad) * LISTS
                            if may_skip and not fresh and starts[np.uint64(s)] == starts[np.uint64(s + LISTS)]:
                                continue
                            add_quad(
                                scratch, at, max(0, left - x), min(QUAD, right - x), fresh,
                                weights, row, entries, starts, s, lanes,
                            )  # fmt: skip
