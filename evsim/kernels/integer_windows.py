"""Convolutions of few input channels in integer networks: spikes by lists of windows, frames of events event by event.

Only what is not 0 is looked at and added. Windows are three wide, at stride 1 and with padding 1 along the rows of the
map, and weights those of taps that are joined (`evsim.kernels.words`).

Where neurons are driven that all reset to 0 at one threshold, they step at once. Of frames of events a line of outputs
and a timestep of it are taken together: its sums and potentials stay in the L1 cache. Of spikes a position: what is
active in its window becomes one list, whose rows are added in registers; of lists there are as many as outputs, but
each has one end to be foreseen in place of three.
"""

from __future__ import annotations

import numpy as np
from numba import config
from numpy.typing import NDArray

from evsim.kernels.compiling import inner, kernel
from evsim.kernels.fixed import PIECE, fire_pairs, fire_sums
from evsim.kernels.frames import Events, scatter, scatter_line
from evsim.kernels.integer_synapses import IntegerSink, drain_pairs
from evsim.kernels.neuron import GROUP
from evsim.kernels.octet_lists import put_half_bits
from evsim.kernels.synapses import Size, after, scratch_of, unit_of
from evsim.kernels.vector import COMPRESSES, add_rows, popcount
from evsim.kernels.words import TURNED, WINDOW, Words, gather_windows

CHANNELS = 32
"""Neurons that step at once."""

WORD = 64

HALF = np.uint64(WORD // 2)

LISTS_WINDOWS = COMPRESSES or bool(config.DISABLE_JIT)
"""Whether the CPU lists bits faster than it goes through them."""


@kernel
def integer_synapses_of_windows(
    first: int,
    last: int,
    seat: int,
    size: Size,
    reads: Words,
    scratch: NDArray[np.signedinteger],
    sink: IntegerSink,
) -> None:
    """Run units on spikes of up to 64 channels; weights are pairs."""
    scratch = scratch_of(size, scratch, seat)
    while first < last:
        unit = unit_of(size, first, last, seat)
        first = after(size, first, unit)
        gather_windows(size, reads, scratch, unit)
        drain_pairs(size, sink, scratch, unit)


@kernel
def integer_synapses_of_events(
    first: int,
    last: int,
    seat: int,
    size: Size,
    reads: Events,
    scratch: NDArray[np.signedinteger],
    sink: IntegerSink,
) -> None:
    """Run units on integers few of which are not 0; weights are pairs."""
    scratch = scratch_of(size, scratch, seat)
    while first < last:
        unit = unit_of(size, first, last, seat)
        first = after(size, first, unit)
        scatter(size, reads, scratch, unit)
        drain_pairs(size, sink, scratch, unit)


@kernel
def fire_windows(
    first: int,
    last: int,
    seat: int,
    size: Size,
    reads: Words,
    scratch: NDArray[np.signedinteger],
    index: NDArray[np.uint16],
    sink: IntegerSink,
) -> None:
    """As `integer_synapses_of_windows`, where neurons of kind `HALVES` or `ALIKE` are driven and `LISTS_WINDOWS`.

    scratch [threads * block]; index [threads * (inputs of a window + 64)].
    """
    room = index.size // (scratch.size // size.block)
    scratch, index = scratch[seat * size.block :][: size.block], index[seat * room :][:room]
    words, weights = reads
    neurons, wide = sink.neurons, size.out_channels
    halves, potential, threshold = neurons.halves, neurons.potential, np.int64(neurons.thresholds[0])
    positions, width = size.out_height * size.out_width, size.out_width
    working = seat * GROUP * size.block
    bias = np.int64(1) << (4 * scratch.itemsize - 1)
    while first < last:
        unit = unit_of(size, first, last, seat)
        first = after(size, first, unit)
        channel, lanes, begin, end, _ = unit
        base = channel * size.kernel_height * TURNED * size.in_channels
        for start in range(begin, end, GROUP):
            for t in range(size.steps):
                rest = t == 0 and not neurons.kept
                y, x = start // width, start % width
                for p in range(start, min(start + GROUP, end)):
                    count = _list_window(size, words, index, t, y, x)
                    add_rows(scratch, 0, True, weights, base, index, None, 0, count, lanes)
                    own = p * wide + channel if neurons.kept else working + (p - start) * lanes
                    word = ((t * positions + p) * wide + channel) // PIECE
                    fire_pairs(
                        scratch, 0, bias * count, sink.factor, sink.offset, channel, potential, own, rest, neurons.kind,
                        neurons.rate, threshold, halves, word, lanes,
                    )  # fmt: skip
                    x += 1
                    if x == width:
                        y, x = y + 1, 0


@inner
def _list_window(size: Size, words: NDArray[np.uint64], index: NDArray[np.uint16], t: int, y: int, x: int) -> np.int64:
    """List the rows of weights that the window of an output adds; return how many."""
    channels, count = size.in_channels, np.int64(0)
    for ky in range(size.kernel_height):
        source_y = y * size.stride_height - size.pad_height + ky
        if source_y < 0 or source_y >= size.in_height:
            continue
        p = (t * size.in_height + source_y) * size.in_width + x - 1
        for kx in range(WINDOW):
            if x + kx < 1 or x + kx > size.in_width:
                continue
            word = words[p + kx]
            row = (ky * TURNED + kx) * channels
            put_half_bits(index, count, word, row)
            if channels > CHANNELS:
                count += np.int64(popcount(word << HALF))
                word >>= HALF
                put_half_bits(index, count, word, row + CHANNELS)
            count += np.int64(popcount(word))
    return count


@kernel
def fire_events(
    first: int,
    last: int,
    seat: int,
    size: Size,
    reads: Events,
    scratch: NDArray[np.signedinteger],
    sink: IntegerSink,
) -> None:
    """As `integer_synapses_of_events`, where neurons of kind `HALVES` or `ALIKE` are driven.

    Weights stand one to an element, in the type of the sums; blocks divide the channels, padded to 32. Bands are of
    whole lines; scratch [threads * width * block], as the potentials that are not kept.
    """
    line = size.out_width * size.block
    scratch = scratch[seat * line :][:line]
    scratch[:] = 0
    neurons = sink.neurons
    halves, potential, threshold = neurons.halves, neurons.potential, np.int64(neurons.thresholds[0])
    positions, width, channels = size.out_height * size.out_width, size.out_width, size.out_channels
    wide = (channels + WORD - 1) // WORD * WORD
    further = wide // PIECE
    while first < last:
        unit = unit_of(size, first, last, seat)
        first = after(size, first, unit)
        channel, lanes, begin, end, _ = unit
        along = wide if neurons.kept else lanes
        for y in range(begin // width, end // width):
            own = y * width * wide + channel if neurons.kept else seat * line
            for t in range(size.steps):
                scatter_line(size, reads, scratch, unit, t, y, 0, 0, width)
                word = ((t * positions + y * width) * wide + channel) // PIECE
                for c in range(0, lanes, CHANNELS):
                    fire_sums(
                        scratch, c, width, lanes, sink.factor, sink.offset, channel + c, potential, own + c, along,
                        t == 0 and not neurons.kept, neurons.kind, neurons.rate, threshold, halves, word + c // PIECE,
                        further,
                    )  # fmt: skip
                for x in range(width if channel + lanes == channels < wide else 0):
                    behind = word + lanes // PIECE + x * further
                    halves[behind], halves[behind + 1] = 0, 0
