"""A kernel's units shared among threads that stand by in machine code: handing them out costs about a microsecond.

The threads look at a *board*, a few words of memory. Whoever has units to share writes there what is to be called and
with which arguments, and opens the board; then all, the one who shares too, take ranges of units until none is left:
long ones first, shorter ones towards the end, so that all end at about the same time. No thread has to come: one that
sleeps, or that the system does not let run, is not waited for. The board is closed first and those who are inside are
waited for then, so none sees arguments that are gone.

Nothing of it touches Python: the interpreter's lock is not taken, and arguments are unpacked once. A kernel that can be
shared takes ``first, last`` and does units ``first .. last - 1``; one whose third parameter is `seat` is told which of
the threads runs it, from 0 on, to choose its part of working memory by.
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

OPEN, TASK, ARGUMENTS, TOTAL, SHARES = range(5)
"""Words of a board: the number of the job it is open for or 0, what is called with what, how many units there are, and
into how many parts what is left of them is cut."""

NEXT, INSIDE = 16, 32
"""The next unit; how many threads are inside: on cache lines of their own, as all threads write there."""

CODE, FAULT, STOP, NUMBER = 33, 34, 48, 49
"""What went wrong; whether to stop standing by; the number of the last job."""

PLACES = 64

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
def put(builder, board, place, value):
    """Write a word of a board, behind all that was written before."""
    _store(builder, value, board.place(place))


@instructions(types.int64)
def advance(builder, board, place, amount):
    """Add to a word of a board, at once; return what it was."""
    return builder.atomic_rmw("add", board.place(place), amount, "seq_cst")


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
def run_task(builder, board, seat):
    """Do what stands on the board, as the thread of that seat."""
    task = builder.inttoptr(builder.load(board.hint(LONG(TASK))), _task_type().as_pointer())
    builder.call(task, [board.hint(LONG(0)), seat])


@intrinsic
def share_out(typingctx, board, function, arguments):
    """Do the units that the board tells of by ``function(first, last, [seat,] *arguments)``, with all who come."""
    takes = passed_to(function.dispatcher, arguments.types)
    function.get_call_type(typingctx, takes, {})

    def codegen(context, builder, signature, values):
        start = cgutils.create_struct_proxy(signature.args[0])(context, builder, values[0]).data
        packed = cgutils.alloca_once_value(builder, values[2])
        task = _task(context, builder, function.dispatcher.overloads[takes], takes, packed.type)
        place = functools.partial(_place, builder, start)
        builder.store(builder.ptrtoint(task, LONG), place(TASK))
        builder.store(builder.ptrtoint(packed, LONG), place(ARGUMENTS))
        builder.store(LONG(0), place(CODE))
        builder.store(LONG(0), place(NEXT))
        number = builder.add(builder.load(place(NUMBER)), LONG(1))
        builder.store(number, place(NUMBER))
        _store(builder, number, place(OPEN))
        builder.call(task, [start, LONG(0)])
        _store(builder, LONG(0), place(OPEN))
        return context.get_dummy_value()

    return types.void(board, function, arguments), codegen


@intrinsic
def raise_fault(typingctx, board):
    """Raise here what a share of some thread raised."""

    def codegen(context, builder, signature, values):
        start = cgutils.create_struct_proxy(signature.args[0])(context, builder, values[0]).data
        code = builder.trunc(builder.load(_place(builder, start, CODE)), RESULT)
        convention = context.call_conv
        with builder.if_then(builder.icmp_signed("!=", code, RESULT(0)), likely=False):
            kind = convention._get_excinfo_argument(builder.function).type.pointee  # noqa: SLF001 - no public way
            fault = builder.inttoptr(builder.load(_place(builder, start, FAULT)), kind)
            status = convention._get_return_status(builder, code, fault)  # noqa: SLF001
            convention.return_status_propagate(builder, status)
        return context.get_dummy_value()

    return types.void(board), codegen


def _task(context, builder, compiled, takes, pointer):
    """Emit what every thread calls: it takes ranges of units and runs them, until none is left.

    The kernel is called by name and not linked in, as Numba links what a function calls: to make its machine code twice
    took a third of the time that a first run spends on compiling. `way_in` has it in memory before.
    """
    task = ir.Function(builder.module, _task_type(), builder.module.get_unique_name("task"))
    task.linkage = "internal"
    body = ir.IRBuilder(task.append_basic_block("entry"))
    start, seat = task.args
    place = functools.partial(_place, body, start)
    packed = body.load(body.inttoptr(body.load(place(ARGUMENTS)), pointer))
    values = [body.extract_value(packed, i) for i in range(len(packed.type.elements))]
    total, shares, following = body.load(place(TOTAL)), body.load(place(SHARES)), place(NEXT)
    fault, code = place(FAULT), place(CODE)
    callee = context.declare_function(builder.module, compiled.fndesc)
    loop, some, call, failed, end = map(task.append_basic_block, ("loop", "some", "call", "failed", "end"))
    body.branch(loop)

    body.position_at_end(loop)
    first = _load(body, following)
    left = body.sub(total, first)
    body.cbranch(body.icmp_signed(">", left, LONG(0)), some, end)

    body.position_at_end(some)
    last = body.add(first, body.sdiv(body.add(left, body.sub(shares, LONG(1))), shares))
    mine = body.extract_value(body.cmpxchg(following, first, last, "seq_cst", "seq_cst"), 1)
    body.cbranch(mine, call, loop)

    body.position_at_end(call)
    passed = [first, last, seat][: len(takes) - len(values)] + values
    status, _ = context.call_conv.call_function(body, callee, compiled.fndesc.restype, compiled.fndesc.argtypes, passed)
    body.cbranch(status.is_error, failed, loop)

    body.position_at_end(failed)
    body.store(body.ptrtoint(status.excinfoptr, LONG), fault)
    body.store(body.sext(status.code, LONG), code)
    _store(body, total, following)
    body.branch(end)

    body.position_at_end(end)
    body.ret_void()
    return task


def passed_to(part, kinds):
    """Return the types that a kernel is called with, whose arguments behind the units are of such kinds."""
    return (types.int64,) * (3 if takes_seat(part.py_func) else 2) + tuple(kinds)


def _task_type():
    return ir.FunctionType(ir.VoidType(), [LONG.as_pointer(), LONG])


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
def wait_for_all(board):
    """Return once nobody is inside a closed board."""
    looks = 0
    while look(board, INSIDE) != 0:
        breathe()
        looks += 1
        if looks % PATIENCE == 0:
            let_others_run()


@kernel
def stand_by(board, seat, last, looks):
    """Help with whatever comes to a board, but for job `last`; return, after `looks` in vain, the last helped with."""
    idle = 0
    while idle < looks:
        job = look(board, OPEN)
        if job not in (0, last):
            advance(board, INSIDE, 1)
            job = look(board, OPEN)
            if job != 0:
                run_task(board, seat)
                last = job
                idle = 0
            advance(board, INSIDE, -1)
        breathe()
        idle += 1
        if idle % PATIENCE == 0:
            if look(board, STOP) != 0:
                return last
            let_others_run()
    return last


part = None  # a shared kernel, in the globals of each way in


def _way_in(board, total, shares, *arguments):
    put(board, TOTAL, total)
    put(board, SHARES, shares)
    share_out(board, part, arguments)
    wait_for_all(board)
    raise_fault(board)


@functools.cache
def way_in(part):
    """Return the way from Python into a shared kernel: ``(board, total, shares, *arguments)``.

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
