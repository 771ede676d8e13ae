"""Synapses from the words of spikes, without lists: positions one by one, and windows of few channels.

The set bits of a position's two words of a tile are the numbers of the rows that it adds, in ascending channels: as
`evsim.kernels.synapses` does it with lists, to the bit, where nothing is shared. Where next to nothing fires lists are
faster, for most words are 0.

A window row that is three wide, at stride 1, reads three positions side by side. Of up to 32 channels each, their
spikes fit two words, whose set bits are the numbers of rows that follow each other in the packed weights.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evsim.kernels.compiling import inner, kernel
from evsim.kernels.neuron import Unit
from evsim.kernels.synapses import (
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
from evsim.kernels.word_rows import add_positions, add_window, add_windows

WINDOW = 3
"""Columns of a window row."""

TURNED = 5
"""Taps that the weights of a window row are packed for where lists of taps are joined: 0 1 2 0 1."""

MOST_CHANNELS = 32
"""Channels whose spikes at two positions fit a word."""


class Words(NamedTuple):
    """What a layer reads: spikes [groups * T * P * W], and its packed weights."""

    words: NDArray[np.uint64]
    weights: NDArray[Any]


@kernel
def synapses_of_words(
    first: int, last: int, seat: int, size: Size, reads: Words, scratch: NDArray[np.floating], sink: Sink
) -> None:
    """Run units ``first .. last - 1`` of a layer; scratch [threads * steps * band * block]."""
    scratch = scratch_of(size, scratch, seat)
    while first < last:
        unit = unit_of(size, first, last, seat)
        first = after(size, first, unit)
        _gather_words(size, reads, scratch, unit)
        drain(size, sink, scratch, unit)


@inner
def _gather_words(size: Size, reads: Words, scratch: NDArray[np.floating], unit: Unit) -> None:
    words, weights = reads
    in_positions = size.in_height * size.in_width
    tiles = -(-size.in_channels // size.tile)
    width = -(-size.in_channels // 64)
    _, lanes, begin, end, _ = unit
    span = (end - begin) * lanes
    group = group_of(size, unit)
    line = line_of(weights)
    pace, step = pace_of(size, unit, 1, line), size.stride_width * width
    for tap in range(size.kernel_height * size.kernel_width):
        for tile in range(tiles):
            row, ahead = rows_of(size, unit, tap, tile)
            fresh = tap + tile == 0
            both = 2 * tile + 1 < width
            for y in range(begin // size.out_width, (end - 1) // size.out_width + 1):
                left, right, source = run_of(size, unit, y, tap)
                if fresh:
                    clear(size, scratch, unit, y, left, right)
                for t in range(size.steps):
                    p = ((group * size.steps + t) * in_positions + source) * width + 2 * tile
                    at = t * span + (y * size.out_width + left - begin) * lanes
                    add_positions(
                        scratch, at, right - left, fresh, weights, row, words, p, step, both, lanes, ahead, pace
                    )
                    ahead += (right - left) * pace * line


@kernel
def synapses_of_windows(
    first: int, last: int, seat: int, size: Size, reads: Words, scratch: NDArray[np.floating], sink: Sink
) -> None:
    """Run units ``first .. last - 1`` of a layer of up to 32 input channels; scratch [threads * steps * band * block].

    Windows are three wide, at stride 1 and with padding 1 along the rows of the map.
    """
    scratch = scratch_of(size, scratch, seat)
    while first < last:
        unit = unit_of(size, first, last, seat)
        first = after(size, first, unit)
        gather_windows(size, reads, scratch, unit)
        drain(size, sink, scratch, unit)


@inner
def gather_windows(size: Size, reads: Words, scratch: NDArray[Any], unit: Unit) -> None:
    """Sum up a unit's windows [steps, end - begin, lanes]; of weights that are `joined`, the first three taps."""
    words, weights = reads
    channel, lanes, begin, end, _ = unit
    width, channels = size.in_width, size.in_channels
    in_positions = size.in_height * width
    span = (end - begin) * lanes
    taps = TURNED if size.joined else WINDOW
    for ky in range(size.kernel_height):
        row = (channel * size.kernel_height + lanes * ky) * taps * channels
        fresh = ky == 0
        for y in range(begin // width, (end - 1) // width + 1):
            source_y = y * size.stride_height - size.pad_height + ky
            left, right = max(0, begin - y * width), min(width, end - y * width)
            if source_y < 0 or source_y >= size.in_height:
                if fresh:
                    clear(size, scratch, unit, y, left, left)
                continue
            inner_left, inner_right = max(left, 1), min(right, width - 1)
            for t in range(size.steps):
                p = t * in_positions + source_y * width
                at = t * span + (y * width - begin) * lanes
                if left == 0:
                    add_window(scratch, at, fresh, weights, row, words, p, channels, False, width > 1, lanes)
                if inner_right > inner_left:
                    add_windows(
                        scratch, at + inner_left * lanes, inner_right - inner_left, fresh, weights, row, words,
                        p + inner_left, channels, lanes,
                    )  # fmt: skip
                if right == width > 1:
                    x = width - 1
                    add_window(scratch, at + x * lanes, fresh, weights, row, words, p + x, channels, True, False, lanes)
