"""From bits to lists: the active channels of each position, cut into tiles.

A kernel that adds one weight row per spike wants the spikes' numbers, not their bits. Two passes: count the bits of
every (tile, timestep, position), whose running sum says where each segment starts; then fill. Filling a sparse word
takes its lowest bit, writes its number, clears it; a word of more spikes is taken octet by octet, each an entry of a
table: the numbers of its set bits, written eight at a time, of which the next octet overwrites those that are too
many. Both cost far less than the additions that the list steers, and the list is made once for all layers that read it.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from evsim.kernels.vector import lowest_bit, popcount, put_octet

ONE = np.uint64(1)
ZERO = np.uint64(0)
OCTET = np.uint64(8)
LOW_OCTET = np.uint64(255)

MANY = 6
"""Spikes of a word from which the table is faster than bit by bit."""


def _octets() -> NDArray[np.uint16]:
    table = np.zeros((256, 8), np.uint16)
    for octet in range(256):
        bits = [bit for bit in range(8) if octet >> bit & 1]
        table[octet, : len(bits)] = bits
    return table.reshape(-1)


OCTETS = _octets()
"""For each octet the numbers of its set bits, 8 entries; those behind its last are 0."""


@njit(cache=True, nogil=True, error_model="numpy")
def count_segments(words: NDArray[np.uint64], tile_words: int, starts: NDArray[np.int64]) -> None:
    """Write where each segment starts: words [R, W] uint64, R = T * P; starts [tiles * R + 1] int64."""
    rows, width = words.shape
    total = np.int64(0)
    s = 0
    starts[0] = 0
    for w in range(0, width, tile_words):
        end = min(w + tile_words, width)
        for r in range(rows):
            for j in range(w, end):
                total += np.int64(popcount(words[r, j]))
            s += 1
            starts[s] = total


@njit(cache=True, nogil=True, error_model="numpy")
def fill_segments(
    first: int,
    last: int,
    words: NDArray[np.uint64],
    tile_words: int,
    starts: NDArray[np.int64],
    index: NDArray[np.uint16],
) -> None:
    """Write the channel numbers of segments ``first .. last - 1``: words [R, W], index [spikes] uint16."""
    rows, width = words.shape
    room = starts[last] - 8  # whole octets must not reach into what another thread fills
    for s in range(first, last):
        k = s // rows
        r = s - k * rows
        at = starts[s]
        for j in range(k * tile_words, min((k + 1) * tile_words, width)):
            word = words[r, j]
            offset = (j - k * tile_words) * 64
            if np.int64(popcount(word)) >= MANY:
                while word != ZERO and at <= room:
                    octet = word & LOW_OCTET
                    put_octet(index, at, OCTETS, np.int64(octet) * 8, offset)
                    at += np.int64(popcount(octet))
                    offset += 8
                    word >>= OCTET
            while word != ZERO:
                index[at] = np.uint16(offset + np.int64(lowest_bit(word)))
                at += 1
                word &= word - ONE


@njit(cache=True, nogil=True, error_model="numpy")
def graded_segments(
    values: NDArray[np.int32],
    tile: int,
    starts: NDArray[np.int64],
    index: NDArray[np.uint16],
    amounts: NDArray[np.floating],
) -> int:
    """List the nonzero entries of values [R, C] with their amounts; index and amounts hold R * C. Return how many."""
    rows, channels = values.shape
    at = 0
    s = 0
    starts[0] = 0
    for c in range(0, channels, tile):
        end = min(c + tile, channels)
        for r in range(rows):
            for j in range(c, end):
                if values[r, j] != 0:
                    index[at] = np.uint16(j - c)
                    amounts[at] = values[r, j]
                    at += 1
            s += 1
            starts[s] = at
    return at
