"""Event HDF5: datasets t, x, y and p in one group of any name, as in DSEC; read piece by piece."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from evsim.errors import RecordingError
from evsim.events.columns import KEYS, Column, Columns, check_columns
from evsim.events.options import ReadOptions
from evsim.events.types import PIECE, Piece, Stream, empty_piece

NAME = "hdf5"
SUFFIXES = (".h5", ".hdf5")
MAGIC = b"\x89HDF\r\n\x1a\n"
HARMLESS = 64 << 20
"""Bytes that the datasets may claim whatever they were compressed to."""

LARGEST_RATIO = 1100
"""Beyond, datasets are mostly fill values that were never written."""

SECONDS_BELOW = 1e6
"""Times of a float type below this are seconds, unless all are whole; others are microseconds."""

DAMAGE = (OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError, OverflowError, MemoryError)
"""What h5py raises about damaged files."""


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
    import h5py

    if importlib.util.find_spec("hdf5plugin"):  # DSEC is compressed by Blosc, which this adds to HDF5
        importlib.import_module("hdf5plugin")
    try:
        with h5py.File(path, "r") as file:
            name = _group(path, file)
            group = file[name]
            columns = {key: Column(group[key].dtype, tuple(group[key].shape)) for key in KEYS}
            check_columns(path, columns)
            claimed = sum(group[key].dtype.itemsize * group[key].shape[0] for key in KEYS)
            stored = sum(group[key].id.get_storage_size() for key in KEYS)
            shift = _shift(path, file, group)
    except RecordingError:
        raise
    except DAMAGE as error:
        raise RecordingError(f"{path} is a damaged HDF5 file ({error}); copy it again") from error
    if claimed > HARMLESS and claimed > LARGEST_RATIO * stored:
        raise RecordingError(
            f"{path} claims {claimed >> 20} MB out of {stored >> 10} kB, which no recording does; refused"
        )
    notes = (f"times are shifted by t_offset, {shift} us",) if shift else ()
    return Stream(NAME, path, None, _pieces(path, name, columns, shift), notes)


def _group(path: Path, file: Any) -> str:
    """Name of the one group that holds t, x, y and p."""
    import h5py

    found: list[str] = []

    def visit(name: str, item: object) -> None:
        if isinstance(item, h5py.Group) and all(isinstance(item.get(key), h5py.Dataset) for key in KEYS):
            found.append(name)

    visit("/", file)
    file.visititems(visit)
    if not found:
        held = ", ".join(list(file)[:8]) or "nothing"
        raise RecordingError(f"{path} has no group with the datasets t, x, y and p; it holds {held}")
    if len(found) > 1:
        raise RecordingError(f"{path} holds several recordings ({', '.join(found)}); give a file with one")
    return found[0]


def _shift(path: Path, file: Any, group: Any) -> int:
    """DSEC's t_offset, beside the group or within it."""
    for holder in (file, group):
        if "t_offset" in holder:
            value = np.asarray(holder["t_offset"][()])
            if value.size != 1 or value.dtype.kind not in "iu" or abs(int(value.item())) >= 1 << 62:
                raise RecordingError(f"{path}: t_offset is no whole number of microseconds")
            return int(value.item())
    return 0


def _pieces(path: Path, name: str, columns: dict[str, Column], shift: int) -> Iterator[Piece]:
    import h5py

    length = columns["t"].shape[0]
    try:
        with h5py.File(path, "r") as file:
            group = file[name]
            scale = 1.0
            if columns["t"].dtype.kind == "f" and length:
                scale, note = _unit(group["t"])
                yield empty_piece(notes=(note,))
            made = Columns(path, scale, shift)
            for begin in range(0, length, PIECE):
                t, x, y, p = (np.asarray(group[key][begin : begin + PIECE]) for key in KEYS)
                yield made.piece(t, x, y, p)
    except RecordingError:
        raise
    except DAMAGE as error:
        hint = "; for data compressed by Blosc: pip install hdf5plugin" if "filter" in str(error) else "; copy it again"
        raise RecordingError(f"{path} is a damaged HDF5 file ({error}){hint}") from error


def _unit(times: Any) -> tuple[float, str]:
    """Microseconds per unit of times of a float type, and a note that says which unit that is."""
    greatest, whole = -np.inf, True
    for begin in range(0, times.shape[0], PIECE):
        block = np.asarray(times[begin : begin + PIECE])
        greatest = np.maximum(greatest, block.max())  # NaN stays, and is refused with its piece
        whole = whole and bool((block == np.rint(block)).all())
    said = f"times of type {times.dtype} up to {greatest:g}"
    if whole:
        return 1.0, f"{said}, all whole, are taken for microseconds"
    if greatest < SECONDS_BELOW:
        return 1e6, f"{said}, below a million, are taken for seconds, and become microseconds"
    return 1.0, f"{said}, not below a million, are taken for microseconds, and rounded"
