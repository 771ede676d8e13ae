"""N-MNIST's and N-Caltech101's ``.bin``, and SLAYER's ``.bs2``: five bytes per event, no header at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evsim.events.binary import records, rest
from evsim.events.options import ReadOptions
from evsim.events.plausible import LOOKED_AT, refuse_other
from evsim.events.types import Piece, Stream, empty_piece

NAME = "bin"
SUFFIXES = (".bin", ".bs2")
ABOUT = "N-MNIST, N-Caltech101 `.bin`; SLAYER `.bs2`"
SIZE = "nowhere"
RECORD = np.dtype([("x", "u1"), ("y", "u1"), ("high", "u1"), ("low", ">u2")])
OVERFLOW_ROW = 240
"""Row that the data sets' own reader takes for an overflow of time; no event of either set lies there."""


def recognises(head: bytes) -> bool:  # noqa: ARG001 - nothing in such a file tells what it is
    """Return False: only the suffix tells."""
    return False


def stream(path: Path, options: ReadOptions) -> Stream:  # noqa: ARG001 - nothing to choose
    """Open a recording.

    Raises
    ------
    RecordingError
        If what stands in the file cannot be one.
    """
    for first in records(path, 0, RECORD, LOOKED_AT):
        refuse_other(path, _times(first), first.view("V5"), "N-MNIST's kind")
        break
    return Stream(NAME, path, None, _pieces(path))


def _pieces(path: Path) -> Iterator[Piece]:
    """Polarity is the first bit of the last three bytes, time the other 23, big-endian."""
    doubtful = 0
    for events in records(path, 0, RECORD):
        high, t = events["high"], _times(events)
        x, y = events["x"].astype(np.uint16), events["y"].astype(np.uint16)
        doubtful += int(np.count_nonzero(y == OVERFLOW_ROW))
        yield Piece(t, x, y, (high >> 7).astype(np.uint8))
    notes = (f"{doubtful} events in row 240, which some readers take for overflows of time",) if doubtful else ()
    yield empty_piece(notes=notes, cut=rest(path, 0, RECORD.itemsize))


def _times(events: NDArray[np.void]) -> NDArray[np.int64]:
    return np.asarray((events["high"] & 0x7F).astype(np.int64) << 16 | events["low"])
