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

CONTROL = bytes(range(9)) + bytes(range(14, 32))
"""Bytes that no text header holds: a "line" with one of them is data that happens to begin like a header."""


def records(path: Path, offset: int, dtype: np.dtype[Any], number: int = PIECE) -> Iterator[NDArray[Any]]:
    """Yield the whole records of a file from an offset on, `number` at a time, out of a memory map."""
    whole = (path.stat().st_size - offset) // dtype.itemsize
    if whole <= 0:
        return
    data = np.memmap(path, dtype, "r", offset, (whole,))
    for begin in range(0, whole, number):
        yield np.asarray(data[begin : begin + number])


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
