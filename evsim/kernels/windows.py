"""Vector building blocks that take bits apart: windows of depthwise convolutions, and integers from bits and back.

A bit of a word of spikes is a lane of a mask: where it is set, the lane adds. With AVX-512 that is one instruction per
16 channels and tap, which passes over nothing and guesses nothing. How an intrinsic is written tells
`evsim.kernels.emit`; plain twins take their place with ``NUMBA_DISABLE_JIT=1``.
"""

from __future__ import annotations

from llvmlite import ir
from numba import config, types
from numba.core import cgutils

from evsim.kernels.emit import BIT, LONG, instructions, plus, splat, times

PIECE = 16
"""Channels that a window is gathered for at once."""

OUTPUTS = 8
"""Outputs, side by side, that are gathered at once: they share what is loaded of weights and of the map."""

WIDTHS = (3, 5, 7)
"""Widths of windows for which there is code."""


@instructions()
def gather_window(
    builder, out, at, step, count, source, source_at, source_row, source_step, weights, weight_at, weight_step, shift,
    shift_at, low, high, width,
):  # fmt: skip
    """Gather `PIECE` channels of up to `OUTPUTS` outputs of a depthwise convolution, side by side, at stride 1.

    ``out[at + i * step :] = shift[shift_at :] +`` the sum over rows ``low .. high - 1`` of the window and its `width`
    (of `WIDTHS`) columns, in this order, for i below `count`. The map's value for row r and column c of the window of
    output i lies in `source` at ``source_at + r * source_row + (i + c) * source_step``: there are `PIECE` floats, by
    which the weights are multiplied, or 16 bits, where set the weights are added. Those of a tap lie at
    ``weight_at + (r * width + c) * weight_step``. Columns of all `OUTPUTS` are read, whatever `count`.
    """
    mask = ir.VectorType(BIT, PIECE)
    kind = out.vector(PIECE)
    places = [cgutils.alloca_once(builder, kind) for _ in range(OUTPUTS)]
    for place in places:
        builder.store(out.zeros(PIECE), place)

    def tap(total, weight, value):
        if source.item == 2:
            return builder.select(value, plus(builder, total, weight), total)
        return plus(builder, total, times(builder, weight, value))

    def row(r, columns):
        begin = builder.add(source_at, builder.mul(r, source_row))
        first = builder.mul(r, LONG(columns))
        factors = [
            weights.load(builder.add(weight_at, builder.mul(builder.add(first, LONG(c)), weight_step)), PIECE)
            for c in range(columns)
        ]
        for i in range(OUTPUTS + columns - 1):
            where = builder.add(begin, builder.mul(source_step, LONG(i)))
            value = builder.bitcast(source.element(where), mask) if source.item == 2 else source.load(where, PIECE)
            for c in range(max(0, i - OUTPUTS + 1), min(columns, i + 1)):
                builder.store(tap(builder.load(places[i - c]), factors[c], value), places[i - c])

    for columns in WIDTHS:
        mine = builder.icmp_signed("==", width, width.type(columns))
        with builder.if_then(mine), cgutils.for_range_slice(builder, low, high, low.type(1), low.type) as (r, _):
            row(r, columns)
    added = shift.load(shift_at, PIECE)
    for i, place in enumerate(places):
        with builder.if_then(builder.icmp_signed(">", count, count.type(i))):
            out.store(builder.add(at, builder.mul(step, LONG(i))), plus(builder, builder.load(place), added))


@instructions()
def add_scaled_runs(builder, sums, at, rows, base, values, start, stop, step, lanes):
    """``add_scaled_run`` of four outputs, whose sums follow each other from `at` on and whose values lie `step` apart.

    So each row is loaded once for four. Lanes are taken 128 bytes at a time, for registers hold no more.
    """
    piece = 128 // sums.item

    def block(width):
        for offset in range(0, width, piece):
            begins = [builder.add(at, builder.add(builder.mul(lanes, LONG(i)), LONG(offset))) for i in range(4)]
            places = [cgutils.alloca_once(builder, sums.vector(piece)) for _ in begins]
            for place, begin in zip(places, begins, strict=True):
                builder.store(sums.load(begin, piece), place)
            with cgutils.for_range_slice(builder, start, stop, start.type(1), start.type) as (i, _):
                number = builder.mul(builder.sub(i, start), lanes)
                row = rows.load(builder.add(builder.add(base, LONG(offset)), number), piece)
                for k, place in enumerate(places):
                    value = values.element(builder.add(i, builder.mul(step, LONG(k))))
                    term = times(builder, splat(builder, value, piece), row)
                    builder.store(plus(builder, builder.load(place), term), place)
            for place, begin in zip(places, begins, strict=True):
                sums.store(begin, builder.load(place))

    sums.by_lanes(lanes, block)


@instructions(types.uint64)
def bits_at(builder, values, at, bit):
    """Return as a word which of the 64 int32 from `at` on have bit number `bit` set."""
    one = builder.shl(ir.IntType(32)(1), builder.trunc(bit, ir.IntType(32)))
    having = builder.and_(values.load(at, 64), splat(builder, one, 64))
    return builder.bitcast(builder.icmp_unsigned("!=", having, values.zeros(64)), LONG)


@instructions(types.uint64)
def nonzero_at(builder, values, at):
    """Return as a word which of the 64 int32 from `at` on are not 0."""
    return builder.bitcast(builder.icmp_unsigned("!=", values.load(at, 64), values.zeros(64)), LONG)


@instructions(word=types.uint64)
def add_bits(builder, values, at, word):
    """Add 1 to those of the 64 int32 from `at` on whose bit of a word is set."""
    ones = builder.zext(builder.bitcast(word, ir.VectorType(BIT, 64)), values.vector(64))
    values.store(at, plus(builder, values.load(at, 64), ones))


if config.DISABLE_JIT:
    from evsim.kernels.plain import add_bits, add_scaled_runs, bits_at, gather_window, nonzero_at  # noqa: F401
