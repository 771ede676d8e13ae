"""How an intrinsic is written: a function that emits LLVM code for arguments that it knows by name.

`instructions` gives the function LLVM's builder, an `Array` for each array, and the LLVM value of each number, and
tells Numba the types. Loops are `over_range` and `over_bits`; what they sum up stays in registers. Sums and products
are those of the lanes' type, floats or integers.

In a checked build (EVSIM_CHECKED=1) every address is compared with the ends of its array: an IndexError, as where
plain Python reaches past a list. Elsewhere that emits nothing.
"""

from __future__ import annotations

import functools
import inspect

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic

from evsim.kernels.compiling import CHECKED

LANES = 32
"""Lanes of the smallest block: channels are padded to a multiple of this."""

BIT, SHORT, LONG = ir.IntType(1), ir.IntType(16), ir.IntType(64)

WORD = LONG(64)
"""The bits of a word."""

LANE = object()
"""The type of the first array's elements."""


def instructions(result=types.void, **takes):
    """Make an intrinsic of a function that emits code; what it returns is the `result`, if that is not void.

    Its parameters are those that kernels pass, by position, behind the builder. A number comes as the type that `takes`
    names for it, or else as it is passed; None comes as None.
    """

    def decorate(emit):
        names = list(inspect.signature(emit).parameters)[1:]

        @functools.wraps(emit)
        def typed(typingctx, *passed):
            kinds = [takes.get(name, kind) for name, kind in zip(names, passed, strict=True)]
            kinds = [passed[0].dtype if kind is LANE else kind for kind in kinds]
            _check_arrays(emit.__name__, names, kinds)

            def codegen(context, builder, signature, values):
                operands = [_operand(context, builder, *pair) for pair in zip(kinds, values, strict=True)]
                value = emit(builder, *operands)
                return context.get_dummy_value() if value is None else value

            return result(*kinds), codegen

        return intrinsic(typed)

    return decorate


class Array:
    """An array that an intrinsic takes: its elements, one by one or as vectors. Places count in elements."""

    def __init__(self, context, builder, kind, value):
        self.context, self.builder = context, builder
        self.item = kind.dtype.bitwidth // 8
        self.lane = context.get_data_type(kind.dtype)
        self._array = cgutils.create_struct_proxy(kind)(context, builder, value)
        self._data = self._array.data

    def hint(self, at):
        """Return the address of an element that is not read or written: it may lie anywhere."""
        return self.builder.gep(self._data, [at])

    def place(self, at):
        """Return the address of an element."""
        if CHECKED:
            self._check(at, 1)
        return self.hint(at)

    def _check(self, at, width):
        """Emit a comparison of ``at .. at + width - 1`` with the array's ends; beyond them the kernel raises."""
        builder = self.builder
        at = builder.sext(at, LONG) if at.type.width < LONG.width else at
        before = builder.icmp_signed("<", at, LONG(0))
        behind = builder.icmp_signed(">", builder.add(at, LONG(width)), self._array.nitems)
        with builder.if_then(builder.or_(before, behind), likely=False):
            text = f"an intrinsic reaches {width} elements of {self.item} bytes past the ends of its array"
            self.context.call_conv.return_user_exc(builder, IndexError, (text,))

    def element(self, at):
        """Return an element."""
        return self.builder.load(self.place(at))

    def number(self, at):
        """Return an element that counts something, as 64 bits."""
        return self.builder.zext(self.element(at), LONG)

    def vector(self, width):
        """Return the type of `width` elements."""
        return ir.VectorType(self.lane, width)

    def zeros(self, width):
        """Return `width` zeros."""
        return ir.Constant(self.vector(width), None)

    def load(self, at, width, row=None):
        """Return the vector at a place, or the one that lies `row` vectors further on."""
        return self.read(self.pointer(at, width, row))

    def store(self, at, value, row=None):
        """Write a vector to a place, or `row` vectors further on."""
        self.write(self.pointer(at, value.type.count, row), value)

    def pointer(self, at, width, row=None):
        """Return where a vector lies, to `read` and `write`: once said, LLVM need not find out that both are one."""
        if CHECKED:
            step = LONG(0) if row is None else self.builder.mul(row, row.type(width))
            self._check(self.builder.add(at, step), width)
        start = self.builder.bitcast(self.hint(at), self.vector(width).as_pointer())
        return start if row is None else self.builder.gep(start, [row])

    def read(self, pointer):
        """Return the vector at an address."""
        value = self.builder.load(pointer)
        value.align = self.item  # blocks do lie on cache lines, but NumPy guarantees no more than this
        return value

    def write(self, pointer, value):
        """Write a vector to an address."""
        self.builder.store(value, pointer).align = self.item

    def by_lanes(self, lanes, block):
        """Emit a block's code for each number of lanes that a block can have; a full one comes first."""
        if self.item == 8:
            block(LANES)
            return
        whole = isinstance(self.lane, ir.IntType)
        halved = [size // self.item for size in (512, 256, 128, 64)]
        widths = [width for width in halved if width >= LANES] if whole else [64, LANES]
        self._by_width(lanes, widths, block)

    def _by_width(self, lanes, widths, block):
        width, *others = widths
        if not others:
            block(width)
            return
        with self.builder.if_else(self.builder.icmp_signed("==", lanes, lanes.type(width))) as (same, other):
            with same:
                block(width)
            with other:
                self._by_width(lanes, others, block)


def _operand(context, builder, kind, value):
    if isinstance(kind, types.NoneType):
        return None
    return Array(context, builder, kind, value) if isinstance(kind, types.Array) else value


def _check_arrays(name, names, kinds):
    """Refuse at compile time, in every build, arrays whose elements do not follow each other: places count them."""
    for parameter, kind in zip(names, kinds, strict=True):
        if isinstance(kind, types.Array) and (kind.ndim != 1 or kind.layout != "C"):
            raise TypingError(f"{name} takes a contiguous array of one axis as {parameter}, got {kind}")


def plus(builder, left, right):
    """Add two vectors, of floats or of integers."""
    return (builder.add if isinstance(left.type.element, ir.IntType) else builder.fadd)(left, right)


def times(builder, left, right):
    """Multiply two vectors, of floats or of integers."""
    return (builder.mul if isinstance(left.type.element, ir.IntType) else builder.fmul)(left, right)


def splat(builder, scalar, width):
    """Return a vector of `width` times the same number."""
    vector = ir.VectorType(scalar.type, width)
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.IntType(32)(0))
    return builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(ir.IntType(32), width), None))


def without_lowest(builder, word):
    """Clear a word's lowest set bit."""
    return builder.and_(word, builder.sub(word, word.type(1)))


def row_of(builder, sums, rows, base, width, number):
    """Return the row of that number as it is added to `width` sums.

    Where an element of `rows` has half the bits of a sum, they are pairs of integers: the row's first bytes hold, as
    integers of the sums' type, a + 2^(h - 1) + 2^h b, with h the bits of a weight, a of the first half of the outputs
    and b of the second. Shifted right by h it is b. So the sums of both are those of a row of half the size, which
    takes one load, one shift and two additions, and the first half is told from them by
    ``a = sums - 2^h sums of b - 2^(h - 1) rows``; what wraps around on the way does not matter.
    """
    if rows.item == sums.item:
        return rows.load(base, width, number)
    lane = sums.lane
    both = builder.bitcast(rows.load(base, width, number), ir.VectorType(lane, width // 2))
    second = builder.ashr(both, ir.Constant(both.type, [lane.width // 2] * (width // 2)))
    places = ir.Constant(ir.VectorType(ir.IntType(32), width), list(range(width)))
    return builder.shuffle_vector(both, second, places)


def choose(builder, condition, yes, no):
    """Return ``yes()`` or ``no()``, of which only one is computed."""
    with builder.if_else(condition) as (then, otherwise):
        with then:
            first = yes()
            from_yes = builder.block
        with otherwise:
            second = no()
            from_no = builder.block
    return _phi(builder, (first, from_yes), (second, from_no))


def either(builder, condition, emit):
    """Emit ``emit(True)`` for where `condition` holds, and ``emit(False)`` for where it does not."""
    with builder.if_else(condition) as (then, otherwise):
        with then:
            emit(True)
        with otherwise:
            emit(False)


def _phi(builder, *incoming):
    """Return the value of the block that control came from."""
    phi = builder.phi(incoming[0][0].type)
    for value, block in incoming:
        phi.add_incoming(value, block)
    return phi


def over_range(builder, first, start, stop, term, unroll=True):
    """``for i in range(start, stop): first = term(i, first)``; return the last.

    LLVM unrolls such a loop, whose end is then guessed wrong twice: bad where lists are short.
    """
    step = start.type(1)
    step = step if unroll else _unknown(builder, step)
    return _loop(
        builder, first, start, lambda i: builder.icmp_signed("<", i, stop), term, lambda i: builder.add(i, step)
    )


def over_bits(builder, first, word, term):
    """``for each set bit n of word, in ascending order: first = term(n, first)``; return the last."""
    return _loop(
        builder,
        first,
        word,
        lambda left: builder.icmp_unsigned("!=", left, left.type(0)),
        lambda left, total: term(builder.cttz(left, BIT(1)), total),
        lambda left: without_lowest(builder, left),
    )


def over_two_words(builder, first, words, places, term):
    """``for each set bit n of the first word, then of the second: first = term(place of the word, n, first)``.

    Both words are one loop, whose end alone can be guessed wrong: which word is at work is selected, and how often it
    goes round is counted before. `words` and `places` are pairs; returns the last.
    """
    low, high = words
    one = _unknown(builder, low.type(1))
    count = builder.add(builder.ctpop(low), builder.ctpop(high))
    before = builder.block
    loop, after = builder.append_basic_block("loop"), builder.append_basic_block("loop.end")
    empty = builder.icmp_unsigned("==", low, low.type(0))
    begin = builder.select(empty, high, low), builder.select(empty, places[1], places[0])
    builder.cbranch(builder.icmp_unsigned("!=", count, count.type(0)), loop, after)
    builder.position_at_end(loop)
    left, place, still, total = (_phi(builder, (value, before)) for value in (*begin, count, first))
    total_after = term(place, builder.cttz(left, BIT(1)), total)
    rest = without_lowest(builder, left)
    ends = builder.icmp_unsigned("==", rest, rest.type(0))
    rest, there = _unforeseen(builder, ends, high, rest), _unforeseen(builder, ends, places[1], place)
    fewer = builder.sub(still, one)
    for phi, value in ((left, rest), (place, there), (still, fewer), (total, total_after)):
        phi.add_incoming(value, builder.block)
    last = builder.block
    builder.cbranch(builder.icmp_unsigned("!=", fewer, fewer.type(0)), loop, after)
    builder.position_at_end(after)
    return _phi(builder, (first, before), (total_after, last))


def add_rows_of_words(builder, sums, rows, base, width, words, first, second=WORD):
    """Add to `first` the rows behind `base` whose numbers are the set bits of a pair of words, in ascending order.

    Those of the second word count from row `second` on.
    """
    if CHECKED or rows.item != sums.item:
        return over_two_words(
            builder,
            first,
            words,
            (LONG(0), second),
            lambda place, n, total: plus(
                builder, total, row_of(builder, sums, rows, base, width, builder.add(place, n))
            ),
        )
    places = rows.pointer(base, width), rows.pointer(base, width, second)
    return over_two_words(
        builder,
        first,
        words,
        places,
        lambda place, n, total: plus(builder, total, rows.read(builder.gep(place, [n]))),
    )


def _unknown(builder, step):
    """Return a number that LLVM does not know: a loop of such steps it cannot unroll."""
    return builder.call(ir.InlineAsm(ir.FunctionType(step.type, [step.type]), "", "=r,0"), [step])


def _unforeseen(builder, condition, yes, no):
    """Return one of two values without a branch, which LLVM would take for better in a loop."""
    value = builder.select(condition, yes, no)
    value.set_metadata("unpredictable", builder.module.add_metadata([]))
    return value


def _loop(builder, first, begin, goes_on, term, following):
    """``while goes_on(begin): first = term(begin, first); begin = following(begin)``; return the last `first`.

    It is a phi, so it stays in registers.
    """
    before = builder.block
    loop, after = builder.append_basic_block("loop"), builder.append_basic_block("loop.end")
    builder.cbranch(goes_on(begin), loop, after)
    builder.position_at_end(loop)
    here, total = _phi(builder, (begin, before)), _phi(builder, (first, before))
    total_after = term(here, total)
    there = following(here)
    here.add_incoming(there, builder.block)
    total.add_incoming(total_after, builder.block)
    builder.cbranch(goes_on(there), loop, after)
    last = builder.block
    builder.position_at_end(after)
    return _phi(builder, (first, before), (total_after, last))
