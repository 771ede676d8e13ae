"""AEDAT 1.0: jAER's format before 2008. Big-endian pairs of 16-bit address and time behind ``#`` lines or nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from evsim.errors import RecordingError
from evsim.events.aedat2 import turned
from evsim.events.binary import header_lines, records, rest
from evsim.events.options import Orientation, ReadOptions
from evsim.events.plausible import LOOKED_AT, refuse_other
from evsim.events.types import Piece, Size, Stream, empty_piece

NAME = "aedat1"
SUFFIXES = (".dat", ".aedat")
ABOUT = "AEDAT 1.0 of jAER before 2008, of a DVS128"
SIZE = "the DVS128"
MAGIC = b"#!AER-DAT1"
RECORD = np.dtype([("address", ">u2"), ("time", ">u4")])
SPECIAL = 0x8000
"""Bit of an address that marks a special event."""


def recognises(head: bytes) -> bool:
    """Whether a file begins with the version line of AEDAT 1.0; files without one go by their suffix."""
    return head.startswith(MAGIC)


def stream(path: Path, options: ReadOptions) -> Stream:
    """Open a recording.

    Raises
    ------
    RecordingError
        If what stands in the file cannot be one.
    """
    with path.open("rb") as file:
        marked = next(header_lines(file, b"#", path), b"")
        file.seek(0)
        for _ in header_lines(file, b"#", path):
            pass
        offset = file.tell()
    for first in records(path, offset, RECORD, LOOKED_AT):
        refuse_other(path, first["time"], first.view("V6"), "AEDAT 1.0")
        break
    notes = () if marked.startswith(MAGIC) else ("the file names no format; by its suffix it is read as AEDAT 1.0",)
    pieces = _pieces(path, offset, options.orientation or "spikingjelly")
    return Stream(NAME, path, Size(128, 128, "the DVS128"), pieces, notes)


def _pieces(path: Path, offset: int, orientation: Orientation) -> Iterator[Piece]:
    for words in records(path, offset, RECORD):
        address, time = words["address"].astype(np.uint16), words["time"].astype(np.int64)
        special = (address & SPECIAL) != 0
        skipped = {"special events": int(np.count_nonzero(special))} if special.any() else {}
        yield Piece(*turned(time[~special], address[~special], orientation), skipped)
    over = rest(path, offset, RECORD.itemsize)
    yield empty_piece(cut=over)


def plausible(path: Path) -> bool:
    """Whether a file that names no format can be AEDAT 1.0: whole events, most of a DVS128, whose time runs forward."""
    length = path.stat().st_size
    if length < 4 * RECORD.itemsize:
        return False
    try:
        with path.open("rb") as file:
            for _ in header_lines(file, b"#", path):
                pass
            offset = file.tell()
        for first in records(path, offset, RECORD, LOOKED_AT):
            refuse_other(path, first["time"], first.view("V6"), "AEDAT 1.0")
            return bool((first["address"] < SPECIAL).mean() > 0.5)
    except RecordingError:
        return False
    return False
