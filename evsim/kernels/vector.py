"""Vector building blocks: what plain Numba loops do not compile to.

Numba turns a loop "for every spike, add a weight row to the sums" into scalar adds, or stores the sums after each
spike. The intrinsics here emit LLVM vectors that stay in registers over the whole loop: one index load and one add
with memory operand per 32 (or 64) bytes of row and spike. Their width is that of a *block* of output channels: 64 or
32 lanes of four bytes, 32 of eight. LLVM splits a block into the registers that the CPU has (SSE2, AVX2, AVX-512), and
each lane keeps its own order of additions, so no result depends on the CPU.

How an intrinsic is written tells `evsim.kernels.emit`. None can run without the JIT; with ``NUMBA_DISABLE_JIT=1``
plain twins of the same names take their place.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba import config, types
from numba.core import cgutils

from evsim.kernels.emit import (
    BIT,
    LANE,
    LANES,
    LONG,
    SHORT,
    choose,
    instructions,
    over_bits,
    over_range,
    plus,
    row_of,
    splat,
    times,
    without_lowest,
)

BLOCK = {np.dtype(np.float32): 64, np.dtype(np.float64): 32}
"""Lanes of a full block of output channels by precision: 256 bytes, eight AVX2 or four AVX-512 registers."""


def padded(channels: int) -> int:
    """Return `channels` rounded up to whole half blocks: the channel axis of every real-valued map in memory."""
    return -(-channels // LANES) * LANES


LINE = 64
"""Bytes from one prefetch to the next: a cache line."""


def has(feature):
    """Return whether the CPU for which Numba compiles has a feature, named as LLVM does."""
    if config.CPU_FEATURES is not None:
        return f"+{feature}" in config.CPU_FEATURES.split(",")
    return config.CPU_NAME is None and get_host_cpu_features().get(feature, False)


COMPRESSES = has("avx512vbmi2") and not config.DISABLE_JIT
"""Whether the CPU moves the lanes of a vector that a mask names to its front, 16 bits each."""


POPCOUNTS = has("avx512vpopcntdq") and not config.DISABLE_JIT
"""Whether the CPU counts the bits of eight words at once."""


@instructions()
def add_rows(builder, sums, at, fresh, rows, base, index, values, start, stop, lanes):
    """``for i in start..stop: sums[at : at + lanes] += rows[base + index[i] * lanes :]``, sums held in registers.

    `sums`, `rows` 1-d of one type, or rows of pairs (`row_of`); `index` 1-d uint16 or uint32, a row number; offsets in
    elements. Where `fresh`, the sums start from zero whatever stands in memory. `values` is None, or the factor of each
    entry's row: one multiply and one add, not fused, per lane.
    """

    def block(width):
        def with_row(i, total):
            row = row_of(builder, sums, rows, base, width, index.number(i))
            if values is not None:
                row = times(builder, splat(builder, values.element(i), width), row)
            return plus(builder, total, row)

        first = choose(builder, fresh, lambda: sums.zeros(width), lambda: sums.load(at, width))
        sums.store(at, over_range(builder, first, start, stop, with_row))

    sums.by_lanes(lanes, block)


@instructions()
def add_rows_of_bits(builder, sums, at, rows, base, word, lanes):
    """Like `add_rows` for the rows whose numbers are the set bits of a uint64, in ascending order: no list is made."""

    def block(width):
        def with_row(row, total):
            return plus(builder, total, rows.load(base, width, row))

        sums.store(at, over_bits(builder, sums.load(at, width), word, with_row))

    sums.by_lanes(lanes, block)


@instructions(scale=LANE)
def put_rows_of_bits(builder, out, at, rows, base, word, scale, lanes):
    """``out[at:] = scale *`` the sum that `add_rows_of_bits` adds to zeros."""

    def block(width):
        def with_row(row, total):
            return plus(builder, total, rows.load(base, width, row))

        total = over_bits(builder, rows.zeros(width), word, with_row)
        if rows.item < out.item:  # short integers that are added up faster
            total = builder.sext(total, out.vector(width))
        out.store(at, times(builder, total, splat(builder, scale, width)))

    out.by_lanes(lanes, block)


@instructions()
def write_counts(builder, rows, at, counts, begin):
    """``rows[at : at + 32] = counts[begin : begin + 32]``: uint16 become floats or int32, or stay as they are."""
    values = counts.load(begin, LANES)
    if rows.item > 2:
        to = builder.zext if isinstance(rows.lane, ir.IntType) else builder.uitofp
        values = to(values, rows.vector(LANES))
    rows.store(at, values)


@instructions()
def count_common(builder, counts, words, base, others, at, spans):
    """``counts[j] =`` the bits that word j of each span of 64 words has in common with the span's word in `others`.

    Spans begin at ``words[base]``, and their words in `others` lie 64 apart, from `at` on; counts uint16 [64].
    """
    wide = ir.VectorType(LONG, 64)
    count = cgutils.get_or_insert_function(builder.module, ir.FunctionType(wide, [wide]), "llvm.ctpop.v64i64")

    def with_span(i, total):
        other = others.number(builder.add(at, builder.mul(i, LONG(64))))
        common = builder.and_(words.load(base, 64, i), splat(builder, other, 64))
        return builder.add(total, builder.call(count, [common]))

    total = over_range(builder, ir.Constant(wide, None), spans.type(0), spans, with_span)
    counts.store(LONG(0), builder.trunc(total, counts.vector(64)))


@instructions()
def transpose_words(builder, rows, columns):
    """Write word c of `columns` [64]: its bit r is bit c of ``rows[r]`` [64].

    Quadrants of bits swap, then those of each quadrant: all words at once, in six steps.
    """
    many = ir.VectorType(LONG, 64)
    places = ir.VectorType(ir.IntType(32), 64)
    words = rows.load(LONG(0), 64)
    for step in (32, 16, 8, 4, 2, 1):
        low = sum(1 << bit for bit in range(64) if not bit & step)
        high = low << step
        kept = [high if r & step else low for r in range(64)]
        across = builder.shuffle_vector(words, words, ir.Constant(places, [r ^ step for r in range(64)]))
        up = builder.shl(across, ir.Constant(many, [0 if r & step else step for r in range(64)]))
        moved = builder.lshr(up, ir.Constant(many, [step if r & step else 0 for r in range(64)]))
        other = ir.Constant(many, [low if r & step else high for r in range(64)])
        words = builder.or_(builder.and_(words, ir.Constant(many, kept)), builder.and_(moved, other))
    columns.store(LONG(0), words)


@instructions()
def tally_bits(builder, counts, at, words, base, word):
    """For every set bit n of `word`: ``counts[at + j] += bit j of words[base + n]``, j < 64.

    counts 1-d uint16, words 1-d uint64: 64 counters advance by one vector addition per set bit.
    """

    def with_word(n, total):
        bits = builder.bitcast(words.number(builder.add(base, n)), ir.VectorType(BIT, 64))
        return builder.add(total, builder.zext(bits, total.type))

    counts.store(at, over_bits(builder, counts.load(at, 64), word, with_word))


@instructions()
def add_scaled_run(builder, sums, at, rows, base, values, start, stop, lanes):
    """``for i in start..stop: sums[at:] += values[i] * rows[base + (i - start) * lanes :]``: a run without gaps."""

    def block(width):
        def with_row(i, total):
            factor = splat(builder, values.element(i), width)
            return plus(builder, total, times(builder, factor, rows.load(base, width, builder.sub(i, start))))

        sums.store(at, over_range(builder, sums.load(at, width), start, stop, with_row))

    sums.by_lanes(lanes, block)


@instructions(leak=LANE, threshold=LANE)
def lif_steps(
    builder, current, at, along, shift, shift_at, potential, potential_at, potential_along, rest, leak, divide,
    threshold, words, word, word_along, count, lanes,
):  # fmt: skip
    """One timestep of `lanes` LIF neurons of each of `count` positions; their spikes become half words, uint32.

    ``x = current + shift; v += (x - v) / leak`` where `divide`, else ``v += (x - v) * leak``; a spike where
    ``v >= threshold``; ``v = 0`` there. Where `rest`, v was 0 whatever stands in memory. `current`, `shift`,
    `potential` 1-d of one float type; offsets in elements, which for the next position are `along` larger; lane 0 is
    bit 0 of ``words[word]``. No branch stands within the loop over positions.
    """
    piece = 64 // current.item  # lanes of 64 bytes: few enough for all that a step needs to stay in registers
    zeros, leak, threshold = current.zeros(piece), splat(builder, leak, piece), splat(builder, threshold, piece)

    def block(width):
        def step(change, before):
            def at_position(i, carried):
                here = builder.add(at, builder.mul(i, along))
                own = builder.add(potential_at, builder.mul(i, potential_along))
                spikes = LONG(0)
                for j in range(width // piece):
                    x = builder.fadd(current.load(here, piece, LONG(j)), shift.load(shift_at, piece, LONG(j)))
                    v = before(own, j)
                    v = builder.fadd(v, change(builder.fsub(x, v), leak))
                    fires = builder.fcmp_ordered(">=", v, threshold)
                    potential.store(own, builder.select(fires, zeros, v), LONG(j))
                    bits = builder.zext(builder.bitcast(fires, ir.IntType(piece)), LONG)
                    spikes = builder.or_(spikes, builder.shl(bits, LONG(j * piece)))
                to = builder.add(word, builder.mul(i, word_along))
                for half in range(width // LANES):
                    bits = builder.trunc(builder.lshr(spikes, LONG(half * LANES)), words.lane)
                    builder.store(bits, words.place(builder.add(to, LONG(half))))
                return carried

            over_range(builder, LONG(0), LONG(0), count, at_position, unroll=False)

        def either(change):
            with builder.if_else(rest) as (resting, charged):
                with resting:
                    step(change, lambda _own, _j: zeros)
                with charged:
                    step(change, lambda own, j: potential.load(own, piece, LONG(j)))

        with builder.if_else(divide) as (by_division, by_product):
            with by_division:
                either(builder.fdiv)
            with by_product:
                either(builder.fmul)

    current.by_lanes(lanes, block)


@instructions(types.uint64, leak=LANE)
def neuron_step(
    builder, current, at, shift, shift_at, potential, potential_at, rest, leak, decays, divide, threshold, reset, soft,
    lanes,
):  # fmt: skip
    """One timestep of `lanes` neurons of other kinds than `lif_steps` knows; returns their spikes as its bits.

    ``x = current + shift``; where `decays`, ``v = v * leak + x``; else v as there. A spike where ``v >= threshold``, of
    each channel its own, as is `reset`: ``v -= reset`` there where `soft`, else ``v = 0``. `threshold` and `reset` lie
    as `shift` does.
    """
    piece = 64 // current.item
    bits = cgutils.alloca_once_value(builder, LONG(0))
    zeros, leak = current.zeros(piece), splat(builder, leak, piece)

    def block(width):
        def step(charge):
            spikes = LONG(0)
            for i in range(width // piece):
                x = builder.fadd(current.load(at, piece, LONG(i)), shift.load(shift_at, piece, LONG(i)))
                v = builder.select(rest, zeros, potential.load(potential_at, piece, LONG(i)))
                v = charge(v, x)
                fires = builder.fcmp_ordered(">=", v, threshold.load(shift_at, piece, LONG(i)))
                left = builder.fsub(v, reset.load(shift_at, piece, LONG(i)))
                left = builder.select(soft, left, zeros)
                potential.store(potential_at, builder.select(fires, left, v), LONG(i))
                word = builder.zext(builder.bitcast(fires, ir.IntType(piece)), LONG)
                spikes = builder.or_(spikes, builder.shl(word, LONG(i * piece)))
            builder.store(spikes, bits)

        with builder.if_else(decays) as (apart, drawn):
            with apart:
                step(lambda v, x: builder.fadd(builder.fmul(v, leak), x))
            with drawn, builder.if_else(divide) as (by_division, by_product):
                with by_division:
                    step(lambda v, x: builder.fadd(v, builder.fdiv(builder.fsub(x, v), leak)))
                with by_product:
                    step(lambda v, x: builder.fadd(v, builder.fmul(builder.fsub(x, v), leak)))

    current.by_lanes(lanes, block)
    return builder.load(bits)


@instructions()
def add_maps(builder, out, out_at, sums, at, shift, shift_at, stream, stream_at, added, lanes):
    """``out[out_at:] = sums[at:] + shift[shift_at:]``, plus ``stream[stream_at:]`` where `added`."""

    def block(width):
        total = plus(builder, sums.load(at, width), shift.load(shift_at, width))
        both = lambda: plus(builder, total, stream.load(stream_at, width))  # noqa: E731 - computed where needed
        out.store(out_at, choose(builder, added, both, lambda: total))

    out.by_lanes(lanes, block)


@instructions()
def prefetch(builder, array, at):
    """Ask for the cache line that holds ``array[at]`` to be brought into the L2 cache; nothing is read or checked."""
    ask_for(builder, array, at)


def ask_for(builder, array, at):
    """Emit a `prefetch`."""
    octet, number = ir.IntType(8).as_pointer(), ir.IntType(32)
    hint = ir.FunctionType(ir.VoidType(), [octet, number, number, number])
    function = cgutils.get_or_insert_function(builder.module, hint, "llvm.prefetch.p0")
    builder.call(function, [builder.bitcast(array.hint(at), octet), number(0), number(2), number(1)])


@instructions(types.int64)
def put_bits(builder, index, at, table, word, offset):
    """Write the numbers of a word's set bits, plus `offset`, to ``index[at:]``, uint16; return how many.

    Up to 64 entries more than there are set bits may be touched. A CPU with AVX-512 VBMI2 compresses the numbers
    0 .. 31 and 32 .. 63 by the word's halves. On others `table` holds, for each octet, the numbers of its set bits in
    8 entries: they are written eight at a time, and the next octet overwrites those that are too many.
    """
    offset = builder.trunc(offset, SHORT)
    many, mask = ir.VectorType(SHORT, 32), ir.VectorType(BIT, 32)
    count = LONG(0)
    if COMPRESSES:
        compress = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(many, [many, many, mask]), "llvm.x86.avx512.mask.compress.v32i16"
        )
        for half in (0, 32):
            numbers = builder.add(ir.Constant(many, list(range(half, half + 32))), splat(builder, offset, 32))
            bits = builder.trunc(builder.lshr(word, LONG(half)), ir.IntType(32))
            index.store(builder.add(at, count), builder.call(compress, [numbers, numbers, builder.bitcast(bits, mask)]))
            count = builder.add(count, builder.zext(builder.ctpop(bits), LONG))
        return count
    for j in range(0, 64, 8):
        octet = builder.and_(builder.lshr(word, LONG(j)), LONG(255))
        base = splat(builder, builder.add(offset, SHORT(j)), 8)
        index.store(builder.add(at, count), builder.add(table.load(LONG(0), 8, octet), base))
        count = builder.add(count, builder.ctpop(octet))
    return count


@instructions()
def put_few_bits(builder, index, at, word, offset):
    """Write the numbers of a word's five lowest set bits, plus `offset`, to ``index[at:]``, uint16.

    Five entries are written whatever the word, without a branch that could be guessed wrong; what stands behind the
    last set bit's has no meaning.
    """
    for j in range(5):
        number = builder.add(builder.cttz(word, BIT(0)), offset)
        builder.store(builder.trunc(number, SHORT), index.place(builder.add(at, LONG(j))))
        word = without_lowest(builder, word)


@instructions(types.uint64, word=types.uint64)
def popcount(builder, word):
    """Count the set bits of a uint64."""
    return builder.ctpop(word)


@instructions(types.uint64, word=types.uint64)
def lowest_bit(builder, word):
    """Return the position of the lowest set bit of a uint64 that is not 0."""
    return builder.cttz(word, BIT(1))


if config.DISABLE_JIT:
    from evsim.kernels.plain import (  # noqa: F401 - they take the place of the intrinsics above
        add_maps,
        add_rows,
        add_rows_of_bits,
        add_scaled_run,
        count_common,
        lif_steps,
        lowest_bit,
        neuron_step,
        popcount,
        prefetch,
        put_bits,
        put_few_bits,
        put_rows_of_bits,
        tally_bits,
        transpose_words,
        write_counts,
    )
