"""Vector building blocks of integer networks: from sums of integer weights to currents, and neurons on these.

Currents and membrane potentials are int32 in units of 2^-F; `>>` rounds down. Sums of pairs come apart here (`row_of`
in `evsim.kernels.emit`, which tells how an intrinsic is written). Plain twins take their place with
``NUMBA_DISABLE_JIT=1``.
"""

from __future__ import annotations

from llvmlite import ir
from numba import config, types
from numba.core import cgutils

from evsim.kernels.emit import (
    LONG,
    SHORT,
    either,
    instructions,
    plus,
    splat,
    times,
)
from evsim.kernels.vector import has

PIECE = 16
"""Lanes that are worked on at once: 64 bytes of int32."""

WORD = 64
"""Neurons that are stepped at once: as many as a word of spikes has bits."""

HALVES, ALIKE, DRAWN, DECAYS = 0, 1, 2, 3
"""How neurons charge: ``v += (x - v) >> 1``; ``v += (x - v) * rate >> 15``, of ALIKE and DRAWN; or
``v = (v * rate >> 15) + x``. HALVES and ALIKE reset to 0 and have one threshold."""

RATE_BITS = 15

HAS_MADD, HAS_VNNI = has("avx512bw"), has("avx512vnni")
"""Whether the CPU adds up products of neighbouring int16, 32 at once; and whether onto sums."""


def _many(value, width=PIECE):
    """Return a constant vector of int32."""
    return ir.Constant(ir.VectorType(ir.IntType(32), width), [value] * width)


def _apart(builder, sums, at, half, bias, i):
    """Return 16 sums of the first half of a block's outputs, and 16 of the second, from place `i` on, as int32.

    Sums of pairs, int16 or int32: behind `half` of them stand the sums of the second half; those before are
    ``first + 2^h second + bias``, where h is half of a lane's bits.
    """
    wide = ir.VectorType(ir.IntType(32), PIECE)
    first = sums.load(builder.add(at, LONG(i)), PIECE)
    second = sums.load(builder.add(at, LONG(half + i)), PIECE)
    shifted = builder.shl(second, ir.Constant(second.type, [sums.lane.width // 2] * PIECE))
    alone = builder.sub(builder.sub(first, shifted), splat(builder, builder.trunc(bias, sums.lane), PIECE))
    if sums.item == 4:
        return alone, second
    return builder.sext(alone, wide), builder.sext(second, wide)


def _share(builder, value, rate):
    """Return ``value * rate >> 15``, as if the product had more than 32 bits: high and low bits apart."""
    high = builder.ashr(value, _many(RATE_BITS))
    low = builder.and_(value, _many((1 << RATE_BITS) - 1))
    return plus(builder, times(builder, high, rate), builder.lshr(times(builder, low, rate), _many(RATE_BITS)))


def charges_alike(builder, kind, rate, step):
    """Emit ``step(charge)`` for neurons of kind `HALVES` and `ALIKE`, which reset to 0 and have one threshold.

    ``charge(v, x)`` is the potential that a current x makes of v, before a spike; of rest, where v is None.
    """
    rate = splat(builder, builder.trunc(rate, ir.IntType(32)) if rate.type.width > 32 else rate, PIECE)

    def towards(part):
        return lambda v, x: part(x) if v is None else plus(builder, v, part(builder.sub(x, v)))

    with builder.if_else(builder.icmp_signed("==", kind, kind.type(HALVES))) as (halves, others):
        with halves:
            step(towards(lambda value: builder.ashr(value, _many(1))))
        with others:
            step(towards(lambda value: _share(builder, value, rate)))


def _current(builder, total, factor, offset, place):
    """Return ``total * factor[place:] + offset[place:]``."""
    return plus(builder, times(builder, total, factor.load(place, PIECE)), offset.load(place, PIECE))


@instructions()
def put_currents(
    builder, out, out_at, sums, at, bias, factor, offset, channel, stream, stream_at, added, lanes
):  # fmt: skip
    """``out[out_at:] = A * factor[channel:] + offset[channel:]``, plus ``stream[stream_at:]`` where `added`.

    A are the `lanes` sums at ``sums[at:]``, of pairs (`_apart`); `out`, `factor`, `offset`, `stream` int32.
    """

    def block(width):
        def all_of(more):
            for i in range(0, width // 2, PIECE):
                totals = _apart(builder, sums, at, width // 2, bias, i)
                for total, here in zip(totals, (i, width // 2 + i), strict=True):
                    x = _current(builder, total, factor, offset, builder.add(channel, LONG(here)))
                    if more:
                        x = plus(builder, x, stream.load(builder.add(stream_at, LONG(here)), PIECE))
                    out.store(builder.add(out_at, LONG(here)), x)

        with builder.if_else(added) as (some, none):
            with some:
                all_of(True)
            with none:
                all_of(False)

    sums.by_lanes(lanes, block)


@instructions()
def fire_pairs(
    builder, sums, at, bias, factor, offset, channel, potential, own, rest, kind, rate, threshold, words, word, lanes
):  # fmt: skip
    """One timestep of a block's neurons of kind `HALVES` or `ALIKE` on sums of pairs, from the sums to bits of spikes.

    Currents are those of `put_currents`. `words` uint16: the spikes of 16 neurons each, from ``words[word]`` on.
    """
    threshold = splat(builder, builder.trunc(threshold, ir.IntType(32)), PIECE)

    def block(width):
        def step(charge, at_rest):
            for i in range(0, width // 2, PIECE):
                totals = _apart(builder, sums, at, width // 2, bias, i)
                for total, here in zip(totals, (i, width // 2 + i), strict=True):
                    place, where = builder.add(channel, LONG(here)), builder.add(own, LONG(here))
                    x = _current(builder, total, factor, offset, place)
                    v = charge(None if at_rest else potential.load(where, PIECE), x)
                    fires = builder.icmp_signed(">=", v, threshold)
                    potential.store(where, builder.select(fires, _many(0), v))
                    bits = builder.bitcast(fires, ir.IntType(PIECE))
                    builder.store(bits, words.place(builder.add(word, LONG(here // PIECE))))

        charges_alike(builder, kind, rate, lambda charge: either(builder, rest, lambda at_rest: step(charge, at_rest)))

    sums.by_lanes(lanes, block)


@instructions()
def fire_sums(
    builder, sums, at, count, apart, factor, offset, channel, potential, own, along, rest, kind, rate, threshold, words,
    word, further,
):  # fmt: skip
    """One timestep of 32 neurons of kind `HALVES` or `ALIKE` at each of `count` positions, on sums that are 0 then.

    `sums` int16 or int32, of which each output has its own: those of a position lie `apart` behind those of the one
    before it, its potentials `along`, and its spikes (`words` uint16) `further`. Currents are those of `put_currents`.
    """
    pieces = range(2)
    scale, shift = ([array.load(channel, PIECE, LONG(j)) for j in pieces] for array in (factor, offset))
    threshold = splat(builder, builder.trunc(threshold, ir.IntType(32)), PIECE)

    def step(charge, at_rest):
        with cgutils.for_range(builder, count) as loop:
            here = builder.add(at, builder.mul(loop.index, apart))
            where = builder.add(own, builder.mul(loop.index, along))
            to = builder.add(word, builder.mul(loop.index, further))
            totals = [sums.load(here, PIECE, LONG(j)) for j in pieces]
            if sums.item < potential.item:
                totals = [builder.sext(total, potential.vector(PIECE)) for total in totals]
            for j, total in enumerate(totals):
                x = plus(builder, times(builder, total, scale[j]), shift[j])
                v = charge(None if at_rest else potential.load(where, PIECE, LONG(j)), x)
                fires = builder.icmp_signed(">=", v, threshold)
                potential.store(where, builder.select(fires, _many(0), v), LONG(j))
                builder.store(builder.bitcast(fires, ir.IntType(PIECE)), words.place(builder.add(to, LONG(j))))
                sums.store(here, sums.zeros(PIECE), LONG(j))

    charges_alike(builder, kind, rate, lambda charge: either(builder, rest, lambda at_rest: step(charge, at_rest)))


@instructions()
def widen_pairs(builder, wide, to, sums, at, bias, fresh, lanes):
    """``wide[to:] += A``, or ``= A`` where `fresh`: sums of pairs as `put_currents` takes them, to int32."""

    def block(width):
        def all_of(begins):
            for i in range(0, width // 2, PIECE):
                totals = _apart(builder, sums, at, width // 2, bias, i)
                for total, here in zip(totals, (i, width // 2 + i), strict=True):
                    place = builder.add(to, LONG(here))
                    wide.store(place, total if begins else plus(builder, wide.load(place, PIECE), total))

        either(builder, fresh, all_of)

    sums.by_lanes(lanes, block)


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


def _madd(builder, total, left, right):
    """Add to 16 int32, of two vectors of 32 int16, the sums of the products of neighbours."""
    numbers = ir.VectorType(ir.IntType(32), PIECE)
    if HAS_VNNI:
        kind = ir.FunctionType(numbers, [numbers] * 3)
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.avx512.vpdpwssd.512")
        return builder.call(function, [total, *(builder.bitcast(side, numbers) for side in (left, right))])
    if HAS_MADD:
        kind = ir.FunctionType(numbers, [left.type, left.type])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.avx512.pmaddw.d.512")
        return builder.add(total, builder.call(function, [left, right]))
    for odd in (0, 1):
        places = ir.Constant(numbers, list(range(odd, 2 * PIECE, 2)))
        parts = [builder.sext(builder.shuffle_vector(side, side, places), numbers) for side in (left, right)]
        total = builder.add(total, builder.mul(*parts))
    return total


@instructions()
def multiply_window(builder, sums, at, weights, base, inputs, start, row, rows, pairs, step):
    """Sum up windows of four outputs side by side, 64 channels each, which follow each other from ``sums[at]`` on.

    A window has `rows` runs of `pairs` pairs of inputs, `row` apart; those of an output begin `step` after those of
    the one before it, the first at ``inputs[start]``. `weights`: from `base` on, for each run and pair, the two weights
    of each of 64 channels. `sums` int32, `inputs` and `weights` int16.
    """
    numbers = ir.VectorType(ir.IntType(32), PIECE)
    places = [[cgutils.alloca_once(builder, numbers) for _ in range(WORD // PIECE)] for _ in range(4)]
    for own in places:
        for place in own:
            builder.store(_many(0), place)
    pair_type = ir.IntType(32).as_pointer()
    with cgutils.for_range_slice(builder, rows.type(0), rows, rows.type(1), rows.type) as (r, _):
        line = builder.add(start, builder.mul(r, row))
        first = builder.mul(r, pairs)
        with cgutils.for_range_slice(builder, pairs.type(0), pairs, pairs.type(1), pairs.type) as (k, _):
            here = builder.add(base, builder.mul(builder.add(first, k), LONG(2 * WORD)))
            factors = [weights.load(builder.add(here, LONG(2 * PIECE * j)), 2 * PIECE) for j in range(WORD // PIECE)]
            for i, own in enumerate(places):
                where = builder.add(builder.add(line, builder.mul(step, LONG(i))), builder.mul(k, LONG(2)))
                inputs.place(builder.add(where, LONG(1)))  # a checked build looks at both
                pair = builder.load(builder.bitcast(inputs.place(where), pair_type))
                pair.align = 2
                both = builder.bitcast(splat(builder, pair, PIECE), ir.VectorType(SHORT, 2 * PIECE))
                for factor, place in zip(factors, own, strict=True):
                    builder.store(_madd(builder, builder.load(place), factor, both), place)
    for i, own in enumerate(places):
        for j, place in enumerate(own):
            sums.store(builder.add(at, LONG(i * WORD + j * PIECE)), builder.load(place))


@instructions()
def fire_static(builder, current, at, kind, rate, threshold, words, word, step, steps):
    """All timesteps of 64 neurons of kind `HALVES` or `ALIKE` at rest, whose current stays the same.

    `words` uint16: the spikes of 16 neurons each; those of a timestep lie `step` behind those of the one before it.
    """
    pieces = range(WORD // PIECE)
    currents = [current.load(at, PIECE, LONG(i)) for i in pieces]
    threshold = splat(builder, builder.trunc(threshold, ir.IntType(32)), PIECE)
    potentials = [cgutils.alloca_once_value(builder, _many(0)) for _ in pieces]

    def all_steps(charge):
        with cgutils.for_range_slice(builder, steps.type(0), steps, steps.type(1), steps.type) as (t, _):
            here = builder.add(word, builder.mul(t, step))
            for i in pieces:
                v = charge(builder.load(potentials[i]), currents[i])
                fires = builder.icmp_signed(">=", v, threshold)
                builder.store(builder.select(fires, _many(0), v), potentials[i])
                builder.store(builder.bitcast(fires, ir.IntType(PIECE)), words.place(builder.add(here, LONG(i))))

    charges_alike(builder, kind, rate, all_steps)


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
    factor = splat(builder, builder.trunc(rate, ir.IntType(32)) if rate.type.width > 32 else rate, PIECE)

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
                step(lambda v, x: plus(builder, _share(builder, v, factor), x), left)
            with drawn:
                step(lambda v, x: plus(builder, v, _share(builder, builder.sub(x, v), factor)), left)
    return builder.load(bits)


if config.DISABLE_JIT:
    from evsim.kernels.plain_fixed import (  # noqa: F401 - they take the place of the intrinsics above
        fire_pairs,
        fire_static,
        fire_sums,
        integer_step,
        multiply_window,
        put_currents,
        put_products,
        widen_pairs,
    )
