"""MATLAB 5 files, element by element: numbers and structs of them; all else is passed over.

SciPy's reader is not for files of strangers: changed bytes end the process. The layout is that of MathWorks' "MAT-File
Format": elements of a type, a size and bytes; a matrix is an element of elements.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

HEADER = 128
"""Bytes of a file before its first element."""

MATRIX, COMPRESSED = 14, 15
"""Types of elements that hold others."""

NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
"""Types of elements that hold numbers, as stored."""

CLASSES = {
    6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8",
}  # fmt: skip
"""Classes of arrays of numbers, as MATLAB shows them."""

CELL, STRUCT = 1, 2
COMPLEX = 0x800
"""Flag of an array with an imaginary part."""

DEEPEST = 8
"""Structs and cells within each other that a file may hold."""

MOST_FIELDS = 1000
"""Fields of a struct, and variables of a file."""

Value = NDArray[Any] | dict[str, Any] | None
"""An array in MATLAB's shape, the fields of a struct of one element, or what evsim has no use for."""


class DamageError(ValueError):
    """The bytes are no MATLAB 5 file; the message says why."""


class Element(NamedTuple):
    """Type and bytes of an element."""

    kind: int
    body: memoryview


def unpacked(content: bytes, most: int) -> dict[str, Value]:
    """Return the variables of a file.

    Parameters
    ----------
    content
        The whole file.
    most
        Bytes that its compressed elements may unpack to, all together.

    Raises
    ------
    DamageError
        If the file is damaged.
    OverflowError
        If it unpacks to more.
    """
    order = {b"IM": "<", b"MI": ">"}.get(content[126:HEADER])
    if order is None:
        raise DamageError("its header does not tell the order of bytes")
    variables: dict[str, Value] = {}
    left = most
    for element in _elements(memoryview(content)[HEADER:], order):
        inner = element
        if element.kind == COMPRESSED:
            body = _inflated(element.body, left)
            left -= len(body)
            inner = next(_elements(memoryview(body), order), element)
        if inner.kind != MATRIX:
            continue
        name, value = _matrix(inner.body, order, 0)
        if len(variables) >= MOST_FIELDS:
            raise DamageError(f"it holds more than {MOST_FIELDS} variables")
        variables[name] = value
    return variables


def _inflated(body: memoryview, most: int) -> bytes:
    inflating = zlib.decompressobj()
    try:
        content = inflating.decompress(body, max(most, 1))
        if not inflating.eof and inflating.unconsumed_tail:
            raise OverflowError
    except zlib.error as error:
        raise DamageError(str(error)) from error
    return content


def _elements(content: memoryview, order: str) -> Iterator[Element]:
    """Yield the elements that follow one another; each but the compressed begins at a multiple of 8 bytes."""
    place = 0
    while place + 8 <= len(content):
        kind, size = struct.unpack_from(f"{order}II", content, place)
        begin, end = place + 8, place + 8 + size
        place = end if kind == COMPRESSED else end + -end % 8
        if kind >> 16:  # up to four bytes lie within the tag
            kind, size = kind & 0xFFFF, kind >> 16
            begin, end, place = begin - 4, begin - 4 + size, begin
            if size > 4:
                raise DamageError(f"an element of {size} bytes lies where 4 fit")
        if end > len(content):
            raise DamageError(f"an element of {size} bytes does not lie in the file")
        yield Element(kind, content[begin:end])


def _next(parts: Iterator[Element]) -> Element:
    part = next(parts, None)
    if part is None:
        raise DamageError("an array is cut short")
    return part


def _matrix(body: memoryview, order: str, depth: int) -> tuple[str, Value]:
    """Return name and value of a matrix."""
    if not body:
        return "", None
    parts = _elements(body, order)
    flags = _numbers(_next(parts), order)
    if not len(flags):
        raise DamageError("an array has no class")
    kind, is_complex = int(flags[0]) & 0xFF, bool(int(flags[0]) & COMPLEX)
    shape = tuple(map(int, _numbers(_next(parts), order)))
    name = bytes(_next(parts).body).decode("latin-1")
    if kind in CLASSES and not is_complex:
        return name, _array(_next(parts), shape, CLASSES[kind], order)
    if kind == STRUCT and shape and set(shape) == {1}:
        return name, _struct(parts, order, depth + 1)
    if kind == CELL and shape and set(shape) == {1} and depth < DEEPEST:
        return name, _matrix(_held(parts), order, depth + 1)[1]
    return name, None


def _array(part: Element, shape: tuple[int, ...], dtype: str, order: str) -> NDArray[Any]:
    """Return an array of numbers, which may be stored in fewer bytes than their class has."""
    values = _numbers(part, order)
    count = 1
    for size in shape:
        count *= size
    if not shape or min(shape) < 0 or count != len(values):
        raise DamageError(f"an array of shape {list(shape)} holds {len(values)} values")
    with np.errstate(invalid="ignore"):
        return values.astype(dtype, copy=False).reshape(shape, order="F")


def _struct(parts: Iterator[Element], order: str, depth: int) -> dict[str, Value]:
    """Return the fields of a struct of one element."""
    length = _numbers(_next(parts), order)
    names = bytes(_next(parts).body)
    if len(length) != 1 or not 1 <= int(length[0]) <= len(names) or len(names) > MOST_FIELDS * int(length[0]):
        raise DamageError("a struct does not tell its fields")
    if depth > DEEPEST:
        raise DamageError(f"more than {DEEPEST} structs lie within each other")
    wide = int(length[0])
    fields = [names[at : at + wide].partition(b"\0")[0].decode("latin-1") for at in range(0, len(names), wide)]
    return {name: _matrix(_held(parts), order, depth)[1] for name in fields}


def _held(parts: Iterator[Element]) -> memoryview:
    """Return the bytes of the next matrix."""
    part = _next(parts)
    if part.kind != MATRIX:
        raise DamageError("a struct or cell holds what is no array")
    return part.body


def _numbers(part: Element, order: str) -> NDArray[Any]:
    dtype = NUMBERS.get(part.kind)
    if dtype is None:
        raise DamageError(f"type {part.kind} stands where numbers should")
    size = np.dtype(dtype).itemsize
    return np.frombuffer(part.body[: len(part.body) // size * size], f"{order}{dtype}")
