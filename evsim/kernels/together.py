"""A kernel's units shared among threads that stand by in machine code: handing them out costs about a microsecond.

The threads look at a *board*, a few words of memory, on which pages lie. Whoever has units to share writes on the next
page what is to be called with which arguments, and goes on. All threads work off the pages, one after the other: of
each they take ranges of its units until none is left, long ones first, shorter ones towards the end, so that all end at
about the same time; who does the last unit turns the page. Whoever wants to see a result, or needs a page that is not
done yet, helps until that is so. No thread has to come: one that sleeps, or that the system does not let run, is not
waited for. Units are taken together with the number of their page, so one that comes late finds none to take, and no
harm is done if its page is written anew.

Nothing of it touches Python: the interpreter's lock is not taken, and arguments are unpacked once. Those on a page hold
their arrays' memory without counting references: whoever wrote it keeps the arrays until it is done. A kernel that can
be shared takes ``first, last`` and does units ``first .. last - 1``; one whose third parameter is `seat` is told which
of the threads runs it, from 0 on, to choose its part of working memory by.
"""

from __future__ import annotations

import functools
import inspect
import sys
import types as python_types

from llvmlite import ir
from llvmlite.binding import get_default_triple
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from evsim.kernels.compiling import MachineCode, inner, kernel
from evsim.kernels.emit import LONG, instructions

POSTED, STOP = range(2)
"""Words of a board: how many pages were ever written; whether to stop standing by. One thread alone writes them."""

CURRENT, CODE, FAULT = 8, 16, 17
"""How many pages are done, on a cache line of its own, as all threads write there; what went wrong."""

TASK, TOTAL, SHARES, NEXT, FINISHED, ARGUMENTS = 0, 1, 2, 8, 9, 16
"""Words of a page: what is called, how many units there are, into how many parts what is left of them is cut; the next
unit behind the page's number, how many are finished; the arguments."""

UNITS, MANY = 32, 2**31 - 1
"""Bits of a page's next unit, its number aside; and the most units that a page can have."""

FIRST, PAGE, PAGES = 24, 256, 8
"""Where the pages begin, the words of each, and how many there are, a power of two."""

PLACES = FIRST + PAGES * PAGE

PATIENCE = 256
"""Looks after which a thread that waits lets others run: they may be those that it waits for."""

PAUSES = {"x86_64": ("llvm.x86.sse2.pause",), "aarch64": ("llvm.aarch64.hint", 1), "arm64": ("llvm.aarch64.hint", 1)}
"""LLVM's name for the instruction by which a processor takes it that a loop waits, and what it takes."""

RESULT = ir.IntType(32)


@instructions(types.int64)
def look(builder, board, place):
    """Return a word of a board as it is now, whoever wrote it."""
    return _load(builder, board.place(place))


@instructions()
def breathe(builder):
    """Tell the processor that a loop waits."""
    name, *numbers = PAUSES.get(get_default_triple().split("-")[0], ("",))
    if name:
        kind = ir.FunctionType(ir.VoidType(), [RESULT] * len(numbers))
        builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [RESULT(n) for n in numbers])


@instructions()
def let_others_run(builder):
    """Let the system run another thread on this core, if one waits for it."""
    if sys.platform != "win32":
        builder.call(cgutils.get_or_insert_function(builder.module, ir.FunctionType(RESULT, []), "sched_yield"), [])


@instructions()
def run_page(builder, board, number, seat):
    """Do what is left of the page of that number, as the thread of that seat."""
    page = builder.add(builder.mul(builder.and_(number, LONG(PAGES - 1)), LONG(PAGE)), LONG(FIRST))
    task = builder.inttoptr(builder.load(board.hint(builder.add(page, LONG(TASK)))), _task_type().as_pointer())
    builder.call(task, [board.hint(LONG(0)), board.hint(page), number, seat])


@intrinsic
def write_page(typingctx, board, function, total, shares, arguments):
    """Write on the next page that `total` units are to be done by ``function(first, last, [seat,] *arguments)``."""
    takes = passed_to(function.dispatcher, arguments.types)
    function.get_call_type(typingctx, takes, {})

    def codegen(context, builder, signature, values):
        start = cgutils.create_struct_proxy(signature.args[0])(context, builder, values[0]).data
        packed = _borrowed(context, builder, arguments, values[4])
        if context.get_abi_sizeof(packed.type) > 8 * (PAGE - ARGUMENTS):
            raise NotImplementedError(f"{function.dispatcher.py_func.__name__} takes more than fits on a page")
        task = _task(context, builder, function.dispatcher.overloads[takes], takes, packed.type)
        number = builder.load(_place(builder, start, POSTED))
        page = builder.mul(builder.and_(number, LONG(PAGES - 1)), LONG(PAGE))
        place = functools.partial(_place, builder, builder.gep(start, [builder.add(page, LONG(FIRST))]))
        # behind this, who comes late to what the page was before takes nothing of it
        _store(builder, builder.or_(_numbered(builder, number), LONG(MANY)), place(NEXT))
        builder.store(packed, builder.bitcast(place(ARGUMENTS), packed.type.as_pointer())).align = 8
        words = {TASK: builder.ptrtoint(task, LONG), TOTAL: values[2], SHARES: values[3], FINISHED: LONG(0)}
        for word, value in words.items():
            builder.store(value, place(word))
        _store(builder, _numbered(builder, number), place(NEXT))
        _store(builder, builder.add(number, LONG(1)), _place(builder, start, POSTED))
        return context.get_dummy_value()

    return types.void(board, function, types.int64, types.int64, arguments), codegen


def _borrowed(context, builder, kind, value):
    """Return arguments whose arrays count no references: those who read them hold none, and none is given back."""
    if isinstance(kind, types.Array):
        array = cgutils.create_struct_proxy(kind)(context, builder, value)
        array.meminfo = cgutils.get_null_value(array.meminfo.type)
        array.parent = cgutils.get_null_value(array.parent.type)
        return array._getvalue()  # noqa: SLF001 - what Numba's own code calls
    if isinstance(kind, types.BaseTuple):
        for i, each in enumerate(kind.types):
            if isinstance(each, types.Array | types.BaseTuple):
                bare = _borrowed(context, builder, each, builder.extract_value(value, i))
                value = builder.insert_value(value, bare, i)
    return value


@intrinsic
def raise_fault(typingctx, board):
    """Raise here what a share of some thread raised, and forget it."""

    def codegen(context, builder, signature, values):
        start = cgutils.create_struct_proxy(signature.args[0])(context, builder, values[0]).data
        code = builder.trunc(builder.load(_place(builder, start, CODE)), RESULT)
        builder.store(LONG(0), _place(builder, start, CODE))
        convention = context.call_conv
        with builder.if_then(builder.icmp_signed("!=", code, RESULT(0)), likely=False):
            kind = convention._get_excinfo_argument(builder.function).type.pointee  # noqa: SLF001 - no public way
            fault = builder.inttoptr(builder.load(_place(builder, start, FAULT)), kind)
            status = convention._get_return_status(builder, code, fault)  # noqa: SLF001
            convention.return_status_propagate(builder, status)
        return context.get_dummy_value()

    return types.void(board), codegen


def _task(context, builder, compiled, takes, kind):
    """Emit what every thread calls: it takes ranges of a page's units and runs them, until none is left.

    Behind a fault nothing runs any more. The kernel is called by name and not linked in, as Numba links what a function
    calls: to make its machine code twice took a third of the time that a first run spends on compiling. `way_in` has it
    in memory before.
    """
    task = ir.Function(builder.module, _task_type(), builder.module.get_unique_name("task"))
    task.linkage = "internal"
    body = ir.IRBuilder(task.append_basic_block("entry"))
    board, page, number, seat = task.args
    place = functools.partial(_place, body, page)
    packed = body.load(body.bitcast(place(ARGUMENTS), kind.as_pointer()))
    packed.align = 8
    values = [body.extract_value(packed, i) for i in range(len(kind.elements))]
    total, shares, following = body.load(place(TOTAL)), body.load(place(SHARES)), place(NEXT)
    finished, current = place(FINISHED), _place(body, board, CURRENT)
    fault, code = _place(body, board, FAULT), _place(body, board, CODE)
    numbered = _numbered(body, number)
    callee = context.declare_function(builder.module, compiled.fndesc)
    names = ("loop", "own", "some", "mine", "call", "failed", "over", "turn", "end")
    loop, own, some, mine, call, failed, over, turn, end = map(task.append_basic_block, names)
    body.branch(loop)

    body.position_at_end(loop)
    before = _load(body, following)
    first = body.sub(before, numbered)
    body.cbranch(body.icmp_unsigned("<", first, LONG(MANY)), own, end)

    body.position_at_end(own)
    left = body.sub(total, first)
    body.cbranch(body.icmp_signed(">", left, LONG(0)), some, end)

    body.position_at_end(some)
    last = body.add(first, body.sdiv(body.add(left, body.sub(shares, LONG(1))), shares))
    taken = body.cmpxchg(following, before, body.add(numbered, last), "seq_cst", "seq_cst")
    body.cbranch(body.extract_value(taken, 1), mine, loop)

    body.position_at_end(mine)
    body.cbranch(body.icmp_signed("==", _load(body, code), LONG(0)), call, over)

    body.position_at_end(call)
    passed = [first, last, seat][: len(takes) - len(values)] + values
    status, _ = context.call_conv.call_function(body, callee, compiled.fndesc.restype, compiled.fndesc.argtypes, passed)
    body.cbranch(status.is_error, failed, over)

    body.position_at_end(failed)
    body.store(body.ptrtoint(status.excinfoptr, LONG), fault)
    _store(body, body.sext(status.code, LONG), code)
    body.branch(over)

    body.position_at_end(over)
    units = body.sub(last, first)
    others = body.atomic_rmw("add", finished, units, "seq_cst")
    body.cbranch(body.icmp_signed("==", body.add(others, units), total), turn, loop)

    body.position_at_end(turn)
    _store(body, body.add(number, LONG(1)), current)
    body.branch(end)

    body.position_at_end(end)
    body.ret_void()
    return task


def passed_to(part, kinds):
    """Return the types that a kernel is called with, whose arguments behind the units are of such kinds."""
    return (types.int64,) * (3 if takes_seat(part.py_func) else 2) + tuple(kinds)


def _task_type():
    return ir.FunctionType(ir.VoidType(), [LONG.as_pointer(), LONG.as_pointer(), LONG, LONG])


def _numbered(builder, number):
    """Return the number of a page as it stands before its next unit."""
    return builder.shl(builder.and_(number, LONG(MANY)), LONG(UNITS))


def _place(builder, start, place):
    return builder.gep(start, [LONG(place)])


def _load(builder, address):
    return builder.load_atomic(address, "seq_cst", 8)


def _store(builder, value, address):
    builder.store_atomic(value, address, "seq_cst", 8)


def takes_seat(function):
    """Whether a kernel wants to know the seat of the thread that runs it."""
    return list(inspect.signature(function).parameters)[2:3] == ["seat"]


@inner
def work_off(board, seat, last):
    """Help with the pages of a board, one after the other, until those before number `last` are done."""
    looks = 0
    while True:
        number = look(board, CURRENT)
        if number >= last:
            return
        run_page(board, number, seat)
        while look(board, CURRENT) == number:  # others are still at it
            breathe()
            looks += 1
            if looks % PATIENCE == 0:
                let_others_run()


@kernel
def make_room(board):
    """Return when a page is free to be written on."""
    work_off(board, 0, look(board, POSTED) - PAGES + 1)


@kernel
def finish(board):
    """Return when all that stands on a board is done."""
    work_off(board, 0, look(board, POSTED))
    raise_fault(board)


@kernel
def stand_by(board, seat, looks):
    """Help with whatever comes to a board; return after `looks` in vain."""
    idle = 0
    turns = 0
    while idle < looks:
        number = look(board, CURRENT)
        if number < look(board, POSTED):  # if nothing is left to take of it, others are still at it
            run_page(board, number, seat)
            idle = 0
        breathe()
        idle += 1
        turns += 1
        if turns % PATIENCE == 0:
            if look(board, STOP) != 0:
                return
            let_others_run()


part = None  # a shared kernel, in the globals of each way in


def _way_in(board, total, shares, *arguments):
    write_page(board, part, total, shares, arguments)


@functools.cache
def way_in(part):
    """Return what writes a call of a shared kernel on a board's next page: ``(board, total, shares, *arguments)``.

    The machine code that Numba keeps is found again by the function's name, and not at all if it is a closure.
    """
    function = python_types.FunctionType(_way_in.__code__, {**globals(), "part": part}, f"{part.__name__}_shared")
    function.__qualname__ = function.__name__
    function.__module__ = part.__module__
    dispatcher = kernel(function)
    cache = getattr(dispatcher, "_cache", None)  # none without the JIT
    if isinstance(cache, MachineCode):
        cache.behind = functools.partial(_name_of, part)
    return dispatcher


def _name_of(part, signature):
    """Return the name of a kernel's machine code, which is in memory then, for a signature of its way in."""
    *_, arguments = signature
    takes = passed_to(part, arguments.types)
    part.compile(takes)
    return part.overloads[takes].fndesc.mangled_name
