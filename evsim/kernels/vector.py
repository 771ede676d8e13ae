"""Vector building blocks: what plain Numba loops do not compile to.

Numba turns a loop "for every spike, add a weight row to the sums" into scalar adds, or stores the sums after each
spike. The intrinsics here emit LLVM vectors that stay in registers over the whole loop: one index load and one add
with memory operand per 32 (or 64) bytes of row and spike. Their width is that of a *block* of output channels: 64 or
32 lanes of float32, 32 of float64. LLVM splits a block into the registers that the CPU has (SSE2, AVX2, AVX-512), and
each lane keeps its own order of additions, so no result depends on the CPU.

An intrinsic cannot run without the JIT; with ``NUMBA_DISABLE_JIT=1`` plain twins of the same names take their place.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

BLOCK = {np.dtype(np.float32): 64, np.dtype(np.float64): 32}
"""Lanes of a full block of output channels by precision: 256 bytes, eight AVX2 or four AVX-512 registers."""

LANES = 32
"""Channels are padded to a multiple of this; a block of half size serves what a full block does not cover."""


def padded(channels: int) -> int:
    """Return `channels` rounded up to whole half blocks: the channel axis of every real-valued map in memory."""
    return -(-channels // LANES) * LANES


def _has(feature):
    """Whether the CPU for which Numba compiles has a feature, named as LLVM does."""
    if config.CPU_FEATURES is not None:
        return f"+{feature}" in config.CPU_FEATURES.split(",")
    return config.CPU_NAME is None and get_host_cpu_features().get(feature, False)


COMPRESSES = _has("avx512vbmi2") and not config.DISABLE_JIT
"""Whether the CPU moves the lanes of a vector that a mask names to its front, 16 bits each."""


@intrinsic
def add_rows(typingctx, sums, at, fresh, rows, base, index, values, start, stop, lanes):
    """``for i in start..stop: sums[at : at + lanes] += rows[base + index[i] * lanes :]``, sums held in registers.

    `sums`, `rows` 1-d float32 or float64; `index` 1-d uint16 or uint32, a row number; offsets in elements. Where
    `fresh`, the sums start from zero whatever stands in memory. `values` is None, or the factor of each entry's row:
    one multiply and one add, not fused, per lane.
    """
    signature = types.void(sums, at, fresh, rows, base, index, values, start, stop, lanes)

    def codegen(context, builder, sig, args):
        frame = _Frame(context, builder, sig, args)

        def emit(width):
            def term(i, acc):
                row = frame.load(3, 4, width, builder.zext(frame.element(5, i), ir.IntType(64)))
                if not isinstance(values, types.NoneType):
                    row = builder.fmul(_splat(builder, frame.element(6, i), width), row)
                return builder.fadd(acc, row)

            first = frame.choose(args[2], lambda: frame.zeros(width), lambda: frame.load(0, 1, width))
            frame.store(0, 1, width, frame.accumulate(first, args[7], args[8], term))

        frame.by_lanes(args[9], emit)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def add_quad(typingctx, sums, at, low, high, fresh, rows, base, index, starts, s, lanes):
    """Add rows to positions ``low .. high - 1`` of a quad, whose sums follow each other from `at` on.

    Lists ``s .. s + 6`` of `starts` name the rows of all four positions, of the first pair, of the second pair, and of
    each: what positions share is summed up first, from zero, in registers. Otherwise as `add_rows`.
    """
    signature = types.void(sums, at, low, high, fresh, rows, base, index, starts, s, lanes)

    def codegen(context, builder, sig, args):
        frame = _Frame(context, builder, sig, args)
        long = ir.IntType(64)

        def emit(width):
            edges = [frame.element(8, builder.add(args[9], long(i))) for i in range(8)]

            def term(i, acc):
                row = builder.zext(frame.element(7, i), long)
                return builder.fadd(acc, frame.load(5, 6, width, row))

            def own(position, shared):
                inside = builder.and_(
                    builder.icmp_signed("<=", args[2], args[2].type(position)),
                    builder.icmp_signed(">", args[3], args[3].type(position)),
                )
                with builder.if_then(inside):
                    place = builder.add(args[1], builder.mul(args[10], args[10].type(position)))
                    target = frame.pointer_at(0, place, width)

                    def with_sums():
                        before = builder.load(target)
                        before.align = frame.item
                        return builder.fadd(before, shared)

                    first = frame.choose(args[4], lambda: shared, with_sums)
                    total = frame.accumulate(first, edges[3 + position], edges[4 + position], term, unroll=False)
                    builder.store(total, target).align = frame.item

            every = frame.accumulate(frame.zeros(width), edges[0], edges[1], term, unroll=False)
            for pair in (0, 1):
                shared = frame.accumulate(every, edges[1 + pair], edges[2 + pair], term, unroll=False)
                own(2 * pair, shared)
                own(2 * pair + 1, shared)

        frame.by_lanes(args[10], emit)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def add_rows_of_bits(typingctx, sums, at, rows, base, word, lanes):
    """Like `add_rows` for the rows whose numbers are the set bits of a uint64, in ascending order: no list is made."""
    signature = types.void(sums, at, rows, base, word, lanes)

    def codegen(context, builder, sig, args):
        frame = _Frame(context, builder, sig, args)

        def emit(width):
            def term(row, acc):
                return builder.fadd(acc, frame.load(2, 3, width, row))

            frame.accumulate_bits(width, args[4], term)

        frame.by_lanes(args[5], emit)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def put_rows_of_bits(typingctx, out, at, rows, base, word, scale, lanes):
    """``out[at:] = scale *`` the sum that `add_rows_of_bits` adds to zeros."""
    signature = types.void(out, at, rows, base, word, rows.dtype, lanes)

    def codegen(context, builder, sig, args):
        frame = _Frame(context, builder, sig, args)

        def emit(width):
            def term(row, acc):
                return builder.fadd(acc, frame.load(2, 3, width, row))

            total = frame.sum_bits(frame.zeros(width), args[4], term)
            frame.store(0, 1, width, builder.fmul(total, _splat(builder, args[5], width)))

        frame.by_lanes(args[6], emit)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def write_counts(typingctx, rows, at, counts, begin):
    """``rows[at : at + 32] = counts[begin : begin + 32]``: uint16 become floats."""
    signature = types.void(rows, at, counts, begin)

    def codegen(context, builder, sig, args):
        frame = _Frame(context, builder, sig, args)
        real = ir.VectorType(context.get_data_type(sig.args[0].dtype), LANES)
        frame.store(0, 1, LANES, builder.uitofp(frame.load(2, 3, LANES), real))
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def tally_bits(typingctx, counts, at, words, base, word):
    """For every set bit n of `word`: ``counts[at + j] += bit j of words[base + n]``, j < 64.

    counts 1-d uint16, words 1-d uint64: 64 counters advance by one vector addition per set bit.
    """
    signature = types.void(counts, at, words, base, word)

    def codegen(context, builder, sig, args):
        frame = _Frame(context, builder, sig, args)
        start = builder.gep(frame.data(2), [args[3]])

        def term(n, acc):
            bits = builder.bitcast(builder.load(builder.gep(start, [n])), ir.VectorType(ir.IntType(1), 64))
            return builder.add(acc, builder.zext(bits, acc.type))

        frame.accumulate_bits(64, args[4], term)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def add_scaled_run(typingctx, sums, at, rows, base, values, start, stop, lanes):
    """``for i in start..stop: sums[at:] += values[i] * rows[base + (i - start) * lanes :]``: a run without gaps."""
    signature = types.void(sums, at, rows, base, values, start, stop, lanes)

    def codegen(context, builder, sig, args):
        frame = _Frame(context, builder, sig, args)

        def emit(width):
            def term(i, acc):
                factor = _splat(builder, frame.element(4, i), width)
                return builder.fadd(acc, builder.fmul(factor, frame.load(2, 3, width, builder.sub(i, args[5]))))

            frame.store(0, 1, width, frame.accumulate(frame.load(0, 1, width), args[5], args[6], term))

        frame.by_lanes(args[7], emit)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def lif_step(typingctx, current, at, shift, shift_at, potential, potential_at, rest, leak, divide, threshold, lanes):
    """One timestep of `lanes` LIF neurons; returns their spikes as bits of a uint64, lane 0 in bit 0.

    ``x = current + shift; v += (x - v) / leak`` where `divide`, else ``v += (x - v) * leak``; a spike where
    ``v >= threshold``; ``v = 0`` there. Where `rest`, v was 0 whatever stands in memory. `current`, `shift`,
    `potential` 1-d of one float type; offsets in elements.
    """
    real = current.dtype
    signature = types.uint64(current, at, shift, shift_at, potential, potential_at, rest, real, divide, real, lanes)

    def codegen(context, builder, sig, args):
        frame = _Frame(context, builder, sig, args)
        long = ir.IntType(64)
        piece = 64 // frame.item  # lanes of 64 bytes: few enough for all that a step needs to stay in registers
        bits = cgutils.alloca_once_value(builder, long(0))
        rest, divide = (builder.trunc(args[i], ir.IntType(1)) for i in (6, 8))

        def emit(width):
            factor, threshold = _splat(builder, args[7], piece), _splat(builder, args[9], piece)
            zeros = frame.zeros(piece)

            def step(change):
                fired = long(0)
                for i in range(width // piece):
                    x = builder.fadd(frame.load(0, 1, piece, long(i)), frame.load(2, 3, piece, long(i)))
                    v = builder.select(rest, zeros, frame.load(4, 5, piece, long(i)))
                    v = builder.fadd(v, change(builder.fsub(x, v), factor))
                    above = builder.fcmp_ordered(">=", v, threshold)
                    frame.store(4, 5, piece, builder.select(above, zeros, v), long(i))
                    word = builder.zext(builder.bitcast(above, ir.IntType(piece)), long)
                    fired = builder.or_(fired, builder.shl(word, long(i * piece)))
                builder.store(fired, bits)

            with builder.if_else(divide) as (by_division, by_product):
                with by_division:
                    step(builder.fdiv)
                with by_product:
                    step(builder.fmul)

        frame.by_lanes(args[10], emit)
        return builder.load(bits)

    return signature, codegen


@intrinsic
def add_maps(typingctx, out, out_at, sums, at, shift, shift_at, stream, stream_at, added, lanes):
    """``out[out_at:] = sums[at:] + shift[shift_at:]``, plus ``stream[stream_at:]`` where `added`."""
    signature = types.void(out, out_at, sums, at, shift, shift_at, stream, stream_at, added, lanes)

    def codegen(context, builder, sig, args):
        frame = _Frame(context, builder, sig, args)

        def emit(width):
            total = builder.fadd(frame.load(2, 3, width), frame.load(4, 5, width))
            with_stream = lambda: builder.fadd(total, frame.load(6, 7, width))  # noqa: E731
            frame.store(0, 1, width, frame.choose(args[8], with_stream, lambda: total))

        frame.by_lanes(args[9], emit)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def prefetch(typingctx, array, at):
    """Ask for the cache line that holds ``array[at]`` to be brought into the L2 cache; nothing is read or checked."""
    signature = types.void(array, at)

    def codegen(context, builder, sig, args):
        frame = _Frame(context, builder, sig, args)
        octet, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        pointer = builder.bitcast(builder.gep(frame.data(0), [args[1]]), octet)
        hint = ir.FunctionType(ir.VoidType(), [octet, number, number, number])
        function = cgutils.get_or_insert_function(builder.module, hint, "llvm.prefetch.p0")
        builder.call(function, [pointer, number(0), number(2), number(1)])
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def put_bits(typingctx, index, at, table, word, offset):
    """Write the numbers of a word's set bits, plus `offset`, to ``index[at:]``, uint16; return how many.

    Up to 64 entries more than there are set bits may be touched. A CPU with AVX-512 VBMI2 compresses the numbers
    0 .. 31 and 32 .. 63 by the word's halves. On others `table` holds, for each octet, the numbers of its set bits in
    8 entries: they are written eight at a time, and the next octet overwrites those that are too many.
    """
    signature = types.int64(index, at, table, word, offset)

    def codegen(context, builder, sig, args):
        frame = _Frame(context, builder, sig, args)
        long, short = ir.IntType(64), ir.IntType(16)
        target = builder.gep(frame.data(0), [args[1]])
        offset = builder.trunc(args[4], short)
        count = long(0)
        if COMPRESSES:
            many, mask = ir.VectorType(short, 32), ir.VectorType(ir.IntType(1), 32)
            compress = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(many, [many, many, mask]), "llvm.x86.avx512.mask.compress.v32i16"
            )
            for half in range(2):
                numbers = builder.add(
                    ir.Constant(many, list(range(32 * half, 32 * half + 32))), _splat(builder, offset, 32)
                )
                bits = builder.trunc(builder.lshr(args[3], long(32 * half)), ir.IntType(32))
                found = builder.call(compress, [numbers, numbers, builder.bitcast(bits, mask)])
                place = builder.bitcast(builder.gep(target, [count]), many.as_pointer())
                builder.store(found, place).align = 2
                count = builder.add(count, builder.zext(builder.ctpop(bits), long))
            return count
        eight = ir.VectorType(short, 8)
        entries = builder.bitcast(frame.data(2), eight.as_pointer())
        for j in range(8):
            octet = builder.and_(builder.lshr(args[3], long(8 * j)), long(255))
            numbers = builder.load(builder.gep(entries, [octet]))
            numbers.align = 2
            base = _splat(builder, builder.add(offset, short(8 * j)), 8)
            place = builder.bitcast(builder.gep(target, [count]), eight.as_pointer())
            builder.store(builder.add(numbers, base), place).align = 2
            count = builder.add(count, builder.ctpop(octet))
        return count

    return signature, codegen


@intrinsic
def put_few_bits(typingctx, index, at, word, offset):
    """Write the numbers of a word's five lowest set bits, plus `offset`, to ``index[at:]``, uint16.

    Five entries are written whatever the word, without a branch that could be guessed wrong; what stands behind the
    last set bit's has no meaning.
    """
    signature = types.void(index, at, word, offset)

    def codegen(context, builder, sig, args):
        frame = _Frame(context, builder, sig, args)
        long, short = ir.IntType(64), ir.IntType(16)
        target = builder.gep(frame.data(0), [args[1]])
        left = args[2]
        for j in range(5):
            number = builder.add(builder.cttz(left, ir.IntType(1)(0)), args[3])
            builder.store(builder.trunc(number, short), builder.gep(target, [long(j)]))
            left = builder.and_(left, builder.sub(left, long(1)))
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def popcount(typingctx, word):
    """Count the set bits of a uint64."""

    def codegen(context, builder, sig, args):
        return builder.ctpop(args[0])

    return types.uint64(types.uint64), codegen


@intrinsic
def lowest_bit(typingctx, word):
    """Return the position of the lowest set bit of a uint64 that is not 0."""

    def codegen(context, builder, sig, args):
        return builder.cttz(args[0], ir.IntType(1)(1))

    return types.uint64(types.uint64), codegen


class _Frame:
    """The arguments of one intrinsic call, and what it does with them; argument numbers count from 0."""

    def __init__(self, context, builder, sig, args):
        self.context, self.builder, self.types, self.args = context, builder, sig.args, args
        self.item = sig.args[0].dtype.bitwidth // 8

    def data(self, array):
        return cgutils.create_struct_proxy(self.types[array])(self.context, self.builder, self.args[array]).data

    def element(self, array, i):
        return self.builder.load(self.builder.gep(self.data(array), [i]))

    def pointer(self, array, offset, width, row=None):
        """Where a vector of an array lies: at an offset, and `row` vectors of that width further on."""
        start = self.pointer_at(array, self.args[offset], width)
        return start if row is None else self.builder.gep(start, [row])

    def pointer_at(self, array, place, width):
        start = self.builder.gep(self.data(array), [place])
        vector = ir.VectorType(self.context.get_data_type(self.types[array].dtype), width)
        return self.builder.bitcast(start, vector.as_pointer())

    def load(self, array, offset, width, row=None):
        pointer = self.pointer(array, offset, width, row)
        value = self.builder.load(pointer)
        value.align = self.item  # blocks do lie on cache lines, but NumPy guarantees no more than this
        return value

    def store(self, array, offset, width, value, row=None):
        self.builder.store(value, self.pointer(array, offset, width, row)).align = self.item

    def zeros(self, width):
        real = self.context.get_data_type(self.types[0].dtype)
        return ir.Constant(ir.VectorType(real, width), [0.0] * width)

    def choose(self, condition, yes, no):
        """Return ``yes()`` or ``no()``, of which only one is computed."""
        builder = self.builder
        with builder.if_else(builder.trunc(condition, ir.IntType(1))) as (then, otherwise):
            with then:
                first = yes()
                from_yes = builder.block
            with otherwise:
                second = no()
                from_no = builder.block
        result = builder.phi(first.type)
        result.add_incoming(first, from_yes)
        result.add_incoming(second, from_no)
        return result

    def accumulate(self, first, start, stop, term, unroll=True):
        """``for i in range(start, stop): first = term(i, first)``; return the last: a phi, so it stays in registers.

        LLVM unrolls such a loop, whose end is then guessed wrong twice: bad where lists are short.
        """
        builder = self.builder
        step = start.type(1)
        if not unroll:  # a step that LLVM does not know is one it cannot multiply
            step = builder.call(ir.InlineAsm(ir.FunctionType(start.type, [start.type]), "", "=r,0"), [step])
        before = builder.block
        loop, after = builder.append_basic_block("sum"), builder.append_basic_block("sum.end")
        builder.cbranch(builder.icmp_signed("<", start, stop), loop, after)
        builder.position_at_end(loop)
        i, acc = builder.phi(start.type), builder.phi(first.type)
        total = term(i, acc)
        following = builder.add(i, step)
        for phi, initial, next_value in ((i, start, following), (acc, first, total)):
            phi.add_incoming(initial, before)
            phi.add_incoming(next_value, builder.block)
        builder.cbranch(builder.icmp_signed("<", following, stop), loop, after)
        last = builder.block
        builder.position_at_end(after)
        result = builder.phi(first.type)
        result.add_incoming(first, before)
        result.add_incoming(total, last)
        return result

    def accumulate_bits(self, width, word, term):
        """Add ``term(n, sums)`` for each set bit n of `word` to the sums of arguments 0 and 1."""
        self.store(0, 1, width, self.sum_bits(self.load(0, 1, width), word, term))

    def sum_bits(self, first, word, term):
        """``for each set bit n of word, in ascending order: first = term(n, first)``; return the last."""
        builder = self.builder
        before = builder.block
        loop, after = builder.append_basic_block("bits"), builder.append_basic_block("bits.end")
        zero = word.type(0)
        builder.cbranch(builder.icmp_unsigned("!=", word, zero), loop, after)
        builder.position_at_end(loop)
        left, acc = builder.phi(word.type), builder.phi(first.type)
        total = term(builder.cttz(left, ir.IntType(1)(1)), acc)
        rest = builder.and_(left, builder.sub(left, word.type(1)))
        for phi, initial, next_value in ((left, word, rest), (acc, first, total)):
            phi.add_incoming(initial, before)
            phi.add_incoming(next_value, builder.block)
        builder.cbranch(builder.icmp_unsigned("!=", rest, zero), loop, after)
        last = builder.block
        builder.position_at_end(after)
        result = builder.phi(first.type)
        result.add_incoming(first, before)
        result.add_incoming(total, last)
        return result

    def by_lanes(self, lanes, emit):
        """Emit the body for a full block and, where a full block is wider than 32 lanes, for a half block."""
        if self.item == 8:
            emit(LANES)
            return
        builder = self.builder
        with builder.if_else(builder.icmp_signed("==", lanes, lanes.type(64))) as (full, half):
            with full:
                emit(64)
            with half:
                emit(LANES)


def _splat(builder, scalar, width):
    vector = ir.VectorType(scalar.type, width)
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.IntType(32)(0))
    return builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(ir.IntType(32), width), [0] * width))


if config.DISABLE_JIT:
    from evsim.kernels.plain import (  # noqa: F401 - they take the place of the intrinsics above
        add_maps,
        add_quad,
        add_rows,
        add_rows_of_bits,
        add_scaled_run,
        lif_step,
        lowest_bit,
        popcount,
        prefetch,
        put_bits,
        put_few_bits,
        put_rows_of_bits,
        tally_bits,
        write_counts,
    )
