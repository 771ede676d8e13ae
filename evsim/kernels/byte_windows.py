"""Windows of few inputs, in bytes: counts of events and spikes of few channels, all taken, whether 0 or not.

Where a window holds few inputs, or a quarter of them are not 0, lists of them end so often that a CPU is faster which
multiplies all: AVX-512 VNNI adds the products of 64 pairs of bytes at once. Sums are those of the lists, for whole
numbers know no order. Neurons are driven while their sums are in registers.

How an intrinsic is written tells `evsim.kernels.emit`; plain twins take their place with ``NUMBA_DISABLE_JIT=1``.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import config
from numba.core import cgutils
from numpy.typing import NDArray

from evsim.kernels.compiling import kernel
from evsim.kernels.emit import BIT, LONG, instructions, plus, splat, times
from evsim.kernels.fixed import charges_alike
from evsim.kernels.integer_synapses import IntegerSink
from evsim.kernels.synapses import Size, after, unit_of
from evsim.kernels.vector import has

PIECE = 16
"""Sums of a vector."""

CHANNELS = 32
"""Outputs that are summed up at once at each position: two vectors."""

SIDE = 8
"""Positions side by side that are summed up at once: they share what is loaded of weights."""

QUAD = 4
"""Inputs whose products become one sum at once."""

SHORT_RUN = 32
"""Bytes of a window row of all positions up to which it is looked at first, for windows that saw nothing."""

TAKES_BYTES = has("avx512vnni") or bool(config.DISABLE_JIT)
"""Whether the CPU adds up products of bytes."""


@instructions()
def fire_windows(
    builder, inputs, start, line, step, rows, quads, weights, base, factor, offset, channel, potential, own, apart,
    rest, kind, rate, threshold, words, word, further, skip,
):  # fmt: skip
    """One timestep of `CHANNELS` neurons of kind `HALVES` or `ALIKE` at each of `SIDE` positions side by side.

    A window has `rows` runs of `quads` quads of bytes, `line` apart; those of a position begin `step` behind those of
    the one before it, the first at ``inputs[start]`` (uint8). `weights` int8: from `base` on, for each run and quad,
    four weights of each channel. A sum S becomes the current ``S * factor[channel:] + offset[channel:]``. Position i
    has potentials from ``potential[own + i * apart]`` on, and its spikes go to ``words[word + i * further]`` (uint16).
    Of the first `skip` positions nothing is changed.
    """
    numbers = ir.VectorType(ir.IntType(32), PIECE)
    zeros = ir.Constant(numbers, None)
    pieces = range(CHANNELS // PIECE)
    function = ir.FunctionType(numbers, [numbers] * 3)
    add_products = cgutils.get_or_insert_function(builder.module, function, "llvm.x86.avx512.vpdpbusd.512")
    quad_type = ir.IntType(32).as_pointer()
    places = [[cgutils.alloca_once(builder, numbers) for _ in pieces] for _ in range(SIDE)]
    for place in (place for row in places for place in row):
        builder.store(zeros, place)

    def sum_up():
        with cgutils.for_range_slice(builder, rows.type(0), rows, rows.type(1), rows.type) as (r, _):
            here = builder.add(start, builder.mul(r, line))
            first = builder.mul(r, quads)
            with cgutils.for_range_slice(builder, quads.type(0), quads, quads.type(1), quads.type) as (k, _):
                at = builder.add(base, builder.mul(builder.add(first, k), LONG(QUAD * CHANNELS)))
                factors = [
                    builder.bitcast(weights.load(builder.add(at, LONG(QUAD * PIECE * j)), QUAD * PIECE), numbers)
                    for j in pieces
                ]
                for i, sums in enumerate(places):
                    where = builder.add(here, builder.add(builder.mul(step, LONG(i)), builder.mul(k, LONG(QUAD))))
                    inputs.place(builder.add(where, LONG(QUAD - 1)))  # a checked build looks at both ends
                    four = builder.load(builder.bitcast(inputs.place(where), quad_type))
                    four.align = 1
                    all_of = splat(builder, four, PIECE)
                    for weight, place in zip(factors, sums, strict=True):
                        builder.store(builder.call(add_products, [builder.load(place), all_of, weight]), place)

    run = builder.add(builder.mul(step, LONG(SIDE - 1)), builder.mul(quads, LONG(QUAD)))
    something = cgutils.alloca_once_value(builder, BIT(1))
    with builder.if_then(builder.icmp_signed("<=", run, LONG(SHORT_RUN))):
        seen = cgutils.alloca_once_value(builder, inputs.zeros(SHORT_RUN))
        with cgutils.for_range_slice(builder, rows.type(0), rows, rows.type(1), rows.type) as (r, _):
            more = inputs.load(builder.add(start, builder.mul(r, line)), SHORT_RUN)
            builder.store(builder.or_(builder.load(seen), more), seen)
        whole = builder.bitcast(builder.load(seen), ir.IntType(8 * SHORT_RUN))
        builder.store(builder.icmp_unsigned("!=", whole, whole.type(0)), something)
    with builder.if_then(builder.load(something)):
        sum_up()

    scale = [factor.load(channel, PIECE, LONG(j)) for j in pieces]
    shift = [offset.load(channel, PIECE, LONG(j)) for j in pieces]
    bound = splat(builder, builder.trunc(threshold, ir.IntType(32)), PIECE)

    def step_all(charge):
        for i, sums in enumerate(places):
            with builder.if_then(builder.icmp_signed("<=", skip, skip.type(i))):
                where = builder.add(own, builder.mul(apart, LONG(i)))
                to = builder.add(word, builder.mul(further, LONG(i)))
                for j, place in enumerate(sums):
                    x = plus(builder, times(builder, builder.load(place), scale[j]), shift[j])
                    v = charge(builder.select(rest, zeros, potential.load(where, PIECE, LONG(j))), x)
                    fires = builder.icmp_signed(">=", v, bound)
                    potential.store(where, builder.select(fires, zeros, v), LONG(j))
                    builder.store(builder.bitcast(fires, ir.IntType(PIECE)), words.place(builder.add(to, LONG(j))))

    charges_alike(builder, kind, rate, step_all)


@instructions()
def put_bytes(builder, out, at, word, offset):
    """Write bits ``offset .. offset + 15`` of a word as bytes of 0 and 1 to ``out[at:]``."""
    bits = builder.trunc(builder.lshr(word, builder.zext(offset, LONG) if offset.type.width < 64 else offset), SIXTEEN)
    out.store(at, builder.zext(builder.bitcast(bits, ir.VectorType(BIT, 16)), ir.VectorType(ir.IntType(8), 16)))


SIXTEEN = ir.IntType(16)

if config.DISABLE_JIT:
    from evsim.kernels.plain_fixed import fire_windows, put_bytes


@kernel
def integer_synapses_of_bytes(
    first: int,
    last: int,
    seat: int,
    size: Size,
    inputs: NDArray[np.uint8],
    line: int,
    weights: NDArray[np.int8],
    sink: IntegerSink,
) -> None:
    """Run units on bytes, whose map has zeros all around: [T * H' * line], line = W' * C_in; `SHORT_RUN` more behind.

    weights [blocks of `CHANNELS`][row of the window][quad of inputs][`CHANNELS`][4]. The sink has neurons of kind
    `HALVES` or `ALIKE`. Bands are of whole lines, of at least `SIDE` outputs.
    """
    quads = (size.kernel_width * size.in_channels + QUAD - 1) // QUAD
    height = size.in_height + 2 * size.pad_height
    positions, wide = size.out_height * size.out_width, size.out_channels
    neurons = sink.neurons
    words, potential, threshold = neurons.halves, neurons.potential, np.int64(neurons.thresholds[0])
    step = size.stride_width * size.in_channels
    further, apart = wide // PIECE, wide if neurons.kept else CHANNELS
    while first < last:
        unit = unit_of(size, first, last, seat)
        first = after(size, first, unit)
        begin, end = unit.begin, unit.end
        for channel in range(unit.channel, unit.channel + unit.lanes, CHANNELS):
            base = channel * size.kernel_height * quads * QUAD
            for y in range(begin // size.out_width, end // size.out_width):
                for left in range(0, size.out_width, SIDE):
                    x = min(left, size.out_width - SIDE)
                    p = y * size.out_width + x
                    own = p * wide + channel if neurons.kept else seat * SIDE * CHANNELS
                    for t in range(size.steps):
                        word = ((t * positions + p) * wide + channel) // PIECE
                        if channel >= sink.channels:
                            for i in range(left - x, SIDE):
                                words[word + i * further], words[word + i * further + 1] = 0, 0
                            continue
                        start = (t * height + y * size.stride_height) * line + x * step
                        fire_windows(
                            inputs, start, line, step, size.kernel_height, quads, weights, base, sink.factor,
                            sink.offset, channel, potential, own, apart, t == 0 and not neurons.kept,
                            neurons.kind, neurons.rate, threshold, words, word, further, left - x,
                        )  # fmt: skip


@kernel
def spread_bits(
    first: int, last: int, words: NDArray[np.uint64], channels: int, width: int, height: int, out: NDArray[np.uint8],
    borders: tuple[int, int],
) -> None:  # fmt: skip
    """Write lines ``first .. last - 1`` of spikes [T * H * W] as bytes into maps with borders of zeros, from (y, x) on.

    `channels` are whole sixteens, up to 64.
    """
    rows, columns = borders
    line = (width + 2 * columns) * channels
    for i in range(first, last):
        at = (i // height * (height + 2 * rows) + i % height + rows) * line + columns * channels
        for x in range(width):
            word = words[i * width + x]
            for c in range(0, channels, 16):
                put_bytes(out, at + c, word, c)
            at += channels
