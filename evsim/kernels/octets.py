"""Synapses of integer networks: what eight positions have in common is added up once.

As with quads (`evsim.kernels.quads`), but eight positions side by side share: an octet's active channels are cut into
fifteen lists, those of all eight, of each half, of each quarter, and the rest of each. Whole numbers may be added in
any order, so more can be joined than floats allow: where a window has three rows, the lists of three rows of the map
lie one behind the other, and a column of the window is one run of entries. Each run ends with a guess that no
processor can make, so a third of the runs is as good as additions saved.

Lists are of units: a tile of channels, a map (a plane of bits, a group, a timestep), the columns modulo the stride, and
an octet of these. Each unit has a list for each kind and row of the map, in this order; the first 1 + 2 + 4 kinds are
those of all, halves and quarters, the last eight those of single positions. Where they start stands row by row,
``starts[(unit * (rows + 1) + y) * 16 + kind]``, with a row more for where the last ones end. An entry is a byte: the
channel
within the tile, of up to 256, or, where rows are joined, ``y % 3 * 64 +`` the channel within a tile of 64. The weights
of joined rows are laid out for the rows 0 1 2 0 1 of the window, as `evsim.kernels.synapses` does it for columns.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from evsim.kernels.compiling import inner, kernel
from evsim.kernels.lists import ROOM
from evsim.kernels.neuron import Unit
from evsim.kernels.octet_lists import add_octet, put_octet_bits
from evsim.kernels.synapses import Size, clear, group_of, line_of
from evsim.kernels.vector import popcount, prefetch

OCTET = 8
"""Positions that share."""

KINDS = 15
"""Lists of an octet and row."""

LINE = 16
"""Starts of a row: those of its lists, and one more, so that they lie in one cache line."""

JOINED = 3
"""Rows of a window that are joined."""

JOINED_ROWS = 2 * JOINED - 1
"""Rows for which weights are laid out then."""

ZERO = np.uint64(0)


class Octets(NamedTuple):
    """Lists of a packet.

    entries uint8. starts uint32 [units * (rows + 1) * 16]. `tile`: channels per tile. `line`: columns of a map modulo
    the stride. `joined`: whether entries tell rows apart.
    """

    entries: NDArray[np.uint8]
    starts: NDArray[np.uint32]
    tile: int
    line: int
    planes: int
    joined: bool


@kernel
def count_octets(
    first: int, last: int, words: NDArray[np.uint64], rows: int, tile_words: int, bases: NDArray[np.int64]
) -> None:
    """Write to ``bases[u + 1]`` how many spikes unit u has, for ``first .. last - 1``.

    words [maps * turns * rows, line, W], with turns the columns modulo the stride; bases [units + 1], which, added up
    (`evsim.kernels.lists.add_up`), tell where there is room for the entries of each.
    """
    line, width = words.shape[1], words.shape[2]
    octets = -(-line // OCTET)
    turns = words.shape[0] // rows
    for u in range(first, last):
        octet, rest = u % octets, u // octets
        turn, tile = rest % turns, rest // turns * tile_words
        total = np.int64(0)
        for y in range(rows):
            for x in range(octet * OCTET, min(line, (octet + 1) * OCTET)):
                for w in range(tile, min(tile + tile_words, width)):
                    total += np.int64(popcount(words[turn * rows + y, x, w]))
        bases[u + 1] = total


@kernel
def fill_octets(
    first: int,
    last: int,
    words: NDArray[np.uint64],
    rows: int,
    tile_words: int,
    joined: bool,
    bases: NDArray[np.int64],
    starts: NDArray[np.uint32],
    entries: NDArray[np.uint8],
) -> None:
    """Write the lists of units ``first .. last - 1``; arrays as of `count_octets` and `Octets`."""
    line, width = words.shape[1], words.shape[2]
    octets = -(-line // OCTET)
    turns = words.shape[0] // rows
    room = bases[last] - ROOM  # what is written too much must not reach into what another thread fills
    parts = np.zeros(KINDS * rows * tile_words, np.uint64)
    for u in range(first, last):
        octet, rest = u % octets, u // octets
        turn, tile = rest % turns, rest // turns * tile_words
        count = min(tile_words, width - tile)
        for y in range(rows):
            for w in range(count):
                _cut(words, turn * rows + y, octet * OCTET, tile + w, parts, y * tile_words + w, rows * tile_words)
        at = bases[np.uint64(u)]
        s = u * (rows + 1) * LINE
        for kind in range(KINDS):
            for y in range(rows):
                starts[np.uint64(s + y * LINE + kind)] = np.uint32(at)
                place = (kind * rows + y) * tile_words
                offset = y % JOINED * 64 if joined else 0
                for w in range(count):
                    word = parts[place + w]
                    roomy = at <= room
                    put_octet_bits(entries, at, roomy, word, offset + 64 * w)
                    at += np.int64(popcount(word))
            starts[np.uint64(s + rows * LINE + kind)] = np.uint32(at)


@inner
def _cut(words: NDArray[np.uint64], row: int, x: int, w: int, parts: NDArray[np.uint64], at: int, step: int) -> None:
    """Cut the words of the octet at (row, x) into those of its kinds, at ``parts[at + kind * step]``."""
    line = words.shape[1]
    a, b, c, d, e, f, g, h = ZERO, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO
    a = words[row, x, w]
    if x + 8 <= line:
        b, c, d = words[row, x + 1, w], words[row, x + 2, w], words[row, x + 3, w]
        e, f, g, h = words[row, x + 4, w], words[row, x + 5, w], words[row, x + 6, w], words[row, x + 7, w]
    else:
        b = words[row, x + 1, w] if x + 1 < line else ZERO
        c = words[row, x + 2, w] if x + 2 < line else ZERO
        d = words[row, x + 3, w] if x + 3 < line else ZERO
        e = words[row, x + 4, w] if x + 4 < line else ZERO
        f = words[row, x + 5, w] if x + 5 < line else ZERO
        g = words[row, x + 6, w] if x + 6 < line else ZERO
    ab, cd, ef, gh = a & b, c & d, e & f, g & h
    left, right = ab & cd, ef & gh
    every = left & right
    parts[at] = every
    parts[at + step], parts[at + 2 * step] = left & ~every, right & ~every
    parts[at + 3 * step], parts[at + 4 * step] = ab & ~left, cd & ~left
    parts[at + 5 * step], parts[at + 6 * step] = ef & ~right, gh & ~right
    parts[at + 7 * step], parts[at + 8 * step] = a & ~ab, b & ~ab
    parts[at + 9 * step], parts[at + 10 * step] = c & ~cd, d & ~cd
    parts[at + 11 * step], parts[at + 12 * step] = e & ~ef, f & ~ef
    parts[at + 13 * step], parts[at + 14 * step] = g & ~gh, h & ~gh


@inner
def ask_for(weights: NDArray[np.signedinteger], start: int, count: int) -> None:
    """Ask for weights that come from afar, all at once: rows in the order of lists would come one by one."""
    for at in range(start, start + count, line_of(weights)):
        prefetch(weights, at)


@inner
def gather_octets(
    size: Size,
    lists: Octets,
    weights: NDArray[np.signedinteger],
    scratch: NDArray[np.signedinteger],
    unit: Unit,
    before: int,
    first_tap: int,
    last_tap: int,
) -> None:
    """Sum up a unit [steps, end - begin, lanes] of pairs from lists of octets.

    Of the window, taps ``first_tap .. last_tap - 1``: columns where its rows are joined, else row by row. `before` is
    the first channel of the unit that the thread did before; far below 0 if it did none.
    """
    entries, starts, tile, line, planes, joined = lists
    channel, lanes, begin, end, _ = unit
    height, stride = size.in_height, size.stride_width
    tiles = -(-size.in_channels // tile)
    octets = -(-line // OCTET)
    span = (end - begin) * lanes
    step = line_of(weights)
    pace = 0  # past a block's first band, weights are in the L2 cache; there they come from afar: ask for the next tile
    if before != channel:
        pace = OCTET * (tile * lanes // step) // (size.steps * (end - begin)) + 1
    group = group_of(size, unit)
    jump = JOINED if joined else 1
    taps = size.kernel_height // jump * size.kernel_width
    block = tile * JOINED_ROWS if joined else tile
    in_rows = tiles * block if joined else size.in_channels
    if first_tap == 0 and before != channel and before + size.block != channel:  # nobody has asked for the first tile
        ask_for(weights, channel * taps * in_rows, lanes * min(block, in_rows))
    for plane in range(planes):
        if plane > 0:
            for k in range(size.steps * span):
                scratch[k] += scratch[k]
        for tap in range(first_tap, last_tap):
            offset = tap % size.kernel_width * size.dilation_width - size.pad_width
            shift = offset // stride
            turn = offset - shift * stride
            down = tap // size.kernel_width * size.dilation_height - size.pad_height
            for k in range(tiles):
                row = (channel * taps + lanes * tap) * in_rows + lanes * k * block
                ahead = row + lanes * min(block, in_rows - k * block)
                fresh = plane + tap - first_tap + k == 0
                maps = ((k * planes + plane) * size.groups + group) * size.steps
                for y in range(begin // size.out_width, (end - 1) // size.out_width + 1):
                    top = y * size.stride_height + down
                    low, high = max(0, top), min(height, top + jump)
                    edge = max(0, begin - y * size.out_width)
                    left = max(edge, -shift)
                    right = min(size.out_width, end - y * size.out_width, (size.in_width - 1 - offset) // stride + 1)
                    if low >= high or right <= left:
                        left, right = edge, edge
                    if fresh:
                        clear(size, scratch, unit, y, left, right)
                    if left == right:
                        continue
                    here = row
                    if joined:
                        turned = top % JOINED
                        here += (JOINED - turned if turned > 0 else 0) * tile * lanes
                    for t in range(size.steps):
                        map_first = ((maps + t) * stride + turn) * octets
                        for octet in range((left + shift) // OCTET, (right - 1 + shift) // OCTET + 1):
                            for _ in range(pace):
                                prefetch(weights, ahead)
                                ahead += step
                            x = octet * OCTET - shift
                            at = t * span + (y * size.out_width + x - begin) * lanes
                            s = ((map_first + octet) * (height + 1) + low) * LINE
                            add_octet(
                                scratch, at, max(0, left - x), min(OCTET, right - x), fresh, weights, here, entries,
                                starts, s, (high - low) * LINE, lanes,
                            )  # fmt: skip
