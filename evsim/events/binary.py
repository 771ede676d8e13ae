"""What the binary readers share: records of one length read piece by piece, and text headers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from evsim.errors import RecordingError
from evsim.events.types import PIECE

LARGEST_HEADER = 4 << 20
"""Bytes that a text header may have; real ones go up to 175 kB."""

SPAN = 8 << 20
"""Bytes that are mapped at a time."""

CONTROL = bytes(range(9)) + bytes(range(14, 32))
"""Bytes that no text header holds: a "line" with one of them is data that happens to begin like a header."""


def records(path: Path, offset: int, dtype: np.dtype[Any], number: int = PIECE) -> Iterator[NDArray[Any]]:
    """Yield the whole records of a file from an offset on, `number` at a time, each from a memory map of its own."""
    window = Window(path)
    whole = (window.length - offset) // dtype.itemsize
    for begin in range(0, whole, number):
        taken = min(number, whole - begin) * dtype.itemsize
        yield window.take(offset + begin * dtype.itemsize, taken).view(dtype)


class Window:
    """A memory map of a part of a file that moves along, so that address space and memory stay small.

    Parameters
    ----------
    path
        The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.length = path.stat().st_size
        self._begin, self._data = 0, np.empty(0, np.uint8)

    def take(self, at: int, number: int) -> NDArray[np.uint8]:
        """Return `number` bytes from byte `at` on, which must lie in the file."""
        first = at - self._begin
        if not 0 <= first <= first + number <= len(self._data):
            span = min(max(number, SPAN), self.length - at)
            try:
                self._data = np.asarray(np.memmap(self._path, np.uint8, "r", at, (span,)))
            except (OSError, ValueError) as error:
                raise RecordingError(f"{self._path} cannot be read from byte {at} on: {error}") from error
            self._begin, first = at, 0
        return self._data[first : first + number]


def rest(path: Path, offset: int, length: int, what: str = "another event") -> str:
    """Return what stands behind the last whole record, for `Piece.cut`; "" if nothing."""
    over = max(path.stat().st_size - offset, 0) % length
    return f"{over} bytes of {what}" if over else ""


def header_lines(file: BinaryIO, start: bytes, path: Path) -> Iterator[bytes]:
    """Yield the lines of a text header, each of which begins with `start`; leave the file behind the last one.

    Raises
    ------
    RecordingError
        If it is longer than any real one.
    """
    begin = 0
    while begin < LARGEST_HEADER:
        line = file.readline(LARGEST_HEADER)
        if not line.startswith(start) or len(line.translate(None, CONTROL)) < len(line):
            file.seek(begin)
            return
        begin += len(line)
        yield line
    raise RecordingError(
        f"{path}: its header is longer than {LARGEST_HEADER >> 20} MB; it is damaged or of another kind"
    )


def printable(raw: bytes) -> str:
    """Return part of a header as text that may stand in a message."""
    return "".join(letter if letter.isprintable() else "?" for letter in raw.strip().decode("ascii", "replace"))
