"""Vector building blocks of rows that the bits of words name: of quads, and of windows of few channels.

How an intrinsic is written tells `evsim.kernels.emit`; plain twins take their place with ``NUMBA_DISABLE_JIT=1``.
"""

from __future__ import annotations

from contextlib import nullcontext

from llvmlite import ir
from numba import config
from numba.core import cgutils

from evsim.kernels.emit import LONG, add_rows_of_words, choose, instructions, over_bits, plus, row_of, splat, times
from evsim.kernels.vector import LINE, ask_for


@instructions()
def add_quad(builder, sums, at, low, high, fresh, rows, base, words, s, lanes):
    """Add rows to positions ``low .. high - 1`` of a quad, whose sums follow each other from `at` on.

    Of each two words from ``words[s]`` on, the set bits are the numbers of the rows, 0 .. 127, that all four positions
    have in common, then those of the first pair, of the second pair, and of each: what positions share is summed up
    first, from zero, in registers. Where `fresh`, the sums start from zero whatever stands in memory.
    """

    def block(width):
        def within(position):
            after = builder.icmp_signed("<=", low, low.type(position))
            return builder.if_then(builder.and_(after, builder.icmp_signed(">", high, high.type(position))))

        def begin(target, shared):
            return choose(builder, fresh, lambda: shared, lambda: plus(builder, sums.read(target), shared))

        _add_quad(builder, sums, at, rows, base, words, s, lanes, width, within, begin)

    sums.by_lanes(lanes, block)


@instructions()
def add_quads(builder, sums, at, count, fresh, rows, base, words, s, room, both, lanes, ahead, pace):
    """Add rows to all positions of `count` quads, whose sums follow each other from `at` on, as `add_quad` does.

    The words of one lie `room` words behind those of the one before; unless `both`, each second one is 0. With each
    quad, ask for about `pace` cache lines of `rows` from `ahead` on. Nothing else is decided within: what a processor
    has to foresee are the ends of lists alone.
    """

    def block(width):
        def run(begin, count_of_words):
            with cgutils.for_range(builder, count) as loop:
                i = loop.index
                _ask(builder, rows, ahead, pace, i, (4, 16))
                here = builder.add(at, builder.mul(i, builder.mul(lanes, lanes.type(4))))
                own = builder.add(s, builder.mul(i, room))
                within = lambda _: nullcontext()  # noqa: E731 - all positions count
                _add_quad(builder, sums, here, rows, base, words, own, lanes, width, within, begin, count_of_words)

        def further(count_of_words):
            run(lambda target, shared: plus(builder, sums.read(target), shared), count_of_words)

        with builder.if_else(fresh) as (anew, later):
            with anew:
                run(lambda _, shared: shared, 2)
            with later, builder.if_else(both) as (two, one):
                with two:
                    further(2)
                with one:
                    further(1)

    sums.by_lanes(lanes, block)


@instructions()
def ask_ahead(builder, rows, ahead, pace):
    """Ask for about `pace` cache lines of `rows` from `ahead` on, by a `prefetch` each; no loop."""
    _ask(builder, rows, ahead, pace, pace.type(0), (4, 16))


def _ask(builder, rows, ahead, pace, i, steps):
    """Ask for cache lines of `rows` with visit i: at least `pace` of them, as many as one of `steps`."""
    line = LINE // rows.item
    start = builder.add(ahead, builder.mul(builder.mul(i, pace), LONG(line)))
    for first, last in zip((0, *steps), steps, strict=False):
        with builder.if_then(builder.icmp_signed(">", pace, pace.type(first)), likely=False):
            for k in range(first, last):
                ask_for(builder, rows, builder.add(start, LONG(k * line)))


def _add_quad(builder, sums, at, rows, base, words, s, lanes, width, within, begin, count_of_words=2):
    """Emit the additions of a quad; the sums of a position are ``begin(where they lie, what it shares)`` at first."""

    def with_row(row, total):
        return plus(builder, total, row_of(builder, sums, rows, base, width, row))

    def with_list(first, i):
        low, high = (words.element(builder.add(s, s.type(2 * i + j))) for j in (0, 1))
        if count_of_words == 1:
            return over_bits(builder, first, low, with_row)
        return add_rows_of_words(builder, sums, rows, base, width, (low, high), first)

    every = with_list(sums.zeros(width), 0)
    for pair in (0, 1):
        shared = with_list(every, 1 + pair)
        for position in (2 * pair, 2 * pair + 1):
            with within(position):
                target = sums.pointer(builder.add(at, builder.mul(lanes, lanes.type(position))), width)
                sums.write(target, with_list(begin(target, shared), 3 + position))


@instructions()
def add_positions(builder, sums, at, count, fresh, rows, base, words, p, step, both, lanes, ahead, pace):
    """Add rows to the sums of `count` positions that follow each other from `at` on, of the bits of their words.

    They are ``words[p]`` and, where `both`, the next one; those of the next position lie `step` words further on. Where
    `fresh`, the sums start from zero whatever stands in memory. `ahead` and `pace` as in `add_quads`.
    """
    next_one = builder.zext(both, p.type)
    mask = builder.sext(both, LONG)

    def block(width):
        def run(begin):
            with cgutils.for_range(builder, count) as loop:
                i = loop.index
                _ask(builder, rows, ahead, pace, i, (1, 4, 16))
                here = builder.add(p, builder.mul(i, step))
                second = builder.and_(words.element(builder.add(here, next_one)), mask)
                target = sums.pointer(builder.add(at, builder.mul(i, lanes)), width)
                pair = words.element(here), second
                sums.write(target, add_rows_of_words(builder, sums, rows, base, width, pair, begin(target)))

        with builder.if_else(fresh) as (anew, further):
            with anew:
                run(lambda _: sums.zeros(width))
            with further:
                run(sums.read)

    sums.by_lanes(lanes, block)


@instructions()
def add_window(builder, sums, at, fresh, rows, base, words, p, channels, before, behind, lanes):
    """Add rows to the sums of the position of ``words[p]``, of the bits of three words: one row of a window.

    The word before it in `words`, if there is one `before`, names rows from `base` on, its own those behind the first
    `channels`, the one behind it, if there is one `behind`, those behind `channels` more. No word has a bit beyond
    `channels`, 32 at most, of integers 64. Where `fresh`, the sums start from zero whatever stands in memory.
    """

    def block(width):
        def word(there, step):
            place = builder.add(p, p.type(step))
            return choose(builder, there, lambda: words.element(place), lambda: LONG(0))

        parts = word(before, -1), words.element(p), word(behind, 1)
        first = choose(builder, fresh, lambda: sums.zeros(width), lambda: sums.load(at, width))
        sums.store(at, _of_window(builder, sums, rows, base, width, parts, channels, first))

    sums.by_lanes(lanes, block)


@instructions()
def add_windows(builder, sums, at, count, fresh, rows, base, words, p, channels, lanes):
    """Add rows to the sums of `count` positions, from ``words[p]`` on, as `add_window`; all have two neighbours."""

    def block(width):
        def run(begin):
            with cgutils.for_range(builder, count) as loop:
                here = builder.add(p, loop.index)
                parts = [words.element(builder.add(here, here.type(step))) for step in (-1, 0, 1)]
                target = sums.pointer(builder.add(at, builder.mul(loop.index, lanes)), width)
                first = begin(target)
                sums.write(target, _of_window(builder, sums, rows, base, width, parts, channels, first))

        with builder.if_else(fresh) as (anew, further):
            with anew:
                run(lambda _: sums.zeros(width))
            with further:
                run(sums.read)

    sums.by_lanes(lanes, block)


@instructions()
def add_scaled(builder, sums, at, rows, base, values, i, lanes):
    """``sums[at : at + lanes] += values[i] * rows[base : base + lanes]``, of integers in the sums' type; not fused."""

    def number():
        value = values.element(i)
        if not isinstance(sums.lane, ir.IntType):
            return builder.sitofp(value, sums.lane)
        return builder.trunc(value, sums.lane) if sums.item < values.item else value

    def block(width):
        factor = splat(builder, number(), width)
        target = sums.pointer(at, width)
        row = row_of(builder, sums, rows, base, width, None)
        sums.write(target, plus(builder, sums.read(target), times(builder, factor, row)))

    sums.by_lanes(lanes, block)


def _of_window(builder, sums, rows, base, width, parts, channels, first):
    before, here, behind = parts
    two = builder.shl(channels, LONG(1))

    def few():
        pair = builder.or_(before, builder.shl(here, channels)), behind
        return add_rows_of_words(builder, sums, rows, base, width, pair, first, two)

    def more():
        total = add_rows_of_words(builder, sums, rows, base, width, (before, here), first, channels)
        return over_bits(
            builder,
            total,
            behind,
            lambda n, so_far: plus(builder, so_far, row_of(builder, sums, rows, base, width, builder.add(two, n))),
        )

    if rows.item == sums.item:  # floats have no words of more channels
        return few()
    return choose(builder, builder.icmp_signed("<=", channels, channels.type(32)), few, more)


if config.DISABLE_JIT:
    from evsim.kernels.plain import add_positions, add_quad, add_quads, add_scaled, add_window, add_windows, ask_ahead  # noqa: F401
