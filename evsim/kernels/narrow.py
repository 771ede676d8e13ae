"""Convolutions of few input channels: a row of the window at a time, from the bits of its words or event by event.

A window row that is three wide, at stride 1, reads three positions side by side. Of up to 32 channels each, their
spikes fit two words, whose set bits are the numbers of rows that follow each other in the packed weights: taps and
channels in ascending order, as everywhere (`evsim.kernels.synapses`), and no list.

Most positions of a frame of events saw none. There each value is taken once for each row of windows that it lies in,
and its rows are added to the sums that it reaches. Events are taken in the order of the map, so each sum gets its terms
in ascending order of row, column and channel: that of taps and channels. Every bit is that of gathering.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evsim.kernels.compiling import inner, kernel
from evsim.kernels.neuron import Unit
from evsim.kernels.synapses import Sink, Size, after, clear, drain, scratch_of, unit_of
from evsim.kernels.vector import lowest_bit
from evsim.kernels.windows import nonzero_at
from evsim.kernels.word_rows import add_scaled, add_window, add_windows

WINDOW = 3
"""Columns of a window row."""

TURNED = 5
"""Taps that the weights of a window row are packed for where lists of taps are joined: 0 1 2 0 1."""

MOST_CHANNELS = 32
"""Channels whose spikes at two positions fit a word."""

ONE, ZERO = np.uint64(1), np.uint64(0)


class Words(NamedTuple):
    """What a layer reads: spikes [T * P], a word for each position, and its packed weights."""

    words: NDArray[np.uint64]
    weights: NDArray[Any]


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
        _gather_windows(size, reads, scratch, unit)
        drain(size, sink, scratch, unit)


@inner
def _gather_windows(size: Size, reads: Words, scratch: NDArray[np.floating], unit: Unit) -> None:
    words, weights = reads
    channel, lanes, begin, end, _ = unit
    width, channels = size.in_width, size.in_channels
    in_positions = size.in_height * width
    span = (end - begin) * lanes
    for ky in range(size.kernel_height):
        row = (channel * size.kernel_height + lanes * ky) * WINDOW * channels
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


class Events(NamedTuple):
    """What a layer reads: integers [T * P * C], the bits of those that are not 0, and its packed weights."""

    values: NDArray[np.int32]
    words: NDArray[np.uint64]
    weights: NDArray[Any]


@kernel
def mark_events(first: int, last: int, values: NDArray[np.int32], words: NDArray[np.uint64]) -> None:
    """Write words ``first .. last - 1`` of bits that say which values [N] are not 0; words [ceil(N / 64)]."""
    for w in range(first, last):
        if 64 * w + 64 <= values.size:
            words[w] = nonzero_at(values, 64 * w)
            continue
        word = ZERO
        for i in range(64 * w, values.size):
            word |= np.uint64(values[i] != 0) << np.uint64(i - 64 * w)
        words[w] = word


@kernel
def synapses_of_events(
    first: int, last: int, seat: int, size: Size, reads: Events, scratch: NDArray[np.floating], sink: Sink
) -> None:
    """Run units ``first .. last - 1`` as `synapses_of_windows` does, on integers few of which are not 0."""
    scratch = scratch_of(size, scratch, seat)
    while first < last:
        unit = unit_of(size, first, last, seat)
        first = after(size, first, unit)
        scratch[: size.steps * (unit.end - unit.begin) * unit.lanes] = 0.0
        _scatter(size, reads, scratch, unit)
        drain(size, sink, scratch, unit)


@inner
def _scatter(size: Size, reads: Events, scratch: NDArray[np.floating], unit: Unit) -> None:
    values, words, weights = reads
    channel, lanes, begin, end, _ = unit
    width = size.in_width
    line = width * size.in_channels
    span = (end - begin) * lanes
    for t in range(size.steps):
        for y in range(begin // width, (end - 1) // width + 1):
            at = t * span + (y * width - begin) * lanes
            left, right = max(0, begin - y * width), min(width, end - y * width)
            for ky in range(size.kernel_height):
                source_y = y * size.stride_height - size.pad_height + ky
                if source_y < 0 or source_y >= size.in_height:
                    continue
                row = (channel * size.kernel_height + lanes * ky) * TURNED * size.in_channels
                start = (t * size.in_height + source_y) * line
                for w in range(start // 64, (start + line - 1) // 64 + 1):
                    word = words[np.uint64(w)]
                    if 64 * w < start:
                        word &= ~ZERO << np.uint64(start - 64 * w)
                    if 64 * w + 64 > start + line:
                        word &= ~(~ZERO << np.uint64(start + line - 64 * w))
                    while word != ZERO:
                        i = 64 * w + np.int64(lowest_bit(word))
                        word &= word - ONE
                        x = (i - start) // size.in_channels
                        own = row + (i - start - x * size.in_channels) * lanes
                        for kx in range(max(0, x + 2 - right), min(WINDOW, x + 2 - left)):
                            tap = own + kx * size.in_channels * lanes
                            add_scaled(scratch, at + (x + 1 - kx) * lanes, weights, tap, values, i, lanes)
