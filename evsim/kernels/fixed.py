"""Vector building blocks of integer networks: from sums of integer weights to currents, and neurons on these.

Currents and membrane potentials are int32 in units of 2^-F; `>>` rounds down. Sums of pairs come apart here (`row_of`
in `evsim.kernels.emit`, which tells how an intrinsic is written). Plain twins take their place with
``NUMBA_DISABLE_JIT=1``.
"""

from __future__ import annotations

from llvmlite import ir
from numba import config, types
from numba.core import cgutils

from evsim.kernels.emit import LONG, instructions, plus, splat, times

PIECE = 16
"""Lanes that are worked on at once: 64 bytes of int32."""

WORD = 64
"""Neurons that are stepped at once: as many as a word of spikes has bits."""

HALVES, DRAWN, DECAYS = 0, 1, 2
"""How neurons charge: ``v += (x - v) >> 1`` (and reset to 0); ``v += (x - v) * rate >> 15``; or
``v = (v * rate >> 15) + x``."""

RATE_BITS = 15


def _many(value, width=PIECE):
    """Return a constant vector of int32."""
    return ir.Constant(ir.VectorType(ir.IntType(32), width), [value] * width)


@instructions()
def put_currents(
    builder, out, out_at, sums, at, bias, factor, offset, channel, stream, stream_at, added, lanes
):  # fmt: skip
    """``out[out_at:] = A * factor[channel:] + offset[channel:]``, plus ``stream[stream_at:]`` where `added`.

    A are the `lanes` sums of pairs at ``sums[at:]``, int16 or int32: their second half holds the sums of the second
    half of the outputs, and the first half is ``first - 2^h second - bias``, where h is half of a lane's bits. `out`,
    `factor`, `offset`, `stream` int32.
    """
    half = builder.sdiv(lanes, lanes.type(2))
    shift = sums.lane.width // 2
    wide = ir.VectorType(ir.IntType(32), PIECE)
    low = splat(builder, builder.trunc(bias, sums.lane), PIECE)

    def current(total, i):
        if sums.item < 4:
            total = builder.sext(total, wide)
        place = builder.add(channel, i)
        x = plus(builder, times(builder, total, factor.load(place, PIECE)), offset.load(place, PIECE))
        where = builder.add(stream_at, i)
        with builder.if_else(added) as (some, none):
            with some:
                both = plus(builder, x, stream.load(where, PIECE))
                from_some = builder.block
            with none:
                from_none = builder.block
        phi = builder.phi(x.type)
        phi.add_incoming(both, from_some)
        phi.add_incoming(x, from_none)
        out.store(builder.add(out_at, i), phi)

    with cgutils.for_range_slice(builder, half.type(0), half, half.type(PIECE), half.type) as (i, _):
        first = sums.load(builder.add(at, i), PIECE)
        second = sums.load(builder.add(builder.add(at, half), i), PIECE)
        shifted = builder.shl(second, ir.Constant(second.type, [shift] * PIECE))
        current(builder.sub(builder.sub(first, shifted), low), i)
        current(second, builder.add(half, i))


@instructions()
def put_products(builder, out, out_at, sums, at, fraction, factor, offset, channel, lanes):
    """``out[out_at:] = (sums[at:] * factor[channel:] >> fraction) + offset[channel:]``, products of 64 bits.

    `sums` int32 or int64, of which each output has its own; the others int32.
    """
    wide = ir.VectorType(LONG, PIECE)
    narrow = ir.VectorType(ir.IntType(32), PIECE)
    shift = splat(builder, builder.sext(fraction, LONG) if fraction.type.width < 64 else fraction, PIECE)
    with cgutils.for_range_slice(builder, lanes.type(0), lanes, lanes.type(PIECE), lanes.type) as (i, _):
        total = sums.load(builder.add(at, i), PIECE)
        place = builder.add(channel, i)
        total = builder.sext(total, wide) if sums.item < 8 else total
        product = times(builder, total, builder.sext(factor.load(place, PIECE), wide))
        x = builder.trunc(builder.ashr(product, shift), narrow)
        out.store(builder.add(out_at, i), plus(builder, x, offset.load(place, PIECE)))


@instructions(types.uint64)
def integer_step(
    builder, current, at, potential, own, rest, kind, rate, thresholds, resets, channel, soft
):  # fmt: skip
    """One timestep of 64 neurons; returns their spikes as bits of a uint64, lane 0 in bit 0.

    They charge by `kind` and `rate` (above); a spike where ``v >= thresholds[channel:]``; there ``v = 0``, or
    ``v -= resets[channel:]`` where `soft`, which neurons of kind `HALVES` are not. Where `rest`, v was 0 whatever
    stands in memory. All arrays int32.
    """
    bits = cgutils.alloca_once_value(builder, LONG(0))
    zeros = _many(0)
    wide = ir.VectorType(LONG, PIECE)
    factor = splat(builder, builder.sext(rate, LONG) if rate.type.width < 64 else rate, PIECE)

    def scaled(value):
        product = builder.mul(builder.sext(value, wide), factor)
        shifted = builder.ashr(product, ir.Constant(wide, [RATE_BITS] * PIECE))
        return builder.trunc(shifted, zeros.type)

    def apart(v, x):
        """Return x - v as 64 bits, times the rate."""
        product = builder.mul(builder.sub(builder.sext(x, wide), builder.sext(v, wide)), factor)
        shifted = builder.ashr(product, ir.Constant(wide, [RATE_BITS] * PIECE))
        return builder.trunc(shifted, zeros.type)

    def step(charge, resets_to):
        spikes = LONG(0)
        for i in range(WORD // PIECE):
            x = current.load(at, PIECE, LONG(i))
            v = builder.select(rest, zeros, potential.load(own, PIECE, LONG(i)))
            v = charge(v, x)
            fires = builder.icmp_signed(">=", v, thresholds.load(channel, PIECE, LONG(i)))
            potential.store(own, builder.select(fires, resets_to(v, i), v), LONG(i))
            word = builder.zext(builder.bitcast(fires, ir.IntType(PIECE)), LONG)
            spikes = builder.or_(spikes, builder.shl(word, LONG(i * PIECE)))
        builder.store(spikes, bits)

    def left(v, i):
        return builder.select(soft, builder.sub(v, resets.load(channel, PIECE, LONG(i))), zeros)

    with builder.if_else(builder.icmp_signed("==", kind, kind.type(HALVES))) as (halves, others):
        with halves:
            step(lambda v, x: plus(builder, v, builder.ashr(builder.sub(x, v), _many(1))), lambda _v, _i: zeros)
        with others, builder.if_else(builder.icmp_signed("==", kind, kind.type(DECAYS))) as (decays, drawn):
            with decays:
                step(lambda v, x: plus(builder, scaled(v), x), left)
            with drawn:
                step(lambda v, x: plus(builder, v, apart(v, x)), left)
    return builder.load(bits)


if config.DISABLE_JIT:
    from evsim.kernels.plain_fixed import integer_step, put_currents, put_products  # noqa: F401
