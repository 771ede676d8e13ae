"""Convolutions of few input channels on frames of events, most of whose positions saw none: event by event.

Each value that is not 0 is taken once for each row of windows that it lies in, and its weights are added to the sums
that it reaches. Events are taken in the order of the map, so each sum gets its terms in ascending order of row, column
and channel: that of taps and channels. Every bit is that of gathering (`evsim.kernels.synapses`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evsim.kernels.compiling import inner, kernel
from evsim.kernels.neuron import Unit
from evsim.kernels.synapses import Sink, Size, after, drain, scratch_of, unit_of
from evsim.kernels.vector import lowest_bit
from evsim.kernels.windows import nonzero_at
from evsim.kernels.word_rows import add_scaled
from evsim.kernels.words import TURNED, WINDOW

ONE, ZERO = np.uint64(1), np.uint64(0)


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
        scatter(size, reads, scratch, unit)
        drain(size, sink, scratch, unit)


@inner
def scatter(size: Size, reads: Events, scratch: NDArray[Any], unit: Unit) -> None:
    """Add a unit's events to its sums [steps, end - begin, lanes], which begin at 0."""
    _, lanes, begin, end, _ = unit
    width = size.in_width
    span = (end - begin) * lanes
    scratch[: size.steps * span] = 0
    for t in range(size.steps):
        for y in range(begin // width, (end - 1) // width + 1):
            at = t * span + (y * width - begin) * lanes
            scatter_line(size, reads, scratch, unit, t, y, at, max(0, begin - y * width), min(width, end - y * width))


@inner
def scatter_line(
    size: Size, reads: Events, scratch: NDArray[Any], unit: Unit, t: int, y: int, at: int, left: int, right: int
) -> None:
    """Add a timestep's events to the sums of columns ``left .. right - 1`` of line y, whose column 0 lies at `at`."""
    values, words, weights = reads
    channel, lanes, _, _, _ = unit
    line = size.in_width * size.in_channels
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
                i = 64 * w + int(lowest_bit(word))
                word &= word - ONE
                x = (i - start) // size.in_channels
                own = row + (i - start - x * size.in_channels) * lanes
                for kx in range(max(0, x + 2 - right), min(WINDOW, x + 2 - left)):
                    tap = own + kx * size.in_channels * lanes
                    add_scaled(scratch, at + (x + 1 - kx) * lanes, weights, tap, values, i, lanes)
