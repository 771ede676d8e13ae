"""Convolution and linear layers of integer networks: the sums of `evsim.kernels.synapses`, of whole numbers.

Weights are pairs (`evsim.kernels.emit.row_of`): a lane of 16 bits holds two weights of 8, one of 32 two of 16. So an
addition takes in twice as many weights as lanes of that width hold, and a tile of weights is a quarter of that of
float32. A lane is as wide as the greatest sum asks for: what wraps around on the way there does no harm. In which order
sums are added does not matter either: results are those of plain integers, whatever shares sums with what.

A finished sum becomes a current, int32 in units of 2^-F, by the channel's multiplier and offset, and drives neurons or
joins the stream of the residual at once.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from evsim.kernels.compiling import inner, kernel
from evsim.kernels.fixed import (
    ALIKE,
    PIECE,
    fire_pairs,
    fire_static,
    integer_step,
    multiply_window,
    put_currents,
    put_products,
    widen_pairs,
)
from evsim.kernels.neuron import GROUP, Unit, put_spikes
from evsim.kernels.octets import Octets, ask_for, gather_octets
from evsim.kernels.synapses import Lists, Size, after, gather, group_of, multiply, scratch_of, unit_of

WORD = 64

TOGETHER = 4
"""Outputs of an image's convolution that are summed up at once."""


class IntegerNeurons(NamedTuple):
    """Neurons of a map, and where their spikes go. Without neurons `words` has size 0.

    words [T * P * W * 2] uint32: the two halves of each word of a spike map; halves uint16: the same memory. potential
    int32: [P * C] where `kept` over calls, else working memory of each thread, and each call begins at rest; C padded
    to 64. `kind`, `rate` as in `evsim.kernels.fixed`; thresholds, resets [C] int32, `soft`: reset by subtraction.
    """

    words: NDArray[np.uint32]
    halves: NDArray[np.uint16]
    potential: NDArray[np.int32]
    kept: bool
    kind: int
    rate: int
    thresholds: NDArray[np.int32]
    resets: NDArray[np.int32]
    soft: bool


class IntegerSink(NamedTuple):
    """Where sums go: into `neurons` if there are any, else into `real`. Unused arrays have size 0.

    factor, offset [C] int32, C padded to 64: multipliers, and what is added. `reach` [groups * T * P] int64: how many
    rows of weights each position adds up, where weights are pairs. `fraction`: of inputs that are fixed-point numbers.
    residual, real [T * P * C'] int32, with `channels` padded to 32.
    """

    factor: NDArray[np.int32]
    offset: NDArray[np.int32]
    reach: NDArray[np.int64]
    fraction: int
    residual: NDArray[np.int32]
    real: NDArray[np.int32]
    channels: int
    neurons: IntegerNeurons


@kernel
def integer_synapses(
    first: int, last: int, seat: int, size: Size, lists: Lists, scratch: NDArray[np.signedinteger], sink: IntegerSink
) -> None:
    """Run units ``first .. last - 1`` on lists of active channels, as `evsim.kernels.synapses.synapses`."""
    scratch = scratch_of(size, scratch, seat)
    taps, before = size.kernel_height * size.kernel_width, -2 * size.block
    while first < last:
        unit = unit_of(size, first, last, seat)
        first = after(size, first, unit)
        if not size.joined and unit.channel != before and unit.channel != before + size.block:
            ask_for(
                lists.weights, unit.channel * taps * size.in_channels, unit.lanes * min(size.tile, size.in_channels)
            )
        before = unit.channel
        gather(size, lists, scratch, unit)
        drain_pairs(size, sink, scratch, unit)


@kernel
def integer_synapses_of_octets(
    first: int,
    last: int,
    seat: int,
    size: Size,
    lists: Octets,
    weights: NDArray[np.signedinteger],
    cuts: NDArray[np.int64],
    wide: NDArray[np.int32],
    scratch: NDArray[np.signedinteger],
    sink: IntegerSink,
) -> None:
    """Run units on lists of octets.

    Where all taps of a window could add up beyond a lane, `cuts` takes it apart: [parts + 1] taps, with a `reach` in
    the sink for each part. The parts add up in `wide` then, as large as `scratch`, else of size 0.
    """
    scratch = scratch_of(size, scratch, seat)
    parts, before = cuts.size - 1, -2 * size.block
    if parts > 1:
        wide = scratch_of(size, wide, seat)
    while first < last:
        unit = unit_of(size, first, last, seat)
        first = after(size, first, unit)
        for part in range(parts):
            gather_octets(size, lists, weights, scratch, unit, before, cuts[part], cuts[part + 1])
            if parts > 1:
                _widen(size, sink.reach, scratch, wide, unit, part)
        if parts > 1:
            drain_products(size, sink, wide, unit)
        else:
            drain_pairs(size, sink, scratch, unit)
        before = unit.channel


@inner
def _widen(
    size: Size,
    reach: NDArray[np.int64],
    scratch: NDArray[np.signedinteger],
    wide: NDArray[np.int32],
    unit: Unit,
    part: int,
) -> None:
    """Add a part's sums to those of all parts."""
    _, lanes, begin, end, _ = unit
    positions = size.out_height * size.out_width
    bias = np.int64(1) << (4 * scratch.itemsize - 1)
    counted = (part * size.groups + group_of(size, unit)) * size.steps * positions
    at = 0
    for t in range(size.steps):
        for p in range(begin, end):
            widen_pairs(wide, at, scratch, at, bias * reach[counted + t * positions + p], part == 0, lanes)
            at += lanes


@kernel
def integer_synapses_of_reals(
    first: int,
    last: int,
    seat: int,
    size: Size,
    inputs: NDArray[np.signedinteger],
    weights: NDArray[np.signedinteger],
    scratch: NDArray[np.signedinteger],
    sink: IntegerSink,
) -> None:
    """Run units on fixed-point numbers [T * P * C_in]; weights, one to an element, in the type of the sums."""
    scratch = scratch_of(size, scratch, seat)
    while first < last:
        unit = unit_of(size, first, last, seat)
        first = after(size, first, unit)
        multiply(size, inputs, weights, scratch, unit)
        drain_products(size, sink, scratch, unit)


@kernel
def integer_synapses_of_image(
    first: int,
    last: int,
    seat: int,
    size: Size,
    inputs: NDArray[np.int16],
    line: int,
    weights: NDArray[np.int16],
    scratch: NDArray[np.int32],
    sink: IntegerSink,
) -> None:
    """Run units on fixed-point numbers of 16 bits, whose map has zeros all around: [T * H' * line], line = W' * C_in.

    weights [block][row of the window][pair of inputs][64][2]. Bands are of whole lines, of at least 4 outputs. Behind
    the last number stands one more.
    """
    pairs = (size.kernel_width * size.in_channels + 1) // 2
    height = size.in_height + 2 * size.pad_height
    scratch = scratch_of(size, scratch, seat)
    while first < last:
        unit = unit_of(size, first, last, seat)
        first = after(size, first, unit)
        channel, lanes, begin, end, seat = unit
        base = channel * size.kernel_height * pairs * 2
        step = size.stride_width * size.in_channels
        for t in range(size.steps):
            for y in range(begin // size.out_width, end // size.out_width):
                row = (t * height + y * size.stride_height) * line
                at = (t * (end - begin) + y * size.out_width - begin) * lanes
                for start in range(0, size.out_width, TOGETHER):
                    x = min(start, size.out_width - TOGETHER)  # the last may sum up some once more
                    multiply_window(
                        scratch, at + x * lanes, weights, base, inputs, row + x * step, line, size.kernel_height, pairs,
                        step,
                    )  # fmt: skip
        drain_products(size, sink, scratch, unit)


@inner
def drain_pairs(size: Size, sink: IntegerSink, scratch: NDArray[np.signedinteger], unit: Unit) -> None:
    """Empty a unit's sums of pairs [steps, end - begin, lanes] into the sink."""
    channel, lanes, begin, end, seat = unit
    positions = size.out_height * size.out_width
    factor, offset, reach, _, residual, real, channels, neurons = sink
    bias = np.int64(1) << (4 * scratch.itemsize - 1)
    current = np.empty(lanes, np.int32)
    added = residual.size > 0
    counted = group_of(size, unit) * size.steps * positions
    if neurons.words.size == 0:
        whole = channel + lanes <= channels
        for t in range(size.steps):
            for p in range(begin, end):
                at = (t * (end - begin) + p - begin) * lanes
                n = bias * reach[counted + t * positions + p]
                to = (t * positions + p) * channels + channel
                if whole:
                    put_currents(real, to, scratch, at, n, factor, offset, channel, residual, to, added, lanes)
                    continue
                put_currents(current, 0, scratch, at, n, factor, offset, channel, residual, 0, False, lanes)
                for i in range(channels - channel):
                    real[to + i] = current[i] + (residual[to + i] if added else np.int32(0))
        return
    words, potential = neurons.words, neurons.potential
    halves, threshold = neurons.halves, np.int64(neurons.thresholds[0])
    wide = size.out_channels
    working = seat * GROUP * size.block
    for start in range(begin, end, GROUP):
        for t in range(size.steps):
            rest = t == 0 and not neurons.kept
            for p in range(start, min(start + GROUP, end)):
                at = (t * (end - begin) + p - begin) * lanes
                n = bias * reach[counted + t * positions + p]
                own = p * wide + channel if neurons.kept else working + (p - start) * lanes
                if neurons.kind <= ALIKE:
                    word = ((t * positions + p) * wide + channel) // PIECE
                    fire_pairs(
                        scratch, at, n, factor, offset, channel, potential, own, rest, neurons.kind, neurons.rate,
                        threshold, halves, word, lanes,
                    )  # fmt: skip
                    continue
                put_currents(current, 0, scratch, at, n, factor, offset, channel, residual, 0, False, lanes)
                fire_block(neurons, words, potential, current, 0, t, own, wide, unit, t * positions + p)


@inner
def drain_products(size: Size, sink: IntegerSink, scratch: NDArray[np.signedinteger], unit: Unit) -> None:
    """Empty a unit's plain sums into the sink; where neurons are driven, each timestep stands for `size.repeats`."""
    channel, lanes, begin, end, seat = unit
    positions = size.out_height * size.out_width
    factor, offset, _, fraction, residual, real, channels, neurons = sink
    current = np.empty(GROUP * lanes, np.int32)
    added = residual.size > 0
    if neurons.words.size == 0:
        for t in range(size.steps):
            for p in range(begin, end):
                at = (t * (end - begin) + p - begin) * lanes
                to = (t * positions + p) * channels + channel
                put_products(current, 0, scratch, at, fraction, factor, offset, channel, lanes)
                for i in range(min(lanes, channels - channel)):
                    real[to + i] = current[i] + (residual[to + i] if added else np.int32(0))
        return
    words, potential, halves, threshold = neurons.words, neurons.potential, neurons.halves, neurons.thresholds[0]
    wide = size.out_channels
    working = seat * GROUP * size.block
    still = neurons.kind <= ALIKE and size.steps == 1 and not neurons.kept
    step = positions * wide // PIECE
    for start in range(begin, end, GROUP):
        stop = min(start + GROUP, end)
        for t in range(size.steps):
            for p in range(start, stop):
                at = (t * (end - begin) + p - begin) * lanes
                own_current = (p - start) * lanes
                put_products(current, own_current, scratch, at, fraction, factor, offset, channel, lanes)
                for i in range(0, lanes if still else 0, WORD):
                    word = (p * wide + channel + i) // PIECE
                    fire_static(
                        current, own_current + i, neurons.kind, neurons.rate, np.int64(threshold), halves, word, step,
                        size.repeats,
                    )  # fmt: skip
            for repeat in range(0 if still else size.repeats):
                for p in range(start, stop):
                    own = p * wide + channel if neurons.kept else working + (p - start) * lanes
                    now = t * size.repeats + repeat
                    row = now * positions + p
                    fire_block(neurons, words, potential, current, (p - start) * lanes, now, own, wide, unit, row)


@inner
def fire_block(
    neurons: IntegerNeurons,
    words: NDArray[np.uint32],
    potential: NDArray[np.int32],
    current: NDArray[np.int32],
    at: int,
    step: int,
    own: int,
    channels: int,
    unit: Unit,
    row: int,
) -> None:
    """Step the neurons of a block at one position, 64 at a time; `row` counts positions over timesteps."""
    rest = step == 0 and not neurons.kept
    thresholds, resets = neurons.thresholds, neurons.resets
    word = row * (channels // 32) + unit.channel // 32
    for i in range(0, unit.lanes, WORD):
        bits = integer_step(
            current, at + i, potential, own + i, rest, neurons.kind, neurons.rate, thresholds, resets, unit.channel + i,
            neurons.soft,
        )  # fmt: skip
        put_spikes(words, word + i // 32, bits, WORD)


@kernel
def fire_integers(
    first: int,
    last: int,
    seat: int,
    neurons: IntegerNeurons,
    current: NDArray[np.int32],
    static: bool,
    channels: int,
    steps: int,
    positions: int,
    group: int,
) -> None:
    """Drive the neurons of positions ``first .. last - 1`` by a map [T * P * C'] ([P * C'] where `static`).

    `channels` are C', those of the map, padded to 32. The timesteps of `group` positions follow each other; potentials
    that are not kept: [threads * group * C].
    """
    words, potential = neurons.words, neurons.potential
    thresholds, resets = neurons.thresholds, neurons.resets
    wide = (channels + WORD - 1) // WORD * WORD
    own_current = np.zeros(WORD, np.int32)
    for start in range(first, last, group):
        for t in range(steps):
            rest = t == 0 and not neurons.kept
            for p in range(start, min(start + group, last)):
                row = ((0 if static else t) * positions + p) * channels
                word = (t * positions + p) * (wide // 32)
                own = p * wide if neurons.kept else (seat * group + p - start) * wide
                for channel in range(0, channels - WORD + 1, WORD):
                    bits = integer_step(
                        current, row + channel, potential, own + channel, rest, neurons.kind, neurons.rate, thresholds,
                        resets, channel, neurons.soft,
                    )  # fmt: skip
                    put_spikes(words, word + channel // 32, bits, WORD)
                if wide > channels:
                    channel = wide - WORD
                    for i in range(channels - channel):
                        own_current[i] = current[row + channel + i]
                    bits = integer_step(
                        own_current, 0, potential, own + channel, rest, neurons.kind, neurons.rate, thresholds, resets,
                        channel, neurons.soft,
                    )  # fmt: skip
                    put_spikes(words, word + channel // 32, bits, WORD)
