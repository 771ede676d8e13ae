"""Event HDF5: datasets t, x, y and p in one group of any name, as in DSEC; read piece by piece."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from evsim import hdf5
from evsim.errors import RecordingError
from evsim.events.columns import KEYS, Column, Columns, check_columns
from evsim.events.options import ReadOptions
from evsim.events.types import PIECE, Piece, Stream, empty_piece
from evsim.schema import printable

NAME = "hdf5"
SUFFIXES = (".h5", ".hdf5")
MAGIC = b"\x89HDF\r\n\x1a\n"
SECONDS_BELOW = 1e6
"""Times of a float type below this are seconds, unless all are whole; others are microseconds."""


def recognises(head: bytes) -> bool:
    """Whether a file begins as HDF5 does."""
    return head.startswith(MAGIC)


def stream(path: Path, options: ReadOptions) -> Stream:  # noqa: ARG001 - nothing to choose
    """Open a recording.

    Raises
    ------
    RecordingError
        If no group or several hold t, x, y and p, or these are of other types or lengths.
    """
    file = hdf5.File(path, RecordingError)  # DSEC is compressed by Blosc, which hdf5plugin adds to HDF5
    name = _group(file)
    columns = {}
    for key in KEYS:
        member = file.members[_join(name, key)]
        if member.shape is None or member.dtype is None:
            raise RecordingError(f"{path}: {key} holds no numbers")
        columns[key] = Column(member.dtype, member.shape)
    check_columns(path, columns)
    file.check_claims((_join(name, key) for key in KEYS), whole=False)
    shift = _shift(file, name)
    notes = (f"times are shifted by t_offset, {shift} us",) if shift else ()
    return Stream(NAME, path, None, _pieces(file, name, columns, shift), notes)


def _join(group: str, key: str) -> str:
    return f"{group}/{key}" if group else key


def _group(file: hdf5.File) -> str:
    """Path of the one group that holds t, x, y and p."""
    groups = ["", *(name for name, member in file.members.items() if member.group)]
    found = [name for name in groups if all(_join(name, key) in file.members for key in KEYS)]
    if not found:
        held = ", ".join([printable(name) for name in file.members if "/" not in name][:8]) or "nothing"
        raise RecordingError(f"{file.path} has no group with the datasets t, x, y and p; it holds {held}")
    if len(found) > 1:
        several = ", ".join(map(printable, found[:8]))
        raise RecordingError(f"{file.path} holds several recordings ({several}); give a file with one")
    return found[0]


def _shift(file: hdf5.File, group: str) -> int:
    """DSEC's t_offset, beside the group or within it."""
    for name in ("t_offset", _join(group, "t_offset")):
        if name in file.members:
            value = file.read(name)
            if value.size != 1 or value.dtype.kind not in "iu" or abs(int(value.item())) >= 1 << 62:
                raise RecordingError(f"{file.path}: t_offset is no whole number of microseconds")
            return int(value.item())
    return 0


def _pieces(file: hdf5.File, name: str, columns: dict[str, Column], shift: int) -> Iterator[Piece]:
    length = columns["t"].shape[0]
    with file:
        scale = 1.0
        if columns["t"].dtype.kind == "f" and length:
            scale, note = _unit(file, _join(name, "t"), columns["t"])
            yield empty_piece(notes=(note,))
        made = Columns(file.path, scale, shift)
        for begin in range(0, length, PIECE):
            t, x, y, p = (file.read(_join(name, key), begin, begin + PIECE) for key in KEYS)
            yield made.piece(t, x, y, p)


def _unit(file: hdf5.File, name: str, times: Column) -> tuple[float, str]:
    """Microseconds per unit of times of a float type, and a note that says which unit that is."""
    greatest, whole = -np.inf, True
    for begin in range(0, times.shape[0], PIECE):
        block = file.read(name, begin, begin + PIECE)
        greatest = np.maximum(greatest, block.max())  # NaN stays, and is refused with its piece
        whole = whole and bool((block == np.rint(block)).all())
    said = f"times of type {times.dtype} up to {greatest:g}"
    if whole:
        return 1.0, f"{said}, all whole, are taken for microseconds"
    if greatest < SECONDS_BELOW:
        return 1e6, f"{said}, below a million, are taken for seconds, and become microseconds"
    return 1.0, f"{said}, not below a million, are taken for microseconds, and rounded"
