"""Vector building blocks of octets: lists from bits, and the rows that they name added up.

How an intrinsic is written tells `evsim.kernels.emit`; plain twins take their place with ``NUMBA_DISABLE_JIT=1``.
"""

from __future__ import annotations

from llvmlite import ir
from numba import config
from numba.core import cgutils

from evsim.kernels.emit import BIT, LONG, SHORT, choose, instructions, over_bits, over_range, plus, row_of, splat
from evsim.kernels.vector import COMPRESSES

OCTET = ir.IntType(8)

WORD = 64


@instructions()
def add_octet(builder, sums, at, low, high, fresh, rows, base, index, starts, s, more, lanes):
    """Add rows to positions ``low .. high - 1`` of an octet, whose sums follow each other from `at` on.

    List k of the fifteen kinds (see `evsim.kernels.octets`) names rows ``index[starts[s + k]]`` to before
    ``index[starts[s + k + more]]``: what positions share is summed up first, from zero, in registers. Rows
    are of pairs. Where `fresh`, the sums start from zero whatever stands in memory.
    """

    def block(width):
        def edge(kind, ends):
            place = builder.add(s, s.type(kind))
            return starts.number(builder.add(place, more) if ends else place)

        def with_row(i, total):
            return plus(builder, total, row_of(builder, sums, rows, base, width, index.number(i)))

        def with_list(first, kind):
            return over_range(builder, first, edge(kind, False), edge(kind, True), with_row, unroll=False)

        def add_to(position, kind, shared):
            inside = builder.and_(
                builder.icmp_signed("<=", low, low.type(position)), builder.icmp_signed(">", high, high.type(position))
            )
            with builder.if_then(inside):
                target = sums.pointer(builder.add(at, builder.mul(lanes, lanes.type(position))), width)
                both = lambda: plus(builder, sums.read(target), shared)  # noqa: E731 - computed where needed
                first = choose(builder, fresh, lambda: shared, both)
                sums.write(target, with_list(first, kind))

        def add_up(kind, total, first, positions):
            if positions == 1:
                add_to(first, kind, total)
                return
            shared = with_list(total, kind)
            half = positions // 2
            add_up(2 * kind + 1, shared, first, half)
            add_up(2 * kind + 2, shared, first + half, half)

        add_up(0, sums.zeros(width), 0, 8)

    sums.by_lanes(lanes, block)


@instructions()
def put_octet_bits(builder, index, at, roomy, word, offset):
    """Write the numbers of a word's set bits, plus `offset`, to ``index[at:]``, uint8.

    Where `roomy`, up to 64 entries are touched, whatever the word; else as many as there are set bits.
    """
    with builder.if_else(roomy) as (fast, slow):
        with fast:
            _put_all(builder, index, at, word, offset)
        with slow:
            place = cgutils.alloca_once_value(builder, builder.zext(at, LONG) if at.type.width < 64 else at)

            def put(n, total):
                here = builder.load(place)
                builder.store(builder.trunc(builder.add(n, offset), OCTET), index.place(here))
                builder.store(builder.add(here, LONG(1)), place)
                return total

            over_bits(builder, LONG(0), word, put)


@instructions()
def put_half_bits(builder, index, at, word, offset):
    """Write the numbers of a word's low 32 bits that are set, plus `offset`, to ``index[at:]``, uint16.

    Up to 32 entries are touched, whatever the word. For CPUs with AVX-512 VBMI2 alone.
    """
    half = WORD // 2
    many, mask = ir.VectorType(SHORT, half), ir.VectorType(BIT, half)
    kind = ir.FunctionType(many, [many, many, mask])
    compress = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.avx512.mask.compress.v32i16")
    numbers = builder.add(ir.Constant(many, list(range(half))), splat(builder, builder.trunc(offset, SHORT), half))
    bits = builder.bitcast(builder.trunc(word, ir.IntType(half)), mask)
    index.store(at, builder.call(compress, [numbers, numbers, bits]))


def _put_all(builder, index, at, word, offset):
    """Write as `put_octet_bits` where there is room: a CPU with AVX-512 VBMI2 compresses the numbers 0 .. 63."""
    base = builder.trunc(offset, OCTET)
    many, mask = ir.VectorType(OCTET, WORD), ir.VectorType(BIT, WORD)
    if COMPRESSES:
        compress = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(many, [many, many, mask]), "llvm.x86.avx512.mask.compress.v64i8"
        )
        numbers = builder.add(ir.Constant(many, list(range(WORD))), splat(builder, base, WORD))
        index.store(at, builder.call(compress, [numbers, numbers, builder.bitcast(word, mask)]))
        return
    table = cgutils.global_constant(builder, "octets", ir.Constant(ir.ArrayType(LONG, 256), OCTETS))
    count = LONG(0)
    for j in range(0, WORD, 8):
        octet = builder.and_(builder.lshr(word, LONG(j)), LONG(255))
        numbers = builder.load(builder.gep(table, [LONG(0), octet]))
        some = builder.bitcast(numbers, ir.VectorType(OCTET, 8))
        some = builder.add(some, splat(builder, builder.add(base, OCTET(j)), 8))
        index.store(builder.add(at, count), some)
        count = builder.add(count, builder.ctpop(octet))


def _octets():
    """Return for each octet the numbers of its set bits, a byte each, in a word; those behind its last are 0."""
    words = []
    for octet in range(256):
        bits = [bit for bit in range(8) if octet >> bit & 1]
        words.append(sum(bit << 8 * place for place, bit in enumerate(bits)))
    return words


OCTETS = _octets()


if config.DISABLE_JIT:
    from evsim.kernels.plain_fixed import add_octet, put_half_bits, put_octet_bits  # noqa: F401
