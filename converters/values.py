"""What a checkpoint's pickle is made of beside plain values, and a check that it is finite."""

from __future__ import annotations

from pathlib import Path

from evsim.errors import CheckpointError

CHUNK = 1 << 20
CONTINUED = bytes(range(0x80, 0xC0))
"""Bytes by which UTF-8 goes on with a letter."""

LONGEST_SHOWN = 120
DEEPEST = 100
MOST_MEETINGS = 10_000_000
"""Values that a walk through a checkpoint meets; what is shared a few times over, such as tied weights, is far less."""


class Opaque:
    """Stand-in for an object of a class that is not on the list: it keeps what it was given and does nothing.

    Attributes
    ----------
    origin
        Name of the class.
    args
        What its constructor was given.
    state
        What `BUILD` gave it.
    items
        What was set in it by a text as key.
    """

    __slots__ = ("args", "items", "origin", "state")

    def __init__(self, origin: str, args: object = ()) -> None:
        self.origin, self.args = origin, args
        self.state: object = None
        self.items: dict[str, object] | None = None


class Name:
    """A class or function that the pickle names."""

    __slots__ = ("module", "name")

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name

    @property
    def full(self) -> str:
        """Module and name."""
        return f"{self.module}.{self.name}"


class LongText:
    """A text as the UTF-8 that stands in the file."""

    __slots__ = ("_letters", "raw")

    def __init__(self, raw: memoryview) -> None:
        self.raw = raw
        self._letters = -1

    @property
    def letters(self) -> int:
        """Number of letters, counted once."""
        if self._letters < 0:
            parts = (self.raw[start : start + CHUNK] for start in range(0, len(self.raw), CHUNK))
            self._letters = sum(len(bytes(part).translate(None, CONTINUED)) for part in parts)
        return self._letters


def kind_of(value: object) -> str:
    """Return what messages call a value."""
    plain = {"str": "text", "LongText": "text", "memoryview": "bytes", "NoneType": "nothing"}
    return value.origin if isinstance(value, Opaque) else plain.get(type(value).__name__, type(value).__name__)


def check_nesting(root: object, path: Path) -> None:
    """Refuse what is nested beyond reason, holds itself, or refers to shared values so often that a walk never ends.

    Stand-ins end a nesting: whole models hold each other. What they hold is looked at on its own.
    """
    known: dict[int, tuple[int, int]] = {}
    waiting: list[object] = [root]
    seen: set[int] = set()
    while waiting:
        start = waiting.pop()
        if id(start) in seen:
            continue
        seen.add(id(start))
        parts = [start.args, start.state, start.items] if isinstance(start, Opaque) else [start]
        for part in parts:
            _measure(part, known, waiting, path)


def _measure(root: object, known: dict[int, tuple[int, int]], waiting: list[object], path: Path) -> None:
    """Find depth and size of a value as a tree, without recursion, and collect the stand-ins within."""
    stack: list[tuple[object, bool]] = [(root, False)]
    while stack:
        value, after = stack.pop()
        inner = value.values() if type(value) is dict else value
        if type(value) not in (dict, list, tuple) or not inner:
            if isinstance(value, Opaque):
                waiting.append(value)
            continue
        if after:
            depth, count = 0, 1
            for item in inner:  # type: ignore[attr-defined]
                deeper, more = known.get(id(item), (0, 1)) if type(item) in (dict, list, tuple) else (0, 1)
                depth, count = max(depth, deeper), count + more
            if depth >= DEEPEST:
                raise CheckpointError(
                    f"{path} holds values nested over {DEEPEST} deep, which no checkpoint does; refused"
                )
            if count > MOST_MEETINGS:
                raise CheckpointError(f"{path} refers to its own values over {MOST_MEETINGS} times; refused")
            known[id(value)] = depth + 1, count
            continue
        if id(value) in known:
            if known[id(value)] == (0, 0):
                raise CheckpointError(f"{path} holds a {kind_of(value)} that holds itself; refused")
            continue
        known[id(value)] = 0, 0  # on the way: met again before it is finished, it holds itself
        stack.append((value, True))
        stack.extend((item, False) for item in inner if type(item) in (dict, list, tuple, Opaque))  # type: ignore[attr-defined]


def shown(text: object) -> str:
    """Return a text from a file as messages may show it: printable, on one line, not endless."""
    whole = str(text)[: LONGEST_SHOWN + 1] if isinstance(text, str) else kind_of(text)
    safe = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in whole)
    return safe if len(whole) <= LONGEST_SHOWN else f"{safe[:LONGEST_SHOWN]}..."
