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
from evsim.kernels.fixed import integer_step, put_currents, put_products
from evsim.kernels.neuron import GROUP, Unit, put_spikes
from evsim.kernels.quads import gather_quads
from evsim.kernels.synapses import Lists, Size, gather, multiply, unit_of

WORD = 64


class IntegerNeurons(NamedTuple):
    """Neurons of a map, and where their spikes go. Without neurons `words` has size 0.

    words [T * P * W * 2] uint32: the two halves of each word of a spike map. potential int32: [P * C] where `kept` over
    calls, else [16 * block], working memory of one thread, and each call begins at rest; C padded to 64. `kind` and
    `rate` as `evsim.kernels.fixed` has them; thresholds, resets [C] int32, `soft`: reset by subtraction.
    """

    words: NDArray[np.uint32]
    potential: NDArray[np.int32]
    kept: bool
    kind: int
    rate: int
    thresholds: NDArray[np.int32]
    resets: NDArray[np.int32]
    soft: bool


class IntegerSink(NamedTuple):
    """Where sums go: into `neurons` if there are any, else into `real`. Unused arrays have size 0.

    factor, offset [C] int32, C padded to 64: multipliers, and what is added. `reach` [T * P] int32: how many rows of
    weights each position adds up, where weights are pairs. `fraction`: of inputs that are fixed-point numbers.
    residual, real [T * P * C'] int32, with `channels` padded to 32.
    """

    factor: NDArray[np.int32]
    offset: NDArray[np.int32]
    reach: NDArray[np.int32]
    fraction: int
    residual: NDArray[np.int32]
    real: NDArray[np.int32]
    channels: int
    neurons: IntegerNeurons


@kernel
def integer_synapses(
    first: int, last: int, size: Size, lists: Lists, scratch: NDArray[np.signedinteger], sink: IntegerSink
) -> None:
    """Run units ``first .. last - 1`` on lists of active channels, as `evsim.kernels.synapses.synapses`."""
    for i in range(first, last):
        unit = unit_of(size, i)
        gather(size, lists, scratch, unit)
        drain_pairs(size, sink, scratch, unit)


@kernel
def integer_synapses_of_quads(
    first: int, last: int, size: Size, lists: Lists, scratch: NDArray[np.signedinteger], sink: IntegerSink
) -> None:
    """Run units on lists of quads, as `evsim.kernels.quads.synapses_of_quads`."""
    for i in range(first, last):
        unit = unit_of(size, i)
        gather_quads(size, lists, scratch, unit)
        drain_pairs(size, sink, scratch, unit)


@kernel
def integer_synapses_of_reals(
    first: int,
    last: int,
    size: Size,
    inputs: NDArray[np.signedinteger],
    weights: NDArray[np.signedinteger],
    scratch: NDArray[np.signedinteger],
    sink: IntegerSink,
) -> None:
    """Run units on fixed-point numbers [T * P * C_in]; weights, one to an element, in the type of the sums."""
    for i in range(first, last):
        unit = unit_of(size, i)
        multiply(size, inputs, weights, scratch, unit)
        drain_products(size, sink, scratch, unit)


@inner
def drain_pairs(size: Size, sink: IntegerSink, scratch: NDArray[np.signedinteger], unit: Unit) -> None:
    """Empty a unit's sums of pairs [steps, end - begin, lanes] into the sink."""
    channel, lanes, begin, end = unit
    positions = size.out_height * size.out_width
    factor, offset, reach, _, residual, real, channels, neurons = sink
    bias = np.int64(1) << (4 * scratch.itemsize - 1)
    current = np.empty(lanes, np.int32)
    added = residual.size > 0
    if neurons.words.size == 0:
        whole = channel + lanes <= channels
        for t in range(size.steps):
            for p in range(begin, end):
                at = (t * (end - begin) + p - begin) * lanes
                n = bias * reach[t * positions + p]
                to = (t * positions + p) * channels + channel
                if whole:
                    put_currents(real, to, scratch, at, n, factor, offset, channel, residual, to, added, lanes)
                    continue
                put_currents(current, 0, scratch, at, n, factor, offset, channel, residual, 0, False, lanes)
                for i in range(channels - channel):
                    real[to + i] = current[i] + (residual[to + i] if added else np.int32(0))
        return
    words, potential = neurons.words, neurons.potential
    for start in range(begin, end, GROUP):
        for t in range(size.steps):
            for p in range(start, min(start + GROUP, end)):
                at = (t * (end - begin) + p - begin) * lanes
                n = bias * reach[t * positions + p]
                put_currents(current, 0, scratch, at, n, factor, offset, channel, residual, 0, False, lanes)
                own = p * size.out_channels + channel if neurons.kept else (p - start) * lanes
                fire_block(neurons, words, potential, current, t, own, size.out_channels, unit, t * positions + p)


@inner
def drain_products(size: Size, sink: IntegerSink, scratch: NDArray[np.signedinteger], unit: Unit) -> None:
    """Empty a unit's plain sums into the sink; where neurons are driven, each timestep stands for `size.repeats`."""
    channel, lanes, begin, end = unit
    positions = size.out_height * size.out_width
    factor, offset, _, fraction, _, real, channels, neurons = sink
    current = np.empty(WORD, np.int32)
    if neurons.words.size == 0:
        for t in range(size.steps):
            for p in range(begin, end):
                at = (t * (end - begin) + p - begin) * lanes
                to = (t * positions + p) * channels + channel
                put_products(current, 0, scratch, at, fraction, factor, offset, channel, lanes)
                for i in range(min(lanes, channels - channel)):
                    real[to + i] = current[i]
        return
    words, potential = neurons.words, neurons.potential
    for start in range(begin, end, GROUP):
        for t in range(size.steps):
            for repeat in range(size.repeats):
                for p in range(start, min(start + GROUP, end)):
                    at = (t * (end - begin) + p - begin) * lanes
                    put_products(current, 0, scratch, at, fraction, factor, offset, channel, lanes)
                    own = p * size.out_channels + channel if neurons.kept else (p - start) * lanes
                    step = t * size.repeats + repeat
                    where = step * positions + p
                    fire_block(neurons, words, potential, current, step, own, size.out_channels, unit, where)


@inner
def fire_block(
    neurons: IntegerNeurons,
    words: NDArray[np.uint32],
    potential: NDArray[np.int32],
    current: NDArray[np.int32],
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
            current, i, potential, own + i, rest, neurons.kind, neurons.rate, thresholds, resets, unit.channel + i,
            neurons.soft,
        )  # fmt: skip
        put_spikes(words, word + i // 32, bits, WORD)


@kernel
def fire_integers(
    first: int,
    last: int,
    neurons: IntegerNeurons,
    current: NDArray[np.int32],
    static: bool,
    channels: int,
    steps: int,
    positions: int,
) -> None:
    """Drive the neurons of positions ``first .. last - 1`` by a map [T * P * C'] ([P * C'] where `static`).

    `channels` are C', those of the map, padded to 32.
    """
    words, potential = neurons.words, neurons.potential
    wide = (channels + WORD - 1) // WORD * WORD
    own_current = np.zeros(WORD, np.int32)
    for start in range(first, last, GROUP):
        for channel in range(0, channels, WORD):
            lanes = min(WORD, channels - channel)
            unit = Unit(channel, WORD, start, min(start + GROUP, last))
            for t in range(steps):
                rest = t == 0 and not neurons.kept
                for p in range(unit.begin, unit.end):
                    at = ((0 if static else t) * positions + p) * channels + channel
                    own = p * wide + channel if neurons.kept else (p - start) * WORD
                    word = (t * positions + p) * (wide // 32) + channel // 32
                    thresholds, resets = neurons.thresholds, neurons.resets
                    if lanes == WORD:
                        bits = integer_step(
                            current, at, potential, own, rest, neurons.kind, neurons.rate, thresholds, resets, channel,
                            neurons.soft,
                        )  # fmt: skip
                    else:
                        for i in range(lanes):
                            own_current[i] = current[at + i]
                        bits = integer_step(
                            own_current, 0, potential, own, rest, neurons.kind, neurons.rate, thresholds, resets,
                            channel, neurons.soft,
                        )  # fmt: skip
                    put_spikes(words, word, bits, WORD)


@kernel
def reach_of(size: Size, counts: NDArray[np.int64], reach: NDArray[np.int32]) -> None:
    """Add up over each output's window what its inputs count: counts [groups, T, P], reach [groups, T, P']."""
    for g in range(counts.shape[0]):
        for t in range(counts.shape[1]):
            for y in range(size.out_height):
                for x in range(size.out_width):
                    total = np.int64(0)
                    for ky in range(size.kernel_height):
                        row = y * size.stride_height - size.pad_height + ky * size.dilation_height
                        if row < 0 or row >= size.in_height:
                            continue
                        for kx in range(size.kernel_width):
                            column = x * size.stride_width - size.pad_width + kx * size.dilation_width
                            if column >= 0 and column < size.in_width:
                                total += counts[g, t, row * size.in_width + column]
                    reach[g, t, y * size.out_width + x] = np.int32(total)
