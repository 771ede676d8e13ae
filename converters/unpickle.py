"""Reads a pickle as data: a small machine of its own, which runs nothing that the file asks for.

A pickle is a program: it may name any function and have it called, alter any object, and build in a few bytes what
takes for ever to hash, print or free. This machine knows the opcodes, makes plain values alone, and leaves the meaning
of names to `evsim.converters.rebuild`. It hashes no tuple, copies nothing twice, and counts what it does.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

from evsim.converters.values import LongText, Name, Opaque, check_nesting, kind_of
from evsim.errors import CheckpointError

MOST_STEPS = 2_000_000
"""Opcodes of a pickle: some ten tensors of optimizer and weights for each of a thousand layers are 600,000."""

MOST_CONTAINERS = 300_000
"""Lists, dicts, tuples and objects of a pickle."""

LONGEST_INTEGER = 64
"""Bytes of an integer: the states of random generators have 16."""

LONGEST_LINE = 4096
LONG_TEXT = 1 << 16
"""Bytes from which on a text is kept as it stands in the file: it is the values of an array, or nothing to us."""

LONGEST_NAME = 512
NEWEST_PROTOCOL = 5


class DamagedError(ValueError):
    """The pickle is cut short, or no pickle."""


Find: TypeAlias = Callable[[str, str], object]
Call: TypeAlias = Callable[[object, object], object]
Build: TypeAlias = Callable[[object, object], None]
Operation: TypeAlias = Callable[["Machine"], None]
Persistent: TypeAlias = Callable[[object], object]


class Machine:
    """Runs a pickle on a stack of plain values.

    Attributes
    ----------
    path
        The file, for messages.
    find
        What a name stands for; refuses those that no checkpoint names.
    call
        What a name makes of its arguments.
    build
        Gives an object its state.
    persistent
        What a persistent id, by which PyTorch names storages, stands for.
    """

    def __init__(
        self, data: bytes | memoryview, path: Path, find: Find, call: Call, build: Build, persistent: Persistent
    ) -> None:
        self.path, self.find, self.call, self.build, self.persistent = path, find, call, build, persistent
        self._data, self._at = memoryview(data), 0
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self._memo: dict[int, object] = {}
        self._names: dict[tuple[str, str], object] = {}
        self._made = 0
        self.steps = 0

    def load(self) -> object:
        """Return the object that the pickle holds, checked to be finite and not nested beyond reason.

        Raises
        ------
        CheckpointError
            If the pickle names what no checkpoint does, or makes more than one does.
        DamagedError
            If it is no sound pickle.
        """
        data, operations = self._data, OPERATIONS
        while True:
            if self._at >= len(data):
                raise DamagedError("it ends early")
            code = data[self._at]
            self._at += 1
            self.steps += 1
            if self.steps > MOST_STEPS:
                raise CheckpointError(f"{self.path} holds over {MOST_STEPS} values beside its weights; refused")
            if code == ord("."):
                value = self.pop()
                check_nesting(value, self.path)
                return value
            operation = operations[code]
            if operation is None:
                raise DamagedError(f"opcode {code:#x}")
            operation(self)

    def take(self, size: int) -> memoryview:
        """Return the next bytes."""
        at = self._at
        if size < 0 or size > len(self._data) - at:
            raise DamagedError("it ends early")
        self._at = at + size
        return self._data[at : at + size]

    def number(self, form: struct.Struct) -> Any:
        """Return the next number."""
        return form.unpack(self.take(form.size))[0]

    def line(self) -> str:
        """Return the rest of the line, as the oldest opcodes have their arguments."""
        piece = bytes(self._data[self._at : self._at + LONGEST_LINE])
        end = piece.find(b"\n")
        if end < 0:
            raise DamagedError("a line without an end")
        self._at += end + 1
        return piece[:end].decode("utf-8", "backslashreplace")

    def pop(self) -> Any:
        """Take the value on top."""
        if not self.stack:
            raise DamagedError("an empty stack")
        return self.stack.pop()

    def marked(self) -> list[Any]:
        """Take the values since the last mark."""
        if not self.marks:
            raise DamagedError("no mark")
        items = self.stack
        self.stack = self.marks.pop()
        return items

    def top(self) -> Any:
        """Return the value on top."""
        if not self.stack:
            raise DamagedError("an empty stack")
        return self.stack[-1]

    def contain(self, value: object) -> None:
        """Push something that holds others."""
        self._made += 1
        if self._made > MOST_CONTAINERS:
            raise CheckpointError(f"{self.path} holds over {MOST_CONTAINERS} lists, dicts and objects; refused")
        self.stack.append(value)

    def integer(self, raw: memoryview | bytes) -> None:
        """Push an integer."""
        if len(raw) > LONGEST_INTEGER:
            raise CheckpointError(f"{self.path} holds an integer of {len(raw)} bytes, which no checkpoint has; refused")
        self.stack.append(int.from_bytes(raw, "little", signed=True))

    def text(self, size: int) -> None:
        """Push a text; a long one as it stands in the file."""
        raw = self.take(size)
        self.stack.append(LongText(raw) if size > LONG_TEXT else str(raw, "utf-8", "backslashreplace"))

    def octets(self, size: int) -> None:
        """Push a text of Python 2's, which may be bytes as well: a text where it is ASCII."""
        raw = self.take(size)
        whole = LongText(raw) if size > LONG_TEXT else bytes(raw)
        self.stack.append(whole.decode("ascii") if isinstance(whole, bytes) and whole.isascii() else whole)

    def raw(self, size: int) -> None:
        """Push bytes; many of them as they stand in the file."""
        raw = self.take(size)
        self.stack.append(raw if size > LONG_TEXT else bytes(raw))

    def name(self, module: object, name: object) -> None:
        """Push what a name stands for."""
        if type(module) is not str or type(name) is not str or len(module) + len(name) > LONGEST_NAME:
            raise DamagedError("a name that is none")
        if (module, name) not in self._names:
            self._names[module, name] = self.find(module, name)
        self.stack.append(self._names[module, name])

    def called(self, function: object, arguments: object) -> None:
        """Push what a name makes of its arguments."""
        self.contain(self.call(function, arguments))

    def put(self, index: int) -> None:
        """Remember the value on top."""
        if not 0 <= index <= len(self._data):
            raise DamagedError("it remembers more than it holds")
        self._memo[index] = self.top()

    def memoize(self) -> None:
        """Remember the value on top under the next number."""
        self.put(len(self._memo))

    def get(self, index: int) -> None:
        """Push what was remembered."""
        if index not in self._memo:
            raise DamagedError("it remembers what never was")
        self.stack.append(self._memo[index])

    def set_items(self, target: object, items: list[Any]) -> None:
        """Set keys and values in a dict, or in a stand-in for one."""
        if len(items) % 2:
            raise DamagedError("a key without a value")
        if isinstance(target, Opaque):
            pairs = {k: v for k, v in zip(items[::2], items[1::2], strict=True) if type(k) is str}
            target.items = {**pairs} if target.items is None else target.items
            target.items.update(pairs)
            return
        if type(target) is not dict:
            raise DamagedError("items for what is no dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[self.key(key)] = value

    def key(self, key: object) -> object:
        """Return a key that is quick to hash; a tuple, whose hash a file can make endless, becomes a stand-in."""
        if key is None or isinstance(key, str | float | bool | bytes | Name | Opaque):
            return key
        if type(key) is int and -(1 << 60) < key < 1 << 60:
            return key
        if type(key) is tuple and len(key) <= 16 and all(isinstance(k, str | int | float | None) for k in key):
            return Opaque("tuple")
        if type(key) is int:
            return Opaque("int")
        raise CheckpointError(
            f"{self.path} has a {kind_of(key)} as the key of a dict, which no checkpoint has; refused"
        )

    def extend(self, target: object, items: list[Any]) -> None:
        """Append to a list; stand-ins swallow what they are given."""
        if type(target) is list:
            target.extend(items)
        elif not isinstance(target, Opaque):
            raise DamagedError("items for what is no list")


def _constant(value: object) -> Operation:
    return lambda m: m.stack.append(value)


def _text(form: struct.Struct) -> Operation:
    return lambda m: m.text(m.number(form))


def _raw(form: struct.Struct) -> Operation:
    return lambda m: m.raw(m.number(form))


def _plain(form: struct.Struct) -> Operation:
    return lambda m: m.stack.append(m.number(form))


def _remember(form: struct.Struct) -> Operation:
    return lambda m: m.put(m.number(form))


def _recall(form: struct.Struct) -> Operation:
    return lambda m: m.get(m.number(form))


def _tuple(size: int) -> Operation:
    def make(m: Machine) -> None:
        items = [m.pop() for _ in range(size)]
        m.contain(tuple(reversed(items)))

    return make


def _mark(m: Machine) -> None:
    m.marks.append(m.stack)
    m.stack = []
    if len(m.marks) > MOST_CONTAINERS:
        raise CheckpointError(f"{m.path} is nested over {MOST_CONTAINERS} deep, which no checkpoint is; refused")


def _dict(m: Machine) -> None:
    items, made = m.marked(), dict[object, object]()
    m.set_items(made, items)
    m.contain(made)


def _append(m: Machine) -> None:
    value = m.pop()
    m.extend(m.top(), [value])


def _set_item(m: Machine) -> None:
    value, key = m.pop(), m.pop()
    m.set_items(m.top(), [key, value])


def _many(take: Callable[[Machine, object, list[Any]], None]) -> Operation:
    def operate(m: Machine) -> None:
        items = m.marked()
        take(m, m.top(), items)

    return operate


def _reduce(m: Machine) -> None:
    arguments, function = m.pop(), m.pop()
    m.called(function, arguments)


def _new(m: Machine) -> None:
    m.pop()  # the keywords, which no class that is known takes
    _reduce(m)


def _object(m: Machine) -> None:
    items = m.marked()
    if not items:
        raise DamagedError("an object of no class")
    m.called(items[0], tuple(items[1:]))


def _instance(m: Machine) -> None:
    module, name = m.line(), m.line()
    items = m.marked()
    m.name(module, name)
    m.called(m.pop(), tuple(items))


def _build(m: Machine) -> None:
    state = m.pop()
    m.build(m.top(), state)


def _stack_name(m: Machine) -> None:
    name, module = m.pop(), m.pop()
    m.name(module, name)


def _drop(m: Machine) -> None:
    if m.stack:
        m.stack.pop()
    else:
        m.marked()


def _forget(m: Machine) -> None:
    m.marked()


def _begin(m: Machine) -> None:
    if m.number(U1) > NEWEST_PROTOCOL:
        raise DamagedError("a newer protocol than there is")


def _frame(m: Machine) -> None:
    m.number(U8)  # how far the next pieces reach: all of the pickle is here


def _integer_line(m: Machine) -> None:
    line = m.line()
    digits = line.removesuffix("L")
    if len(digits) > 2 * LONGEST_INTEGER:
        raise CheckpointError(f"{m.path} holds an integer of {len(digits)} digits, which no checkpoint has; refused")
    m.stack.append({"00": False, "01": True}.get(line, int(digits)))


def _quoted(m: Machine) -> None:
    line = m.line()
    if len(line) < 2 or line[0] != line[-1] or line[0] not in "'\"":
        raise DamagedError("a text without quotes")
    m.stack.append(line[1:-1])


U1, U2, I4, U4, U8 = (struct.Struct(f"<{code}") for code in "BHiIQ")
F8 = struct.Struct(">d")
OPERATIONS: list[Operation | None] = [None] * 256
"""What each opcode does, by its byte; those that are missing are refused."""

for _code, _operation in {
    "N": _constant(None), "\x88": _constant(True), "\x89": _constant(False),
    "K": _plain(U1), "M": _plain(U2), "J": _plain(I4), "G": _plain(F8),
    "\x8a": lambda m: m.integer(m.take(m.number(U1))), "\x8b": lambda m: m.integer(m.take(m.number(I4))),
    "I": _integer_line, "L": _integer_line, "F": lambda m: m.stack.append(float(m.line())),
    "X": _text(U4), "\x8c": _text(U1), "\x8d": _text(U8),
    "T": lambda m: m.octets(m.number(I4)), "U": lambda m: m.octets(m.number(U1)),
    "V": lambda m: m.stack.append(m.line()), "S": _quoted,
    "B": _raw(U4), "C": _raw(U1), "\x8e": _raw(U8), "\x96": _raw(U8),
    "(": _mark, "0": _drop, "1": _forget, "2": lambda m: m.stack.append(m.top()),
    ")": lambda m: m.contain(()), "t": lambda m: m.contain(tuple(m.marked())),
    "\x85": _tuple(1), "\x86": _tuple(2), "\x87": _tuple(3),
    "]": lambda m: m.contain([]), "l": lambda m: m.contain(m.marked()), "a": _append, "e": _many(Machine.extend),
    "}": lambda m: m.contain({}), "d": _dict, "s": _set_item, "u": _many(Machine.set_items),
    "\x8f": lambda m: m.contain(Opaque("set")), "\x90": _many(Machine.extend),
    "\x91": lambda m: m.contain(Opaque("frozenset", tuple(m.marked()))),
    "p": lambda m: m.put(int(m.line())), "q": _remember(U1), "r": _remember(U4), "\x94": Machine.memoize,
    "g": lambda m: m.get(int(m.line())), "h": _recall(U1), "j": _recall(U4),
    "c": lambda m: m.name(m.line(), m.line()), "\x93": _stack_name,
    "R": _reduce, "\x81": _reduce, "\x92": _new, "o": _object, "i": _instance, "b": _build,
    "Q": lambda m: m.stack.append(m.persistent(m.pop())),
    "\x80": _begin, "\x95": _frame,
}.items():  # fmt: skip
    OPERATIONS[ord(_code)] = _operation
