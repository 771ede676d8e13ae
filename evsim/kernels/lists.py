"""From bits to lists: the active channels of each position, cut into tiles.

Where next to nothing fires most words are 0, and a kernel that adds one weight row per spike wants the spikes' numbers,
not their bits. Two passes: count the bits of
every (tile, timestep, position), whose running sum says where each segment starts; then fill, without a branch that
the processor could guess wrong. A CPU that can compress a vector by a mask does a word in two steps. On others, of a
word of few spikes the five lowest bits' numbers are written, whether there are five or not; a word of more is taken
octet by octet, each an entry of a table: the numbers of its set bits. What was written too much, the next word
overwrites. Bit by bit (a loop per spike) cost three times as much as the table, the table four times as much as to
compress. Both passes cost far less than the additions that the list steers, and the list is made once for all layers
that read it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from evsim.kernels.compiling import inner, kernel
from evsim.kernels.vector import COMPRESSES, lowest_bit, popcount, put_bits, put_few_bits

ONE = np.uint64(1)
ZERO = np.uint64(0)

TILE_WORDS = 2
"""Words of a tile: 128 channels, whose weights for a block of outputs (32 KB) fill the L1 cache."""

ROOM = 64
"""Entries past those of its spikes that writing a word may touch."""

FEW = -1 if COMPRESSES else 5
"""Spikes of a word up to which their numbers are written bit by bit."""


def _octets() -> NDArray[np.uint16]:
    table = np.zeros((256, 8), np.uint16)
    for octet in range(256):
        bits = [bit for bit in range(8) if octet >> bit & 1]
        table[octet, : len(bits)] = bits
    return table.reshape(-1)


OCTETS = _octets()
"""For each octet the numbers of its set bits, 8 entries; those behind its last are 0."""


@kernel
def count_segments(
    first: int, last: int, words: NDArray[np.uint64], tile_words: int, starts: NDArray[np.int64]
) -> None:
    """Write the lengths of segments ``first .. last - 1``, each behind its place in `starts` [tiles * R + 1].

    words [R, W], R = T * P.
    """
    rows, width = words.shape
    s = first
    while s < last:
        k = s // rows
        end = min(last, (k + 1) * rows)
        for r in range(s - k * rows, end - k * rows):
            count = np.int64(0)
            for j in range(k * tile_words, min((k + 1) * tile_words, width)):
                count += np.int64(popcount(words[r, j]))
            s += 1
            starts[s] = count


@kernel
def add_up(starts: NDArray[np.int64]) -> None:
    """Make of the lengths of lists, each behind its place, where each of them starts."""
    total = np.int64(0)
    starts[0] = 0
    for s in range(1, starts.size):
        total += starts[s]
        starts[s] = total


@kernel
def fill_segments(
    first: int,
    last: int,
    words: NDArray[np.uint64],
    tile_words: int,
    starts: NDArray[np.int64],
    index: NDArray[np.uint16],
    turn: int,
    extent: int,
) -> None:
    """Write the channel numbers of segments ``first .. last - 1``: words [R, W], index [spikes] uint16.

    To each is added ``x % 3 * extent`` (see `Segments`), with x the position in rows of `turn` positions.
    """
    rows, width = words.shape
    room = starts[last] - ROOM  # what is written too much must not reach into what another thread fills
    s = first
    while s < last:
        k = s // rows
        end = min(last, (k + 1) * rows)
        for r in range(s - k * rows, end - k * rows):
            at = starts[np.uint64(s)]
            s += 1
            roomy = starts[np.uint64(s)] <= room
            base = r % turn % 3 * extent if extent > 0 else 0
            for j in range(k * tile_words, min((k + 1) * tile_words, width)):
                word = words[np.uint64(r), np.uint64(j)]
                at += put_word(index, at, roomy, word, base + (j - k * tile_words) * 64)


@inner
def put_word(index: NDArray[np.uint16], at: int, roomy: bool, word: np.uint64, offset: int) -> int:
    """Write the numbers of a word's set bits, plus `offset`, to ``index[at:]``; return how many.

    Where there is no room for `ROOM` entries more than there are spikes, not one more is written.
    """
    count = np.int64(popcount(word))
    if not roomy:
        while word != ZERO:
            index[at] = np.uint16(offset + np.int64(lowest_bit(word)))
            at += 1
            word &= word - ONE
    elif count > FEW:
        put_bits(index, at, OCTETS, word, offset)
    else:
        put_few_bits(index, at, word, offset)
    return count  # type: ignore[return-value]


@kernel
def count_graded(first: int, last: int, values: NDArray[np.int32], tile: int, starts: NDArray[np.int64]) -> None:
    """Write the lengths of segments ``first .. last - 1`` of integers [R, C], each behind its place in `starts`."""
    rows, channels = values.shape
    s = first
    while s < last:
        begin = s // rows * tile
        end = min(begin + tile, channels)
        for r in range(s % rows, min(rows, s % rows + last - s)):
            count = np.int64(0)
            for c in range(begin, end):
                count += np.int64(values[r, c] != 0)
            s += 1
            starts[s] = count


@kernel
def fill_graded(
    first: int,
    last: int,
    values: NDArray[np.int32],
    tile: int,
    starts: NDArray[np.int64],
    index: NDArray[np.uint16],
    amounts: NDArray[np.floating],
    turn: int,
    extent: int,
) -> None:
    """List the nonzero entries of segments ``first .. last - 1`` with their amounts, numbered as by `fill_segments`."""
    rows, channels = values.shape
    s = first
    while s < last:
        begin = s // rows * tile
        end = min(begin + tile, channels)
        for r in range(s % rows, min(rows, s % rows + last - s)):
            at = starts[s]
            s += 1
            if starts[s] == at:  # most positions of a frame saw no event
                continue
            base = r % turn % 3 * extent - begin
            for c in range(begin, end):
                if values[r, c] != 0:
                    index[at] = np.uint16(base + c)
                    amounts[at] = values[r, c]
                    at += 1
